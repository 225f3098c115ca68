"""One engine, asked for one frame after the other, and what each answer took. One thread."""

from typing import Final, Protocol

from agent import imaging, plugins
from agent.bench import machine
from agent.bench.sample import About, Sample
from agent.flow import Answer, Frame, Pixels, Reading, Timings
from agent.options import Options
from agent.ports import Context, Described

LIMIT_S: Final = 15.0
"""For one answer."""


class Asking(Protocol):
    """An engine under test."""

    def open(self, first: Pixels) -> About:
        """Load it, or get ready to call it; `first` is one of the pictures. Raises EngineError, ConfigError."""

    def answer(self, number: int, pixels: Pixels) -> Sample:
        """What the answer to one frame takes. Raises EngineError."""

    def close(self) -> None:
        """Free what `open` took; never raises."""


class Local:
    """An engine on this device."""

    def __init__(self, options: Options, context: Context) -> None:
        self._engine = plugins.build_engine(options, context)
        self._clock = context.clock
        self._type = plugins.type_of(options)

    def open(self, first: Pixels) -> About:  # noqa: ARG002 - its input has one size whatever it is shown
        """See Asking."""
        self._engine.open()
        card = self._engine.card if isinstance(self._engine, Described) else None
        runtime = machine.runtime(self._type)
        if card is None:
            return About("", runtime=runtime)
        complaints = tuple(
            each for each in card.complaints if card.labels or "class names" not in each
        )  # not needed here
        return About(f"{card.width}x{card.height}", card.threads, runtime, complaints)

    def answer(self, number: int, pixels: Pixels) -> Sample:
        """See Asking."""
        clock = self._clock
        begun_s = clock.now()
        frame = Frame("bench", number, begun_s, clock.wall(), clock_synchronized=False, pixels=pixels)
        answer = self._engine.infer(frame, begun_s + LIMIT_S)
        took_s = clock.now() - begun_s
        return _sample(answer, took_s, _of_device(answer.timings), answer.timings.inference_s)

    def close(self) -> None:
        """See Asking."""
        self._engine.close()


class Cloud:
    """The hosted API: one request at a time, over one connection that is kept."""

    def __init__(self, options: Options, context: Context) -> None:
        self._engine = plugins.build_cloud_engine(options, context, width=1)
        self._clock = context.clock
        self._address = str(getattr(options, "url", ""))
        self._metered_bytes = 0

    def open(self, first: Pixels) -> About:
        """See Asking."""
        self._engine.open()
        picture = imaging.encode(first, self._engine.longest_px, self._engine.finest_quality)
        return About(f"{picture.width}x{picture.height} q{picture.quality}", runtime=self._address)

    def answer(self, number: int, pixels: Pixels) -> Sample:  # noqa: ARG002 - the API does not count them
        """See Asking."""
        clock, engine = self._clock, self._engine
        begun_s = clock.now()
        picture = imaging.encode(pixels, engine.longest_px, engine.finest_quality)
        encoded_s = clock.now()
        answer = engine.infer(picture, begun_s + LIMIT_S, self._watch)
        took_s = clock.now() - begun_s
        parts = {"encode": encoded_s - begun_s, **_of_path(answer.timings)}
        return _sample(answer, took_s, parts, answer.timings.processing_s, size_bytes=self._metered_bytes)

    def _watch(self, reading: Reading) -> bool:
        self._metered_bytes = reading.metered_bytes
        return True

    def close(self) -> None:
        """See Asking."""
        self._engine.close()


def _of_device(timings: Timings) -> dict[str, float | None]:
    return {"preprocess": timings.preprocess_s, "postprocess": timings.postprocess_s}


def _of_path(timings: Timings) -> dict[str, float | None]:
    return {"connect": timings.connect_s, "upload": timings.upload_s, "server": timings.server_s}


def _sample(
    answer: Answer, took_s: float, parts: dict[str, float | None], execution_s: float | None, *, size_bytes: int = 0
) -> Sample:
    parts_ms = {name: value_s * 1000 for name, value_s in parts.items() if value_s is not None}
    execution_ms = None if execution_s is None else execution_s * 1000
    return Sample(took_s * 1000, execution_ms, parts_ms, size_bytes, answer.cold_start)
