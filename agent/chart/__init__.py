"""Pictures of what happened, as PNG files: the only home of Matplotlib, which is an extra and imported when drawing."""
