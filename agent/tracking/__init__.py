"""Which of a camera's objects are the same from frame to frame. Read `tracker` first. No state."""
