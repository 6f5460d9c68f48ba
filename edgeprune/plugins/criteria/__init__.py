"""Criteria: how the units of a group are ranked."""
