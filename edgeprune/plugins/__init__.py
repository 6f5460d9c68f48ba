"""Hows: plug-ins reached by name through entry points, each a frozen dataclass in one file."""
