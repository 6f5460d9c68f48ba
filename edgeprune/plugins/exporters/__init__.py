"""Exporters: captured program to float32 file."""
