"""`vedette doctor`: what of this device would keep the agent from its work, each with what to do. Main thread."""
