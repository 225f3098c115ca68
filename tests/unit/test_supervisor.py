import threading
from collections.abc import Callable

import pytest

from agent.clock import SystemClock
from agent.errors import ConfigError, SinkUnavailable, SourceEnded, SourceLost
from agent.loop import Loop, Pulse, Stage
from agent.supervisor import Supervisor


def supervise(run: Callable[[Pulse], None], *, within_s: float = 2.0) -> Supervisor:
    return Supervisor([Stage("only", (Loop("loop", run),), within_s)], SystemClock())


def eventually(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    clock, never = SystemClock(), threading.Event()
    until_s = clock.now() + limit_s
    while not condition() and clock.now() < until_s:
        clock.wait(never, 0.005)
    return condition()


@pytest.mark.parametrize("error", [SourceLost("gone"), SinkUnavailable("down")])
def test_a_loop_that_lost_its_camera_or_broker_is_run_again(error: Exception) -> None:
    runs = list[int]()

    def run(pulse: Pulse) -> None:
        runs.append(1)
        if len(runs) == 1:
            raise error
        pulse.stopping.wait(10)

    supervisor = supervise(run)
    supervisor.start()
    assert eventually(lambda: len(runs) == 2)
    supervisor.stop()
    assert supervisor.fatal is None


def test_a_camera_that_has_ended_is_not_run_again() -> None:
    runs = list[int]()

    def run(_: Pulse) -> None:
        runs.append(1)
        raise SourceEnded("over")

    supervisor = supervise(run)
    supervisor.start()
    assert eventually(lambda: not supervisor.alive("only"))
    assert runs == [1]
    assert supervisor.fatal is None


@pytest.mark.parametrize("error", [ConfigError("no such file"), ZeroDivisionError("a fault")])
def test_any_other_error_is_fatal_and_kept_for_the_main_thread(error: Exception) -> None:
    def run(_: Pulse) -> None:
        raise error

    supervisor = supervise(run)
    supervisor.start()
    assert eventually(lambda: supervisor.fatal is error)


def test_a_loop_that_does_not_stop_is_left_behind_within_its_limit() -> None:
    release = threading.Event()
    supervisor = supervise(lambda _: release.wait(30) and None, within_s=0.05)
    supervisor.start()
    supervisor.stop()
    assert supervisor.alive("only")
    release.set()


def test_stages_stop_from_the_last_to_the_first() -> None:
    ended = list[str]()

    def until_stopped(name: str) -> Callable[[Pulse], None]:
        def run(pulse: Pulse) -> None:
            pulse.stopping.wait(10)
            ended.append(name)

        return run

    stages = [Stage(name, (Loop(name, until_stopped(name)),), 5.0) for name in ("sinks", "lanes", "cameras")]
    supervisor = Supervisor(stages, SystemClock())
    supervisor.start()
    supervisor.stop()
    assert ended == ["cameras", "lanes", "sinks"]


def test_a_loop_may_ask_about_all_others_before_they_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, start, found = threading.Event(), threading.Thread.start, list[object]()

    def start_late(thread: threading.Thread) -> None:
        assert thread.name == "page" or asked.wait(10)
        start(thread)

    def ask(pulse: Pulse) -> None:
        try:
            found.extend([supervisor.stuck(), supervisor.alive("remote"), supervisor.trouble("remote-trial")])
        finally:
            asked.set()
        pulse.stopping.wait(10)

    def rest(pulse: Pulse) -> None:
        pulse.stopping.wait(10)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    later = Loop("remote", rest), Loop("remote-trial", rest)
    supervisor = Supervisor([Stage("page", (Loop("page", ask),), 5.0), Stage("remote", later, 5.0)], SystemClock())
    supervisor.start()
    assert (found, supervisor.alive("remote"), supervisor.fatal) == ([[], False, None], True, None)
    supervisor.stop()


def test_a_loop_without_a_heartbeat_is_named() -> None:
    class Hours(SystemClock):
        ahead_s = 0.0

        def now(self) -> float:
            return super().now() + self.ahead_s

    clock = Hours()
    supervisor = Supervisor(
        [Stage("only", (Loop("hung", lambda pulse: pulse.stopping.wait(30) and None),), 5.0)], clock
    )
    supervisor.start()
    assert supervisor.stuck() == []
    clock.ahead_s = 3600.0
    assert supervisor.stuck() == ["hung"]
    supervisor.stop()
