"""The routing simulator: the agent's own router over simulated links, beside simpler policies and the best possible."""
