"""Why frames went where they went: what `vedette explain` prints and draws."""

from agent.explain.command import add_arguments, run

__all__ = ["add_arguments", "run"]
