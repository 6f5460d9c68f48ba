"""Formats: what a file holds, and notes written into it."""
