"""What the person at the terminal sees. A reader that has left is no error; a full disk is. No state."""

import contextlib
import os
import sys

from agent.errors import AgentError


def say(text: str) -> None:
    """The command's output. Raises AgentError when it cannot be written."""
    try:
        print(text, flush=True)  # noqa: T201 - the command's output
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        _drop_output()
        raise AgentError(f"the output cannot be written: {error.strerror}") from error


def _drop_output() -> None:
    """Python would try again at its end, and complain."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - it is no path
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def tell(text: str) -> None:
    """How far it is, and what is odd: on standard error, if anybody reads it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - for the person at the terminal
