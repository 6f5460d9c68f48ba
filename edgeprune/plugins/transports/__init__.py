"""Transports: cables to devices, each with a shell and files."""
