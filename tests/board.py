"""A small computer without a fan, as a model: it gets hot by its work, slows itself down, and shows a thermal zone.

    C dT/dt = P - (T - T_around) / R        P = P_idle + P_busy * share of time in which it computes * speed^2

The figures are those of a Raspberry Pi 4 in a closed box, roughly: 2.2 W idle, 3.8 W more when busy, 8 K/W, and 12 J/K,
so that most of a change is through in three minutes. Firmware slows it down from 80 °C on, to 0.6 of its speed at 85.
What runs on it is the agent's own code; only the cameras' pictures, the model and the hosted API are made up. Its time
is a clock's that moves as it works.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fakes import PICTURE, FakeClock, InstantCloud, ListOutbox, ScriptedSource, a_ladder, an_answer, an_uplink

from agent import caring
from agent.admission import Admission
from agent.care_options import CareConfig
from agent.errors import Cause, EngineUnavailable
from agent.flow import Answer, Fate, Frame, Picture, Pixels, Route
from agent.handoff import Bell
from agent.heat import Thermometer
from agent.lanes import Lane
from agent.loop import Pulse
from agent.pipeline import Pipeline, Shared
from agent.ports import Watch
from agent.record import Identity
from agent.router import Mode, Router
from agent.view.shutter import Shutter

IDLE_W, BUSY_W = 2.2, 3.8
RESISTANCE_K_W, CAPACITY_J_K = 8.0, 12.0
SLOWS_C, SLOWEST_C, SLOWEST = 80.0, 85.0, 0.6
FPS, RUN_S = 5.0, 0.16
"""Four fifths of the time it computes."""
_IDLE_TURN_S = 0.02
_LOOKED_S = 1.0
"""How often its sensor is read by the kernel."""


@dataclass
class Log:
    """What it was like, second by second."""

    celsius: list[float] = field(default_factory=list)
    limits: list[tuple[float, float | None]] = field(default_factory=list)
    """When the camera's limit changed, and to what."""
    answered: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    run_s: list[float] = field(default_factory=list)


class Board(FakeClock):
    """Time that passes while it works or waits, and heat that comes of it."""

    def __init__(self, sys: Path, around_c: Callable[[float], float]) -> None:
        """`sys`: the folder that stands in for /sys. `around_c`: how warm it is around it, by the second."""
        super().__init__(0.0)
        self.log = Log()
        self.duties: Callable[[], bool] = lambda: False
        """What else there is to do; whether it did something."""
        self._around_c = around_c
        self._celsius = around_c(0.0) + RESISTANCE_K_W * IDLE_W
        self._firmware, self._zone = sys / "devices/platform/soc/soc:firmware", sys / "class/thermal/thermal_zone0"
        for folder in (self._firmware, self._zone):
            folder.mkdir(parents=True)
        (self._zone / "type").write_text("cpu-thermal\n")
        self._shows_s = 0.0
        self._show()

    @property
    def speed(self) -> float:
        """Of its full speed, what the firmware lets it have."""
        over = min(1.0, max(0.0, (self._celsius - SLOWS_C) / (SLOWEST_C - SLOWS_C)))
        return 1 - (1 - SLOWEST) * over

    def work(self, seconds: float) -> None:
        """Compute what takes so long at full speed."""
        took_s = seconds / self.speed
        self.log.run_s.append(took_s)
        self._pass(took_s, IDLE_W + BUSY_W * self.speed**2)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Do what there is to do; idle for the rest."""
        until_s = self.now() + timeout_s
        while self.now() < until_s and not event.is_set():
            if not self.duties():
                self._pass(min(_IDLE_TURN_S, until_s - self.now()), IDLE_W)
        return event.is_set()

    def _pass(self, seconds: float, watts: float) -> None:
        flows_w = watts - (self._celsius - self._around_c(self.now())) / RESISTANCE_K_W
        self._celsius += seconds * flows_w / CAPACITY_J_K
        self.advance(seconds)
        if self.now() >= self._shows_s:
            self._show()

    def _show(self) -> None:
        self._shows_s += _LOOKED_S
        self.log.celsius.append(self._celsius)
        (self._zone / "temp").write_text(f"{1000 * self._celsius:.0f}\n")
        (self._firmware / "get_throttled").write_text(f"{4 if self._celsius >= SLOWS_C else 0:x}\n")


class BoardCamera(ScriptedSource):
    """A live camera of 30 pictures a second."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board
        self._next_s = 0.0

    def read(self) -> Pixels:
        """The next picture that it takes."""
        now_s = self._board.now()
        self._next_s = max(self._next_s + 1 / 30, now_s)
        self._board.wait(threading.Event(), self._next_s - now_s)
        return PICTURE


class BoardModel:
    """The on-device model, which is work."""

    width = 1

    def __init__(self, board: Board) -> None:
        self._board = board
        self.runs = 0

    def open(self) -> None: ...

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - as Engine has it
        self.runs += 1
        self._board.work(RUN_S)
        return an_answer()

    def close(self) -> None: ...


class FickleCloud(InstantCloud):
    """A hosted model that answers three of four pictures."""

    def infer(self, picture: Picture, give_up_s: float, watch: Watch) -> Answer:
        self.error = EngineUnavailable("busy", Cause.SERVER) if len(self.pictures) % 4 == 3 else None
        return super().infer(picture, give_up_s, watch)


class Trial:
    """The agent on such a board, with a policy of care."""

    def __init__(self, folder: Path, options: CareConfig, around_c: Callable[[float], float], *, cloud: bool) -> None:
        self.board = board = Board(folder / "sys", around_c)
        bell, self.model = Bell(), BoardModel(board)
        engines = {Route.LOCAL: self.model, Route.CLOUD: FickleCloud(board, width=6)}
        self.lanes = {
            route: Lane(route.value, engine, board, on_room=bell.ring)  # type: ignore[arg-type]
            for route, engine in engines.items()
            if cloud or route is Route.LOCAL
        }
        for lane in self.lanes.values():
            lane.opened.set()
        uplink = an_uplink(engines[Route.CLOUD], board) if cloud else None  # type: ignore[arg-type]
        shared = Shared(
            board, bell, self.lanes, [ListOutbox()], Identity("a", "boot"), 1.0, local=self.model, uplink=uplink
        )
        self.controls = shared.controls
        ladder = a_ladder() if cloud else None
        self.pipeline = Pipeline("door", BoardCamera(board), shared, ladder=ladder, shutter=Shutter(fps=FPS))
        self._admission = Admission([self.pipeline], Router(Mode.AUTO if cloud else Mode.LOCAL_ONLY), shared)
        heat = Thermometer(board, folder / "sys").read
        self._care = caring.build(options, [self.pipeline], shared.controls, heat=heat, clock=board)
        self._due = self._dues()
        board.duties = self._duties

    def run(self, seconds: float) -> Log:
        """So long, and what it was like."""
        pulse, (duty, self._end) = Pulse(self.board), (self.board.duties, (self.board.now() + seconds))

        def duties() -> bool:
            if self.board.now() >= self._end:
                pulse.stopping.set()
            return duty()

        self.board.duties = duties
        self.pipeline.capture(pulse)
        self.board.duties = duty
        return self.board.log

    def _duties(self) -> bool:
        next(self._due)
        did = self._admission.step()
        for route in (Route.LOCAL, Route.CLOUD):  # a run that is due at once has begun before the cloud can answer
            did = (route in self.lanes and self.lanes[route].step()) or did
        self.pipeline.emit_ready()
        return did

    def _dues(self) -> Iterator[None]:
        """What is due by the clock: the care's look every two seconds, and a line of the log every second."""
        log, next_look_s, next_line_s = self.board.log, 0.0, 0.0
        while True:
            now_s = self.board.now()
            if now_s >= next_look_s:
                next_look_s += 2.0
                self._care.step()
                limit = self.controls.most_fps("door")
                if limit != (log.limits[-1][1] if log.limits else None):
                    log.limits.append((now_s, limit))
            if now_s >= next_line_s:
                next_line_s += 1.0
                log.answered.append(self.pipeline.telemetry.status().fates.get(Fate.DONE, 0))
                log.runs.append(self.model.runs)
            yield
