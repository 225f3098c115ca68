"""A person's word on which version is used, which a running agent follows within seconds. No state."""

from agent.errors import AgentError
from agent.shelf import Shelf, Standing


def use(shelf: Shelf, package: str, version: str) -> None:
    """From now on `version` is used, without a trial; newer ones that nobody has judged yet are not tried any more.

    Raises:
        AgentError: it is not installed, or the shelf cannot be written to.
    """
    there = shelf.versions(package)
    if version not in there:
        raise AgentError(shelf.unknown(package, version))
    for newer in there[there.index(version) + 1 :]:
        event = shelf.standing(package, newer)
        if event is None or event.standing in (Standing.INSTALLED, Standing.ON_TRIAL):
            shelf.note(package, newer, Standing.REJECTED, reason=f"{version} was chosen by hand")
    shelf.note(package, version, Standing.CONFIRMED, reason="chosen by hand")
    shelf.make_current(package, version)
