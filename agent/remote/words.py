"""The words of remote control: what can be asked for, and how it ends. No state."""

from enum import Enum
from typing import Final

SCHEMA: Final = "vedette.remote/1"
"""Of the retained state that says what an agent takes."""
ANSWER_SCHEMA: Final = "vedette.answer/1"


class Word(str, Enum):
    """A command: the last level of its topic, and its name under `remote.allow`."""

    SNAPSHOT = "snapshot"
    PAUSE = "pause"
    RESUME = "resume"
    FPS = "fps"
    ROUTE = "route"
    LOG_LEVEL = "log_level"
    MODEL_INSTALL = "model_install"
    CONFIG_VALIDATE = "config_validate"
    CONFIG_APPLY = "config_apply"
    CONFIG_REVERT = "config_revert"
    RESTART = "restart"


class Status(str, Enum):
    """What an answer says of its command."""

    ACCEPTED = "accepted"
    """It is under way; more answers follow."""
    PROGRESS = "progress"
    DONE = "done"
    REFUSED = "refused"
    """Nothing was done."""
    FAILED = "failed"
    """It was begun, and did not come to its end."""

    @property
    def final(self) -> bool:
        """Whether no answer follows."""
        return self not in (Status.ACCEPTED, Status.PROGRESS)
