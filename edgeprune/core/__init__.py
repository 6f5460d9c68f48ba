"""Nouns: the documents and values every other room speaks of; imports no engine."""
