"""What finds objects in a frame: one plugin per file, named as `type:` in the configuration."""
