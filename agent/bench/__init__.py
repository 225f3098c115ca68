"""`vedette bench`: how long each engine takes for a frame, and how much memory, on this machine."""
