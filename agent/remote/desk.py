"""Takes messages, sees to it that each is allowed, of now and new, carries them out and answers. Owner: remote thread.

    letter ──► reader (size, depth, names, signature) ──► rate ──► ledger ──► freshness ──► command ──► answers, audit
                 └──► refused, at a rate of its own: who has no key uses up nothing of those who have one

The signature does not cover where the answer is to go, for MQTT has that beside the message. So only a command that is
new and proves to be of now is answered where its letter asks; a repeat is answered where the first one was.

Nothing here knows MQTT, and nothing waits.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from traceback import format_exception
from typing import Any, Final

from agent import logs
from agent.clock import Clock
from agent.errors import CommandFailed, CommandRefused
from agent.remote.audit import Audit
from agent.remote.command import Command, Outcome, Steps, steps
from agent.remote.envelope import Reader, id_in
from agent.remote.freshness import Freshness
from agent.remote.ledger import Ledger
from agent.remote.order import NOBODY, Answer, Letter, Order, Return
from agent.remote.rate import Rate
from agent.remote.words import Status, Word

_MOST_UNDER_WAY: Final = 8
_LONGEST: Final = 100
_SMALL_BYTES: Final = 16_384
_NOT_FOR_ANSWERS: Final = {"command", "remote"}
"""Levels of topics, of any agent."""
_HOME_ASSISTANT: Final = "homeassistant"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what is to be done once it has been delivered."""

    answer: Answer
    then: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """What a message must pass; each part says no for itself."""

    heard: Rate
    """Messages that are looked at."""
    refusals: Rate
    """Of those that are no command of anybody's: written down and answered."""
    rate: Rate
    """Commands."""
    reader: Reader
    freshness: Freshness
    ledger: Ledger


@dataclass(slots=True)
class _Job:
    """A command that is under way."""

    order: Order
    steps: Steps
    alone: bool


class Desk:
    """All commands of one agent."""

    def __init__(
        self, gate: Gate, commands: Mapping[Word, Command], audit: Audit, *, answers_below: str, clock: Clock
    ) -> None:
        """`answers_below`: an answer without a response topic goes to this topic and the id."""
        self._gate = gate
        self._commands = commands
        self._audit = audit
        self._answers_below = answers_below
        self._jobs: dict[str, _Job] = {}
        self._damper = logs.Damper(_log.warning, clock.now)

    @property
    def session(self) -> str:
        """The present one, by which commands prove that they are of now."""
        return self._gate.freshness.session

    def take(self, letter: Letter) -> list[Reply]:
        """A message has come; the first answer to it, if there is one."""
        return self._guarded(lambda: self._take(letter), letter.name, lambda _: [])

    def _take(self, letter: Letter) -> list[Reply]:
        if not self._gate.heard.take(1 + len(letter.body) / _SMALL_BYTES):
            return self._too_many()
        try:
            order = self._gate.reader.order(letter)
        except CommandRefused as error:
            return self._turned_away(letter, str(error)) if self._gate.refusals.take() else self._too_many()
        if not self._gate.rate.take():
            return self._too_many()
        return self._admit(replace(order, to=self._return(letter, order.id, proven=False)), letter)

    def _guarded(self, act: Callable[[], list[Reply]], event: str, failed: Callable[[str], list[Reply]]) -> list[Reply]:
        """What `act` answers: as in a lane's job, a fault in the agent costs what it met, and not the agent."""
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - whoever may publish a message must not be able to end the agent
            self._damper.note(event, "a fault in the agent: " + "".join(format_exception(error)))
            return failed(f"a fault in the agent: {type(error).__name__}: {error}")

    def _too_many(self) -> list[Reply]:
        self._damper.note("rate", "more remote commands came than remote.per_minute allows; they are not answered")
        return []

    def _turned_away(self, letter: Letter, reason: str) -> list[Reply]:
        name = id_in(letter.body)
        self._write_down(name, letter.name, NOBODY, {"outcome": Status.REFUSED.value, "reason": reason})
        to = self._return(letter, name, proven=False)
        return [Reply(Answer(name, letter.name, Status.REFUSED, to, reason=reason))]

    def _admit(self, order: Order, letter: Letter) -> list[Reply]:
        gate = self._gate
        if (known := gate.ledger.digest(order.id)) == order.digest:
            return self._repeat(order)
        try:
            gate.freshness.check(order)
        except CommandRefused as error:
            return [self._closed(order, Status.REFUSED, str(error))]
        order = replace(order, to=self._return(letter, order.id, proven=True))
        if known is not None:
            return [self._closed(order, Status.REFUSED, "another command had this id; give each its own")]
        gate.ledger.enter(order.id, order.digest)
        gate.freshness.note_entered()
        return [self._noted(reply) for reply in self._begin(order)]

    def _begin(self, order: Order) -> list[Reply]:
        try:
            command = self._command(order)
        except CommandRefused as error:
            return [self._closed(order, Status.REFUSED, str(error))]
        job = self._jobs[order.id] = _Job(order, steps(command, order), command.alone)
        replies = self._advance(job)
        if order.id in self._jobs and not replies:
            replies = [Reply(Answer(order.id, order.word.value, Status.ACCEPTED, order.to))]
        return replies

    def _repeat(self, order: Order) -> list[Reply]:
        """A command that has come before is not carried out: it gets the same answer, in the same place."""
        said = self._gate.ledger.answer(order.id)
        if said is not None:
            return [Reply(said)]
        reason = "it came before and was answered then, which is not kept any more; nothing was done now"
        return [self._closed(order, Status.REFUSED, reason)]

    def _command(self, order: Order) -> Command:
        """Raises CommandRefused: too much is under way."""
        others = [job for job in self._jobs.values() if job.alone and job.order.word is order.word]
        if others:
            raise CommandRefused(f"{order.word.value} {others[0].order.id} is under way; wait for its answer")
        if len(self._jobs) >= _MOST_UNDER_WAY:
            raise CommandRefused(f"{_MOST_UNDER_WAY} commands are under way; wait for an answer")
        return self._commands[order.word]

    def step(self) -> list[Reply]:
        """Go on with what is under way; what there is to say of it."""
        return [self._noted(reply) for job in tuple(self._jobs.values()) for reply in self._advance(job)]

    def _advance(self, job: _Job) -> list[Reply]:
        def failed(words: str) -> list[Reply]:
            return [self._ended(job, Status.FAILED, words)]

        return self._guarded(lambda: self._next(job), job.order.word.value, failed)

    def _next(self, job: _Job) -> list[Reply]:
        order = job.order
        try:
            words = next(job.steps)
        except StopIteration as end:
            return [self._done(job, end.value)]
        except CommandRefused as error:
            return [self._ended(job, Status.REFUSED, str(error))]
        except CommandFailed as error:
            return [self._ended(job, Status.FAILED, str(error))]
        return [Reply(Answer(order.id, order.word.value, Status.PROGRESS, order.to, reason=words))] if words else []

    def _done(self, job: _Job, outcome: Outcome) -> Reply:
        order = job.order
        del self._jobs[order.id]
        self._write_down(order.id, order.word.value, order.by, {"outcome": outcome.status.value, **_asked(order)})
        return Reply(Answer(order.id, order.word.value, outcome.status, order.to, result=outcome.result), outcome.then)

    def _ended(self, job: _Job, status: Status, reason: str) -> Reply:
        self._jobs.pop(job.order.id, None)
        return self._closed(job.order, status, reason)

    def _closed(self, order: Order, status: Status, reason: str) -> Reply:
        told = {"outcome": status.value, "reason": reason, **_asked(order)}
        self._write_down(order.id, order.word.value, order.by, told)
        return Reply(Answer(order.id, order.word.value, status, order.to, reason=reason))

    def close(self) -> list[Reply]:
        """The agent stops: what is under way ends, and this is said of it."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.steps.close()
        reason = "the agent stops; send it again with another id"
        return [self._noted(self._ended(job, Status.FAILED, reason)) for job in jobs]

    def _noted(self, reply: Reply) -> Reply:
        self._gate.ledger.note(reply.answer)
        return reply

    def _return(self, letter: Letter, name: str | None, *, proven: bool) -> Return:
        """Where answers go; `proven`: the message is somebody's who has a key, and of now."""
        trusted = proven or not self._gate.reader.keys
        if trusted and _may_answer_to(letter.response_topic, self._answers_below):
            return Return(letter.response_topic, letter.correlation)
        return Return(f"{self._answers_below}/{name or 'unknown'}", letter.correlation)

    def _write_down(self, name: str | None, command: str, by: str, more: Mapping[str, Any]) -> None:
        self._audit.note({"id": name, "command": command, "by": by, **more})


def _may_answer_to(topic: str, answers_below: str) -> bool:
    """Whether a response topic is one for answers: the agent may publish where its sender must not.

    Nothing of its own but below its answers, no command to another, no word on what that takes, no device of a home's.
    """
    levels = topic.split("/")
    own = answers_below.rpartition("/")[0]
    if not topic or set(topic) & set("+#\0") or topic.startswith("$"):
        return False
    if levels[0] == _HOME_ASSISTANT or _NOT_FOR_ANSWERS & set(levels):
        return False
    return topic.startswith(f"{answers_below}/") or not f"{topic}/".startswith(f"{own}/")


def _asked(order: Order) -> dict[str, Any]:
    """What was asked for, for the audit; a long text, such as a configuration, by its hash."""
    asked = {name: _short(value) for name, value in order.fields.items()}
    return {"asked": asked} if asked else {}


def _short(value: object) -> object:
    if not isinstance(value, str) or len(value) <= _LONGEST:
        return value
    return f"{len(value)} letters, sha256 {hashlib.sha256(value.encode()).hexdigest()[:16]}"
