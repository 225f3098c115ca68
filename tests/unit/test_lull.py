from dataclasses import replace

import pytest

from agent.backfill import lull
from agent.evidence import Evidence, LinkView
from agent.flow import Prices, Reason

NOW_S = 1000.0
SIZE_BYTES = 50_000
GOOD = LinkView(NOW_S, evidence=(Evidence(NOW_S - 1, 0.05, 0.1, 8 / 4e6),), answered_s=NOW_S - 1)
"""4 Mbit/s: a tenth of a second for the picture."""


def is_good(view: LinkView, deadline_s: float = 0.5) -> bool:
    return lull.is_good(SIZE_BYTES, view, deadline_s)


def test_a_link_that_answers_and_takes_the_picture_in_a_moment_is_good() -> None:
    assert is_good(GOOD)


@pytest.mark.parametrize(
    "view",
    [
        LinkView(NOW_S),
        replace(GOOD, dead=True),
        replace(GOOD, stalled=True),
        replace(GOOD, refused=True),
        replace(GOOD, closed_until_s=NOW_S + 1, closed_reason=Reason.HTTP_RATE_LIMITED),
        replace(GOOD, answered_s=NOW_S - lull.RECENT_S - 1),
        replace(GOOD, answered_s=float("-inf")),
        replace(GOOD, evidence=()),
    ],
)
def test_a_link_that_is_dead_closed_stalled_silent_or_unknown_is_not(view: LinkView) -> None:
    assert not is_good(view)


@pytest.mark.parametrize(("mbit_s", "good"), [(1.7, True), (1.5, False)])
def test_a_picture_that_would_keep_the_wire_for_half_a_deadline_stays(mbit_s: float, *, good: bool) -> None:
    assert is_good(replace(GOOD, evidence=(Evidence(NOW_S - 1, 0.05, 0.1, 8e-6 / mbit_s),))) is good


@pytest.mark.parametrize(
    ("unacked_bytes", "in_flight", "idle"), [(0, 0, True), (1, 1, False), (0, 2, True), (0, 3, False)]
)
def test_idle_is_a_wire_without_an_upload_and_room_for_two_live_requests(
    unacked_bytes: int, in_flight: int, *, idle: bool
) -> None:
    assert lull.is_idle(replace(GOOD, unacked_bytes=unacked_bytes, in_flight=in_flight), 4) is idle


CAPPED = Prices(data_left_bytes=60e6, credits_left=0.3, data_bytes_s=22_000.0, credits_s=1e-4)
"""A full hour's share."""


def test_without_caps_all_is_affordable() -> None:
    assert lull.is_affordable(SIZE_BYTES, None)
    assert lull.is_affordable(SIZE_BYTES, Prices())


@pytest.mark.parametrize(
    ("prices", "affordable", "for_training"),
    [
        (CAPPED, True, True),
        (replace(CAPPED, data_left_bytes=22_000 * lull.RESERVE_S), False, False),
        (replace(CAPPED, credits_left=1e-4 * lull.RESERVE_S), False, True),
        (replace(CAPPED, per_mb=2.1), False, False),
        (replace(CAPPED, per_call=0.11), False, True),
        (replace(CAPPED, per_mb=0.5, per_call=0.05), True, True),
    ],
)
def test_live_frames_come_first_by_price_and_by_what_is_left(
    prices: Prices, *, affordable: bool, for_training: bool
) -> None:
    assert lull.is_affordable(SIZE_BYTES, prices) is affordable
    assert lull.is_affordable(SIZE_BYTES, prices, credits_=False) is for_training
