"""A second look at doubtful frames, when the link is good and idle. Read `sender` first. No state."""
