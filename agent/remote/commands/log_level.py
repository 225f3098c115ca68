"""`log_level`: what the log shows. Until the next start."""

import logging
from typing import Literal

from pydantic import Field

from agent.options import Options
from agent.remote.command import Outcome, checked
from agent.remote.order import Order
from agent.remote.words import Word


class Fields(Options):
    """What may be said of it."""

    level: Literal["debug", "info", "warning", "error"] | None = Field(
        description="the least level that is shown; null: as configured"
    )


class LogLevel:
    """See Command."""

    word = Word.LOG_LEVEL
    alone = False

    def __init__(self, configured: str) -> None:
        self._configured = configured

    def run(self, order: Order) -> Outcome:
        """See Command."""
        level = checked(Fields, order).level or self._configured
        logging.getLogger("agent").setLevel(level.upper())
        return Outcome({"level": level})
