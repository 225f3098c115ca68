import contextlib
import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeClock, InstantCloud, a_frame, a_ladder, an_answer, an_uplink

from agent.budget import CREDITS_PER_CALL, Caps
from agent.errors import Cause, EngineRefused, EngineUnavailable
from agent.flow import Answer, Picture, Reading, Timings
from agent.ports import Watch
from agent.router import Errand
from agent.uplink import Uplink, Upload

CAPS = Caps(data_mb_per_day=1000.0, credits_per_day=10.0)


class Site:
    """An uplink with a budget to a hosted model of the test's."""

    def __init__(self, folder: Path, cloud: InstantCloud, clock: FakeClock) -> None:
        self.cloud, self.clock = cloud, clock
        self.rings = 0
        self.uplink: Uplink = an_uplink(cloud, clock, caps=CAPS, store=folder / "budget", on_progress=self._ring)
        self.ladder = a_ladder()

    def _ring(self) -> None:
        self.rings += 1

    def begin(self, *, due_in_s: float = 0.5) -> Upload:
        due_s = self.clock.now() + due_in_s
        return self.uplink.begin(a_frame(7), self.ladder.rungs[0], ladder=self.ladder, due_s=due_s)

    @property
    def spent(self) -> tuple[float, float]:
        prices = self.uplink.prices()
        assert prices is not None
        return 1000 / 25 * 1e6 - prices.data_left_bytes, 10 / 25 - prices.credits_left


def site(folder: Path, *, error: EngineUnavailable | EngineRefused | None = None) -> Site:
    clock = FakeClock()
    return Site(folder, InstantCloud(clock, error=error), clock)


def run(uplink: Uplink, errand: Errand) -> bool:
    assert uplink.begin_errand()
    return uplink.run(errand)


def test_errands_that_hang_leave_most_of_the_lane_to_frames(tmp_path: Path) -> None:
    uplink = site(tmp_path).uplink
    assert [uplink.begin_errand() for _ in range(5)] == [True] * 3 + [False] * 2
    uplink.run(Errand.DIAL)
    assert uplink.begin_errand()


def test_a_failure_is_billed_by_the_servers_own_account_of_it(tmp_path: Path) -> None:
    error = EngineUnavailable("it broke", Cause.SERVER)
    error.processing_s = 2.5
    it = site(tmp_path, error=error)
    upload = it.begin()
    with pytest.raises(EngineUnavailable):
        upload.carry(it.clock.now() + 8)
    upload.end()
    assert it.spent[1] == pytest.approx(2.5 / 500)


class OtherBill(InstantCloud):
    """Bills something else than the time that it states."""

    def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:
        timings = Timings(processing_s=4.0, billed_s=0.35)
        return replace(super().infer(picture, give_up_s, watch), timings=timings)


def test_what_is_billed_wins_over_what_was_computed(tmp_path: Path) -> None:
    clock = FakeClock()
    it = Site(tmp_path, OtherBill(clock), clock)
    upload = it.begin()
    upload.carry(clock.now() + 8)
    upload.end()
    assert it.spent[1] == pytest.approx(0.35 / 500)


def test_a_request_is_known_to_the_link_from_the_moment_it_is_decided(tmp_path: Path) -> None:
    it = site(tmp_path)
    it.begin()
    view = it.uplink.view()
    assert (view.in_flight, view.unacked_bytes) == (1, it.ladder.rungs[0].size_bytes)


def test_an_answer_tells_what_was_sent_and_how_long_encoding_took(tmp_path: Path) -> None:
    it = site(tmp_path)
    upload = it.begin()
    answer = upload.carry(it.clock.now() + 8)
    upload.end()
    (picture,) = it.cloud.pictures
    assert (answer.size_bytes, answer.quality) == (len(picture.data), picture.quality)
    assert answer.timings.preprocess_s == 0.0
    view = it.uplink.view()
    assert (view.in_flight, len(view.evidence), view.on_time_s) == (0, 1, it.clock.now())
    assert it.rings > 0


def test_an_answer_after_its_time_is_no_answer_in_time(tmp_path: Path) -> None:
    it = site(tmp_path)
    it.begin(due_in_s=-0.1).carry(it.clock.now() + 8)
    assert it.uplink.view().on_time_s == float("-inf")
    assert it.uplink.view().answered_s == it.clock.now()


def test_what_a_request_took_is_paid_whatever_was_thought_before(tmp_path: Path) -> None:
    it = site(tmp_path)
    upload = it.begin()
    upload.carry(it.clock.now() + 8)
    upload.end()
    spent_bytes, spent_credits = it.spent
    assert spent_bytes == pytest.approx(2 * len(it.cloud.pictures[0].data), abs=1)
    assert spent_credits == pytest.approx(CREDITS_PER_CALL)


def test_a_request_that_is_never_made_costs_nothing_and_leaves_the_wire_free(tmp_path: Path) -> None:
    it = site(tmp_path)
    it.begin().end()
    assert it.spent == pytest.approx((0.0, 0.0), abs=1e-6)
    assert (it.uplink.view().in_flight, it.uplink.view().wire_free) == (0, True)


@pytest.mark.parametrize(
    ("error", "credits_"),
    [
        (EngineRefused("no key", Cause.AUTH), 0.0),
        (EngineUnavailable("too many", Cause.RATE_LIMITED), 0.0),
        (EngineUnavailable("a sign-in page", Cause.CAPTIVE_PORTAL), 0.0),
        (EngineUnavailable("no answer in time", Cause.TIMEOUT), CREDITS_PER_CALL),
    ],
)
def test_a_failed_request_pays_for_its_bytes_and_for_the_call_if_the_server_may_have_made_it(
    tmp_path: Path, error: EngineUnavailable | EngineRefused, credits_: float
) -> None:
    it = site(tmp_path, error=error)
    upload = it.begin()
    with pytest.raises(type(error)):
        upload.carry(it.clock.now() + 8)
    upload.end()
    spent_bytes, spent_credits = it.spent
    assert spent_bytes == pytest.approx(2 * len(it.cloud.pictures[0].data), abs=1)
    assert spent_credits == pytest.approx(credits_)
    assert it.uplink.view().in_flight == 0


def test_an_upload_that_was_given_up_is_told_to_close_its_connection(tmp_path: Path) -> None:
    said: list[bool] = []

    class Silent(InstantCloud):
        def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:  # noqa: ARG002 - as CloudEngine
            said.append(watch(Reading(clock.now(), 0, len(picture.data), 0.04, metered_bytes=100)))
            clock.advance(0.6)
            said.append(watch(Reading(clock.now(), 0, len(picture.data), 0.04, metered_bytes=100)))
            return an_answer()

    clock = FakeClock()
    it = Site(tmp_path, Silent(clock), clock)
    it.begin().carry(clock.now() + 8)
    assert said == [True, False]


@pytest.mark.parametrize(("stated_s", "said"), [(0.03, False), (0.08, False), (0.4, True), (None, False)])
def test_a_server_that_states_more_time_than_it_had_is_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stated_s: float | None, *, said: bool
) -> None:
    with caplog.at_level("INFO"):
        site(tmp_path).uplink.check(Timings(server_s=0.05, processing_s=stated_s))
    assert ("stated_ms=400 measured_ms=50" in caplog.text) == said


def test_dialling_brings_a_dead_link_back_and_is_paid_for(tmp_path: Path) -> None:
    it = site(tmp_path)
    it.uplink.link.note_unwelcome(EngineUnavailable("no name", Cause.DNS), it.clock.now())
    assert it.uplink.view().dead
    assert run(it.uplink, Errand.DIAL) is False
    assert not it.uplink.view().dead
    assert it.spent == pytest.approx((1200, 0))


def test_a_dial_in_vain_leaves_the_link_dead(tmp_path: Path) -> None:
    class Gone(InstantCloud):
        def dial(self, give_up_s: float) -> int:  # noqa: ARG002 - as CloudEngine has it
            error = EngineUnavailable("nobody there", Cause.TLS_EXPIRED)
            error.metered_bytes = 3000
            raise error

    clock = FakeClock()
    it = Site(tmp_path, Gone(clock), clock)
    run(it.uplink, Errand.DIAL)
    assert (it.uplink.view().dead, it.uplink.view().dead_cause) == (True, Cause.TLS_EXPIRED)
    assert it.spent == pytest.approx((3000, 0))
    assert it.rings == 1


def test_a_knock_that_is_welcome_opens_a_cloud_that_had_refused(tmp_path: Path) -> None:
    it = site(tmp_path, error=EngineRefused("no credits", Cause.CREDITS))
    with pytest.raises(EngineRefused):
        it.begin().carry(it.clock.now() + 8)
    assert it.uplink.view().refused
    run(it.uplink, Errand.KNOCK)
    view = it.uplink.view()
    assert not view.refused
    assert not view.closed


class Breaking(InstantCloud):
    """Each failure is an error of its own, as an engine's are."""

    def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:
        raise EngineUnavailable(f"{len(picture.data)} bytes by {give_up_s} for {watch}", Cause.TIMEOUT)


def test_an_upload_that_failed_is_let_go_of_at_once_with_its_frame_and_not_by_the_collector(tmp_path: Path) -> None:
    clock = FakeClock()
    it = Site(tmp_path, Breaking(clock), clock)
    gc.disable()
    try:
        upload = it.begin()
        with contextlib.suppress(EngineUnavailable):
            upload.carry(clock.now() + 8)
        upload.end()
        left = weakref.ref(upload)
        del upload
        assert left() is None
    finally:
        gc.enable()
