"""What a command is: the fields that it takes, and steps that lead to its outcome. No state.

Steps are a generator that the remote thread advances a few times a second: `yield` gives way to others, with words
where there is something to tell. So nothing waits in a command, and any number may be under way on one thread.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from pydantic import ValidationError

from agent.document import Document
from agent.errors import CommandRefused
from agent.mistakes import Mistakes
from agent.options import Options
from agent.remote.order import Order
from agent.remote.words import Status, Word


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended well."""

    result: Mapping[str, Any] = field(default_factory=dict)
    """What the answer tells, as JSON can have it."""
    then: Callable[[], None] | None = None
    """To be done once the broker has the answer."""
    status: Status = Status.DONE
    """ACCEPTED: somebody else says later how it ended."""


Steps: TypeAlias = Generator[str | None, None, Outcome]
"""Raises CommandRefused before anything was done, and CommandFailed afterwards."""
_Fields = TypeVar("_Fields", bound=Options)
_MOST_MISTAKES: Final = 20
_LONGEST: Final = 1000
"""Letters of one mistake: it may name a key that is as long as the message."""


class Command(Protocol):
    """One command."""

    word: Word
    alone: bool
    """Whether only one of it may be under way."""

    def run(self, order: Order) -> Outcome | Steps:
        """Check the order's fields and do it: at once, or in steps. Raises as Steps do."""


def steps(command: Command, order: Order) -> Steps:
    """What `command` does for `order`, begun with the first step."""
    begun = command.run(order)
    return begun if isinstance(begun, Outcome) else (yield from begun)


def checked(model: type[_Fields], order: Order) -> _Fields:
    """The order's fields as `model` has them.

    Raises:
        CommandRefused: every mistake in them, each with what is allowed and the nearest right name.
    """
    data = dict(order.fields)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        page = Document(name="", data=data, lines={}, duplicates=())
        sentences = Mistakes(page, model.model_json_schema()).sentences(error.errors())
        raise CommandRefused("; ".join(first([each.removeprefix(":1: ") for each in sentences]))) from error


def first(mistakes: Sequence[str]) -> list[str]:
    """As many as a person reads, each of a length that one reads, and how many more there are."""
    told = [each if len(each) <= _LONGEST else each[:_LONGEST] + "…" for each in mistakes[:_MOST_MISTAKES]]
    more = len(mistakes) - len(told)
    return [*told, f"and {more} more"] if more else told
