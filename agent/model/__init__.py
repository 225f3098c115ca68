"""Model packages on this device, for people: `vedette model add`, `list`, `verify`, `pull`, `get`, `use`, `remove`."""

from agent.model.command import add_arguments

__all__ = ["add_arguments"]
