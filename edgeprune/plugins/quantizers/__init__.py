"""Quantizers: float32 file to a smaller file of the same format."""
