"""The newest state of everything, and what has changed since a sink last asked. Any thread; one lock."""

import threading

from agent.flow import State


class States:
    """One state for each thing that a state can be about."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mark = 0
        self._newest: dict[tuple[str | None, ...], tuple[int, State]] = {}

    def put(self, state: State) -> None:
        """What is true from now on; the same again changes nothing."""
        about = state.about
        with self._lock:
            if about not in self._newest or self._newest[about][1] != state:
                self._mark += 1
                self._newest[about] = self._mark, state

    def since(self, mark: int) -> tuple[int, list[State]]:
        """The mark of now, and what changed since `mark`; since 0: all, in the order of the last changes."""
        with self._lock:
            changed = sorted(entry for entry in self._newest.values() if entry[0] > mark)
            return self._mark, [state for _, state in changed]
