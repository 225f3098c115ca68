"""Who owes what: obligations as they were accepted, receipts as they came, and the verdict over both.

An obligation is a result that `put` has taken. It is fulfilled when its body has arrived, bit for bit. It may be lost
only where the process died within the commit window after it was accepted. It may come twice only where the session
with the sink broke (the process died, or the connection did) while it was among the last `in_flight` that the receiver
had got, for the first time or again. Nothing may come twice within one session, or after one that ended well. First
receipts keep each camera's order.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

IN_FLIGHT = 128
"""The largest batch that a sink is handed: what may come twice."""
COMMIT_SLACK_S = 0.3
"""What a commit may take where the interval is a tenth of a second; where it is a whole one, it is measured."""
_LONGEST_COMMIT_S = 2.0
"""One that takes longer is not excused."""


def checksum(body: bytes) -> str:
    """What stands for a body in the ledger."""
    return hashlib.sha256(body).hexdigest()[:20]


@dataclass(frozen=True)
class Obligation:
    """A result that was accepted."""

    id: str
    camera: str
    checksum: str
    accepted_s: float
    """Monotonic."""
    run: int
    """Of which process."""


@dataclass(frozen=True)
class Receipt:
    """A result that arrived."""

    id: str
    checksum: str
    session: int
    """Counts the sink's connections, or the processes that wrote."""


@dataclass
class Ledger:
    """What the processes under fault have written, line by line, into a file that no fault touches.

    `intend ID CAMERA CHECKSUM` before a put, `accept ID TIME RUN` after it, `open TIME` for each try to reach a sink;
    `commit begins TIME RUN` and `commit ends TIME RUN`; `late SECONDS RUN`, how late a thread was; `dropped RUN COUNT`
    and `refused ID`.
    """

    obligations: list[Obligation] = field(default_factory=list)
    intended: dict[str, str] = field(default_factory=dict)
    opens: list[float] = field(default_factory=list)
    last_signs: dict[int, float] = field(default_factory=dict)
    """When each process was seen alive last."""
    longest_commits: dict[int, float] = field(default_factory=dict)
    """Of each process; one that it died in lasts until its last sign."""
    dropped: dict[int, int] = field(default_factory=dict)
    """What each process has counted as such, as last told."""
    refused: set[str] = field(default_factory=set)
    """What the sink would never take."""
    latest: dict[int, float] = field(default_factory=dict)
    """How late the machine let a thread of each process go on, at worst."""

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """Everything so far; a last line that a kill cut short is left out."""
        ledger, cameras, begun = cls(), {}, dict[int, float]()
        for line in path.read_text().split("\n")[:-1]:
            word, *rest = line.split()
            if word == "intend":
                ledger.intended[rest[0]] = rest[2]
                cameras[rest[0]] = rest[1]
            elif word == "accept":
                name, time_s, run = rest
                ledger.obligations.append(
                    Obligation(name, cameras[name], ledger.intended[name], float(time_s), int(run))
                )
                ledger._note_alive(int(run), float(time_s), begun)
            elif word == "commit":
                ledger._note_alive(int(rest[2]), float(rest[1]), begun)
                if rest[0] == "begins":
                    begun[int(rest[2])] = float(rest[1])
                else:
                    begun.pop(int(rest[2]), None)
            else:
                ledger._note_other(word, rest)
        return ledger

    def _note_other(self, word: str, rest: list[str]) -> None:
        if word == "late":
            self.latest[int(rest[1])] = float(rest[0])
        elif word == "open":
            self.opens.append(float(rest[0]))
        elif word == "dropped":
            self.dropped[int(rest[0])] = int(rest[1])
        elif word == "refused":
            self.refused.add(rest[0])

    def _note_alive(self, run: int, now_s: float, begun: dict[int, float]) -> None:
        self.last_signs[run] = max(now_s, self.last_signs.get(run, now_s))
        if run in begun:
            self.longest_commits[run] = max(now_s - begun[run], self.longest_commits.get(run, 0.0))

    def window_s(self, interval_s: float) -> float:
        """How old at most may be what a death costs: the interval, and what the machine took beside it."""
        commit_s = min(_LONGEST_COMMIT_S, max(self.longest_commits.values(), default=0.0))
        return interval_s + commit_s + max(self.latest.values(), default=0.0)


@dataclass
class Verdict:
    """How it ended; `faults` is empty when all is well."""

    accepted: int
    delivered: int
    lost: list[str]
    excused: int
    """Lost within the commit window before a death."""
    oldest_excused_s: float
    damaged: list[str]
    duplicates: int
    longest_duplicates: int
    """Most in one session."""
    stray: list[str]
    """Duplicates outside the in-flight window."""
    disordered: list[str]
    fresh: bool

    def faults(self, *, order: bool = True) -> list[str]:
        """What is wrong, as sentences; without `order`, results may overtake one another."""
        found = [
            f"{len(names)} {what}, the first {names[0]}"
            for what, names in (
                ("lost", self.lost),
                ("damaged or never sent", self.damaged),
                ("came twice outside the in-flight window", self.stray),
                ("out of order", self.disordered if order else []),
            )
            if names
        ]
        return found if self.fresh else [*found, "no fresh result came afterwards"]


def judge(
    ledger: Ledger,
    receipts: Sequence[Receipt],
    *,
    deaths: Sequence[float | None] = (),
    window_s: float = 0.0,
    in_flight: int = IN_FLIGHT,
    ended_well: Collection[int] = (),
) -> Verdict:
    """Compare them.

    Args:
        ledger: what was accepted.
        receipts: what arrived, in order.
        deaths: when the nth process was killed; None: it ended well.
        window_s: what came within this before a death may be lost.
        in_flight: how many may come twice for each session that broke.
        ended_well: sessions that did not break.
    """
    got = {receipt.id for receipt in receipts}
    missing = [each for each in ledger.obligations if each.id not in got]
    ages_s = {each.id: _age_s(each, deaths) for each in missing}
    excused_s = [age_s for age_s in ages_s.values() if 0 <= age_s <= window_s]
    duplicates, stray, longest = _duplicates(receipts, in_flight, ended_well)
    return Verdict(
        accepted=len(ledger.obligations),
        delivered=len(got),
        lost=[name for name, age_s in ages_s.items() if not 0 <= age_s <= window_s],
        excused=len(excused_s),
        oldest_excused_s=max(excused_s, default=0.0),
        damaged=[each.id for each in receipts if ledger.intended.get(each.id) != each.checksum],
        duplicates=duplicates,
        longest_duplicates=longest,
        stray=stray,
        disordered=_disordered(ledger, receipts),
        fresh=bool(ledger.obligations) and ledger.obligations[-1].id in got,
    )


def _age_s(obligation: Obligation, deaths: Sequence[float | None]) -> float:
    """How old it was when its process died; infinite when it did not."""
    died_s = deaths[obligation.run] if obligation.run < len(deaths) else None
    return float("inf") if died_s is None else died_s - obligation.accepted_s


def _duplicates(receipts: Sequence[Receipt], in_flight: int, ended_well: Collection[int]) -> tuple[int, list[str], int]:
    """How many came again, which of them should not have, and the most in one session."""
    last_at: dict[str, int] = {}
    begun_at: dict[int, int] = {}
    count, stray, by_session = 0, [], dict[int, int]()
    for place, receipt in enumerate(receipts):
        begun = begun_at.setdefault(receipt.session, place)
        if receipt.id in last_at:
            count += 1
            by_session[receipt.session] = by_session.get(receipt.session, 0) + 1
            before = last_at[receipt.id]
            too_old = before < begun - in_flight or by_session[receipt.session] > in_flight
            if too_old or receipts[before].session in {receipt.session, *ended_well}:
                stray.append(receipt.id)
        last_at[receipt.id] = place
    return count, stray, max(by_session.values(), default=0)


def _disordered(ledger: Ledger, receipts: Iterable[Receipt]) -> list[str]:
    place = {each.id: number for number, each in enumerate(ledger.obligations)}
    camera = {each.id: each.camera for each in ledger.obligations}
    newest: dict[str, int] = {}
    found, seen = [], set()
    for receipt in receipts:
        if receipt.id in seen or receipt.id not in place:
            continue
        seen.add(receipt.id)
        of = camera[receipt.id]
        if place[receipt.id] < newest.get(of, -1):
            found.append(receipt.id)
        newest[of] = max(newest.get(of, -1), place[receipt.id])
    return found


def most_in_a_minute(times_s: Iterable[float], *, window_s: float = 60.0) -> int:
    """The most of `times_s` that lie in any `window_s`."""
    ordered, begin, most = sorted(times_s), 0, 0
    for end, time_s in enumerate(ordered):
        while time_s - ordered[begin] >= window_s:
            begin += 1
        most = max(most, end - begin + 1)
    return most
