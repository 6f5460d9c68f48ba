"""Words: the command line; parses, calls one stage, renders."""
