"""What is done to a camera's pictures before anything else sees them, and when the camera is used at all."""
