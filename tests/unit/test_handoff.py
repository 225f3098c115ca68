from fakes import FakeClock, a_frame, an_answer

from agent.errors import Cause, EngineBroken, EngineUnavailable
from agent.flow import Decision, Fate, Hedge, Reason, Route
from agent.handoff import Bell, LatestFrame, OrderedResults
from agent.ticket import Ticket

SLOW = EngineUnavailable("slow", Cause.TIMEOUT)


def ticket(route: Route = Route.CLOUD, *, seq: int = 0, local_start_s: float | None = 1000.3) -> Ticket:
    return Ticket(
        a_frame(seq), Decision(route, Reason.P_OK, deadline_s=1000.5, local_start_s=local_start_s), admitted_s=1000.0
    )


def answer(of: Ticket, route: Route, now_s: float) -> object:
    of.start(route)
    return of.answered(route, an_answer(), started_s=now_s - 0.1, now_s=now_s)


def published(of: Ticket) -> Route | None:
    assert of.result is not None, of
    return of.result.published


def test_the_slot_keeps_only_the_newest_frame_and_gives_back_the_one_it_pushed_out() -> None:
    slot = LatestFrame(Bell())
    old, new = a_frame(1), a_frame(2)
    assert slot.put(old) is None
    assert slot.put(new) is old
    assert not slot.take(old)
    assert slot.take(new)
    assert slot.peek() is None


def test_a_full_slot_makes_a_reader_of_files_wait() -> None:
    slot, clock = LatestFrame(Bell()), FakeClock()
    frame = a_frame()
    slot.put(frame)
    assert not slot.wait_empty(clock, 0.1)
    slot.take(frame)
    assert slot.wait_empty(clock, 0.1)


def test_a_cloud_answer_in_time_settles_the_frame_and_spares_the_local_run() -> None:
    it = ticket()
    answer(it, Route.CLOUD, 1000.2)
    assert published(it) is Route.CLOUD
    assert not it.start(Route.LOCAL)


def test_a_local_answer_waits_for_the_cloud_until_the_deadline() -> None:
    it = ticket()
    it.start(Route.CLOUD)
    answer(it, Route.LOCAL, 1000.4)
    assert it.result is None
    it.expire(1000.5)
    assert published(it) is Route.LOCAL
    assert it.result is not None
    assert not it.result.late


def test_a_cloud_answer_in_time_is_preferred_to_the_local_one_that_was_there_first() -> None:
    it = ticket()
    it.start(Route.CLOUD)
    answer(it, Route.LOCAL, 1000.3)
    answer(it, Route.CLOUD, 1000.4)
    assert published(it) is Route.CLOUD


def test_a_failed_request_publishes_the_waiting_local_answer_at_once() -> None:
    it = ticket()
    it.start(Route.CLOUD)
    answer(it, Route.LOCAL, 1000.3)
    assert not it.failed(Route.CLOUD, SLOW, now_s=1000.35)
    assert published(it) is Route.LOCAL


def test_a_failed_request_calls_for_the_hedge_at_once() -> None:
    it = ticket()
    it.start(Route.CLOUD)
    assert it.failed(Route.CLOUD, SLOW, now_s=1000.1)
    assert it.result is None


def test_a_late_cloud_answer_is_a_correction_of_the_published_result() -> None:
    it = ticket()
    it.start(Route.CLOUD)
    answer(it, Route.LOCAL, 1000.4)
    it.expire(1000.5)
    correction = it.answered(Route.CLOUD, an_answer(), started_s=1000.0, now_s=1000.9)
    assert correction is not None
    assert (correction.revision, correction.supersedes, correction.late) == (1, 0, True)
    assert published(it) is Route.LOCAL


def test_a_late_answer_to_a_failed_frame_supersedes_nothing() -> None:
    it = ticket(local_start_s=None)
    it.start(Route.CLOUD)
    it.expire(1000.5)
    assert it.result is not None
    assert it.result.fate is Fate.FAILED
    correction = it.answered(Route.CLOUD, an_answer(), started_s=1000.0, now_s=1000.9)
    assert correction is not None
    assert (correction.revision, correction.supersedes) == (1, None)


def test_a_local_run_that_has_begun_is_waited_for_and_marked_late() -> None:
    it = ticket(Route.LOCAL, local_start_s=1000.0)
    it.start(Route.LOCAL)
    it.expire(1000.5)
    assert it.result is None
    it.answered(Route.LOCAL, an_answer(), started_s=1000.0, now_s=1000.7)
    assert it.result is not None
    assert it.result.late


def test_a_local_run_that_has_not_begun_by_the_deadline_is_given_up() -> None:
    it = ticket()
    it.start(Route.CLOUD)
    it.expire(1000.5)
    assert it.result is not None
    assert it.result.fate is Fate.FAILED
    assert not it.start(Route.LOCAL)


def test_a_frame_routed_here_is_answered_late_rather_than_not_at_all() -> None:
    it = ticket(Route.LOCAL, local_start_s=1000.0)
    it.expire(1000.5)
    assert it.result is None
    answer(it, Route.LOCAL, 1000.9)
    assert published(it) is Route.LOCAL
    assert it.result is not None
    assert it.result.late


def test_a_local_run_that_fails_after_the_deadline_does_not_hold_up_the_camera() -> None:
    it = ticket()
    it.start(Route.CLOUD)
    it.start(Route.LOCAL)
    it.expire(1000.5)
    it.failed(Route.LOCAL, EngineBroken("it broke"), now_s=1000.6)
    assert it.result is not None
    assert it.result.fate is Fate.FAILED


def test_a_frame_whose_engines_all_fail_has_failed_with_the_reason() -> None:
    it = ticket()
    it.start(Route.CLOUD)
    it.failed(Route.CLOUD, SLOW, now_s=1000.1)
    it.start(Route.LOCAL)
    it.failed(Route.LOCAL, EngineBroken("it broke"), now_s=1000.2)
    assert it.result is not None
    assert it.result.fate is Fate.FAILED
    assert "it broke" in str(it.result.failure)


def test_a_failed_local_run_leaves_the_frame_to_the_cloud() -> None:
    it = ticket()
    it.start(Route.CLOUD)
    it.start(Route.LOCAL)
    it.failed(Route.LOCAL, EngineBroken("it broke"), now_s=1000.2)
    assert it.result is None
    answer(it, Route.CLOUD, 1000.3)
    assert published(it) is Route.CLOUD


def test_results_leave_in_capture_order_however_they_come() -> None:
    ordered = OrderedResults()
    first, second = ticket(seq=1), ticket(seq=2)
    ordered.reserve(first)
    ordered.reserve(second)
    answer(second, Route.CLOUD, 1000.1)
    assert ordered.release() == []
    answer(first, Route.CLOUD, 1000.2)
    assert [result.seq for result, _ in ordered.release()] == [1, 2]


def test_a_correction_never_overtakes_the_result_it_corrects() -> None:
    ordered = OrderedResults()
    first, second = ticket(seq=1), ticket(seq=2)
    ordered.reserve(first)
    ordered.reserve(second)
    answer(second, Route.LOCAL, 1000.4)
    second.expire(1000.5)
    correction = second.answered(Route.CLOUD, an_answer(), started_s=1000.0, now_s=1000.6)
    assert correction is not None
    ordered.correct(correction)
    assert ordered.release() == []
    answer(first, Route.CLOUD, 1000.2)
    assert [(result.seq, result.revision) for result, _ in ordered.release()] == [(1, 0), (2, 0), (2, 1)]


def test_a_deadline_is_handed_out_once() -> None:
    ordered, it = OrderedResults(), ticket(Route.LOCAL, local_start_s=1000.0)
    ordered.reserve(it)
    it.start(Route.LOCAL)
    assert ordered.overdue(1000.48) == []
    assert ordered.overdue(1000.49) == [it]
    it.expire(1000.5)
    assert ordered.overdue(1000.6) == []


def test_closing_gives_every_frame_its_fate() -> None:
    ordered, held, bare = OrderedResults(), ticket(seq=1), ticket(seq=2)
    ordered.reserve(held)
    ordered.reserve(bare)
    held.start(Route.CLOUD)
    answer(held, Route.LOCAL, 1000.2)
    ordered.close(1000.3)
    assert [result.fate for result, _ in ordered.release()] == [Fate.DONE, Fate.FAILED]
    assert ordered.finished


def waiting_for_the_wire() -> Ticket:
    decision = Decision(Route.LOCAL, Reason.UPLINK_BUSY, deadline_s=1000.5, local_start_s=1000.0, waits=True)
    return Ticket(a_frame(), decision, admitted_s=1000.0)


def the_wire_is_free(it: Ticket) -> bool:
    return it.upload(Decision(Route.CLOUD, Reason.P_OK, deadline_s=1000.5, local_start_s=None))


def test_a_frame_that_gets_the_wire_after_all_is_published_by_the_cloud_and_says_that_it_was_sent() -> None:
    it = waiting_for_the_wire()
    answer(it, Route.LOCAL, 1000.1)
    assert it.result is None
    assert the_wire_is_free(it)
    assert not it.awaits_wire
    answer(it, Route.CLOUD, 1000.4)
    assert published(it) is Route.CLOUD
    assert it.result is not None
    assert (it.result.decision.route, it.result.decision.reason, it.result.hedge) == (
        Route.CLOUD,
        Reason.P_OK,
        Hedge.NOW,
    )


def test_a_newer_frame_that_waits_in_its_place_lets_it_go_with_its_local_answer() -> None:
    it = waiting_for_the_wire()
    answer(it, Route.LOCAL, 1000.1)
    it.withdraw(1000.2)
    assert published(it) is Route.LOCAL
    assert not the_wire_is_free(it)


def test_withdrawn_before_its_local_answer_it_waits_for_that() -> None:
    it = waiting_for_the_wire()
    it.withdraw(1000.05)
    assert it.result is None
    answer(it, Route.LOCAL, 1000.1)
    assert published(it) is Route.LOCAL


def test_a_wire_that_is_free_only_after_the_deadline_comes_too_late() -> None:
    it = waiting_for_the_wire()
    answer(it, Route.LOCAL, 1000.1)
    it.expire(1000.49)
    assert published(it) is Route.LOCAL
    assert not the_wire_is_free(it)


def test_where_promptness_counts_the_local_answer_goes_at_once_and_the_clouds_corrects_it_even_in_time() -> None:
    decision = Decision(Route.CLOUD, Reason.P_OK, 1000.5, local_start_s=1000.0, prompt=True)
    it = Ticket(a_frame(), decision, admitted_s=1000.0)
    it.start(Route.CLOUD)
    answer(it, Route.LOCAL, 1000.1)
    assert published(it) is Route.LOCAL
    correction = it.answered(Route.CLOUD, an_answer(), started_s=1000.0, now_s=1000.3)
    assert correction is not None
    assert (correction.revision, correction.supersedes, correction.late) == (1, 0, False)


def test_what_became_of_the_promised_run_is_said() -> None:
    spared, late, none = ticket(), ticket(local_start_s=1000.3), ticket(local_start_s=None)
    for it in (spared, late, none):
        it.start(Route.CLOUD)
    answer(spared, Route.CLOUD, 1000.2)
    answer(late, Route.LOCAL, 1000.4)
    late.expire(1000.49)
    answer(none, Route.CLOUD, 1000.2)
    assert [it.result and it.result.hedge for it in (spared, late, none)] == [Hedge.SKIPPED, Hedge.LATE, Hedge.NONE]
