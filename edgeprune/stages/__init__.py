"""Verbs: one stage per file; stages meet only through core documents."""
