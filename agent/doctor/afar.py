"""A configuration that was applied from afar, and is used in place of the file. No state."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent import applied
from agent.check import Finding
from agent.config import Config
from agent.doctor.finding import doubt, fine
from agent.remote.drafts import Drafts

PART: Final = "remote"


def findings(config: Config, state_dir: Path) -> Iterator[Finding]:
    """What is to be said of commands from afar: nothing, where none are taken."""
    if config.remote is None or not config.remote.allow:
        return
    words = ", ".join(word.value for word in config.remote.allow)
    signed = "signed commands" if config.remote.signature_key is not None else "commands without a signature"
    yield fine(PART, f"takes {signed} over the broker of the first mqtt sink: {words}")
    drafts = Drafts(applied.folder(config, state_dir))
    if drafts.confirmed is not None:
        yield doubt(
            PART,
            f"the configuration applied from afar as {drafts.confirmed.id} is used instead of the file, from "
            f"{drafts.confirmed_file}; a change of the file ends this, and so does the command config_revert",
        )
