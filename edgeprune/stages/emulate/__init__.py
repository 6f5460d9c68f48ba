"""Emulate: run files on the real aarch64 kernels of a board's core, and count what they execute."""
