"""New versions of the on-device model, tried beside the running one. Read `rollout` first. No state."""
