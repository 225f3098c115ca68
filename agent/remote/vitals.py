"""Whether the agent is well with a configuration that is on trial. Owner: the trial's thread."""

from collections.abc import Callable, Iterator

from agent.readiness import Readiness, Watched
from agent.remote.drafts import Draft


class Vitals:
    """Looks at all that a configuration can spoil."""

    def __init__(self, watched: Watched, connected: Callable[[], bool]) -> None:
        """`connected`: whether commands can come."""
        self._watched = watched
        self._connected = connected
        self._readiness = Readiness(watched)

    def amiss(self, draft: Draft) -> list[str]:
        """What is wrong now, in words; nothing: it is well."""
        condition = self._readiness.condition()
        return [*condition.stuck, *condition.missing, *self._missed(draft)]

    def _missed(self, draft: Draft) -> Iterator[str]:
        """What was there before."""
        there = online(self._watched)
        for pipeline in self._watched.pipelines:
            if pipeline.camera in draft.online and pipeline.camera not in there and not pipeline.resting:
                yield f"camera {pipeline.camera} gives no frames any more"
        for courier in self._watched.couriers:
            if courier.name.startswith("mqtt") and not courier.connected:
                yield f"the sink {courier.name} has no connection to its broker"
        if not self._connected():
            yield "there is no connection to the broker for commands"


def online(watched: Watched) -> list[str]:
    """The cameras that give frames."""
    return [pipeline.camera for pipeline in watched.pipelines if pipeline.telemetry.status().online]
