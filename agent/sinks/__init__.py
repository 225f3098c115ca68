"""Somewhere results go: one plugin per file, and the YAML type is the file's name. No state."""
