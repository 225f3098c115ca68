"""What waits in outboxes, for people: `vedette outbox list`, `export`, `replay` and `purge`."""

from agent.backlog.command import add_arguments

__all__ = ["add_arguments"]
