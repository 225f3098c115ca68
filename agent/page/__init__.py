"""The page: live pictures, what happens to each frame, and how the agent does, over HTTP. Off unless configured."""
