"""Cameras, and what stands in for one: one plugin per file, named as `type:` in the configuration."""
