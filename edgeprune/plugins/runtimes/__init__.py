"""Runtimes: load a file and answer."""
