"""The bars: a leak of each kind is told from noise, and a run that is too short says so."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from soak.delivery import Counts
from soak.gauge import Holding
from soak.timetable import draw
from soak.verdict import Sample, Seen, Standing, judge

HOLDING = Holding(
    150.0, 90.0, 40.0, 25.0, 1.0, files=40, pooled=3, threads=20, children=1, child_files=8, child_threads=4
)
FAULTS = ("broker", "link", "camera")


def a_run(at: Callable[[float], Holding], total_s: float = 1800.0, *, state_mb: float = 0.5) -> Seen:
    """A sample every five seconds, three of five of them calm; `at` has what is held so many hours after the begin."""
    samples = [
        Sample(number * 5.0, number % 5 > 1, at(number * 5 / 3600), state_mb, 3.0, number * 0.01)
        for number in range(int(total_s / 5))
    ]
    return Seen(draw(total_s, FAULTS, seed=1), samples, pictures_limit_mb=12.0, lost=[], accepted=1000)


def noisy(mb_per_hour: float, *, size_mb: float = 0.05, seed: int = 1) -> Callable[[float], Holding]:
    dice = random.Random(seed)  # noqa: S311 - not a secret

    def at(hours: float) -> Holding:
        rss_mb = 150 + mb_per_hour * hours + dice.gauss(0, size_mb) + (20 if dice.random() < 0.1 else 0)
        return replace(HOLDING, rss_mb=rss_mb, anonymous_mb=rss_mb - 60)

    return at


def standing(seen: Seen, what: str) -> Standing:
    (line,) = (line for line in judge(seen) if line.what == what)
    return line.standing


def test_a_run_without_growth_holds_every_bar() -> None:
    assert {line.standing for line in judge(a_run(noisy(0.0)))} == {Standing.HELD}


@pytest.mark.parametrize("seed", range(3))
def test_two_megabytes_an_hour_are_found_out_in_half_an_hour(seed: int) -> None:
    assert standing(a_run(noisy(2.0, seed=seed)), "RSS of the agent") is Standing.FAILED


@pytest.mark.parametrize("seed", range(3))
def test_half_a_megabyte_an_hour_is_below_the_bar(seed: int) -> None:
    assert standing(a_run(noisy(0.5, seed=seed)), "RSS of the agent") is Standing.HELD


def test_a_run_too_short_for_its_noise_is_neither_good_nor_bad() -> None:
    assert standing(a_run(noisy(0.0, size_mb=0.5), total_s=300.0), "RSS of the agent") is Standing.OPEN


def test_what_only_grows_before_the_warm_up_is_over_does_not_count() -> None:
    def at(hours: float) -> Holding:
        return replace(HOLDING, rss_mb=150 + 300 * min(hours, 1 / 6))

    assert standing(a_run(at), "RSS of the agent") is Standing.HELD


@pytest.mark.parametrize(("kind", "what"), [("files", "descriptors"), ("threads", "threads"), ("children", "children")])
def test_one_that_is_never_given_back_is_one_too_many(kind: str, what: str) -> None:
    dice = random.Random(1)  # noqa: S311 - not a secret

    def at(hours: float) -> Holding:
        return replace(HOLDING, **{kind: getattr(HOLDING, kind) + dice.randrange(3) + (hours > 0.3)})  # type: ignore[arg-type]

    assert standing(a_run(at), what) is Standing.FAILED


def test_what_a_fault_takes_and_gives_back_is_no_leak() -> None:
    def at(hours: float) -> Holding:
        return replace(HOLDING, files=HOLDING.files + 30 * (0.35 < hours < 0.45))

    assert standing(a_run(at), "descriptors") is Standing.HELD


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"lost": ["3 lost, the first soak/gate/b/1/0"]}, "results"),
        ({"faults": ["it ended with 1"]}, "results"),
        ({"most_under_way": 50}, "frames"),
        ({"pictures_limit_mb": 2.0}, "pictures on disk"),
    ],
)
def test_whatever_is_wrong_fails_its_bar_alone(change: dict[str, object], what: str) -> None:
    lines = judge(replace(a_run(noisy(0.0)), **change))  # type: ignore[arg-type]
    assert [line.what for line in lines if line.standing is Standing.FAILED] == [what]


def test_state_that_grows_fails() -> None:
    seen = a_run(noisy(0.0))
    grown = [replace(sample, state_mb=sample.at_s / 500) for sample in seen.samples]
    assert standing(replace(seen, samples=grown), "state on disk") is Standing.FAILED


def said(captured: int, done: int, overwritten: int = 0) -> dict[str, object]:
    return {"cameras": {"gate": {"captured": captured, "fates": {"done": done, "overwritten": overwritten}}}}


def test_counts_go_on_over_a_reload_at_which_they_begin_again() -> None:
    counts = Counts()
    for each in (said(10, 8, 1), said(100, 97, 2), said(5, 4), said(20, 20)):
        counts.note(each)
    assert (counts.total("overwritten"), counts.total("done"), counts.total("done", "yard")) == (2, 117, 0)


def test_frames_that_never_get_a_fate_are_seen() -> None:
    counts = Counts()
    for each in (said(10, 9), said(100, 90, 1), said(110, 110)):
        counts.note(each)
    assert counts.most_under_way == 9
