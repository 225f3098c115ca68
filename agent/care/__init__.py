"""What the agent does of itself where the machine gets too hot, its power supply too weak, or data dear."""
