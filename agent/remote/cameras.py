"""Which cameras a command is for. No state."""

import difflib
from collections.abc import Sequence

from agent.errors import CommandRefused


def chosen(given: str | None, names: Sequence[str]) -> list[str]:
    """The camera that is named; all, where none is. Raises CommandRefused: there is no such camera."""
    if given is None:
        return list(names)
    if given in names:
        return [given]
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ";"
    raise CommandRefused(f"no camera is called {given[:64]!r}{hint} There are: {', '.join(names)}")
