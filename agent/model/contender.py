"""A model under judgement: one on this device, or the hosted one of a configuration. Main thread."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from agent import config, imaging, package, plugins
from agent.errors import AgentError, EngineUnavailable
from agent.flow import Answer, Frame, Picture, Pixels
from agent.model.session import Session
from agent.model.trial import options_for, runtime_of
from agent.ports import Card, Described
from agent.shelf import MODELS

HOSTED: Final = "hosted"
"""In place of a model's name: the hosted API of the configuration."""
_LIMIT_S: Final = 30.0
_ATTEMPTS: Final = 3


class Contender(Protocol):
    """A model that is open."""

    name: str
    card: Card | None
    """None: it is not on this device."""

    def ask(self, number: int, pixels: Pixels) -> Answer:
        """What it finds in one picture. Raises EngineError."""

    def close(self) -> None:
        """Free what it took; never raises."""


class _Local:
    def __init__(self, model: str, session: Session, **wanted: Any) -> None:  # noqa: ANN401 - keys of any engine
        variant = wanted.get("variant")
        found = package.find(model, base_dir=session.here, variant=variant, shelf=session.state / MODELS)
        options = options_for(model, runtime_of(found.file), masks="rle", **wanted)
        self._engine = plugins.build_engine(options, session.context)
        self._clock = session.clock
        self._engine.open()
        self.card = self._engine.card if isinstance(self._engine, Described) else None
        version = f"@{found.version}" if found.version else ""
        self.name = f"{found.name}{version}" + (f" {variant}" if variant else "")

    def ask(self, number: int, pixels: Pixels) -> Answer:
        clock = self._clock
        now_s = clock.now()
        frame = Frame("picture", number, now_s, clock.wall(), clock_synchronized=False, pixels=pixels)
        return self._engine.infer(frame, now_s + _LIMIT_S)

    def close(self) -> None:
        self._engine.close()


class _Hosted:
    def __init__(self, page: Path, session: Session, **wanted: Any) -> None:  # noqa: ANN401 - keys of any engine
        options = config.load(page).engines.cloud
        if options is None:
            raise AgentError(f"{page}: has no engines.cloud, and {HOSTED} means that one")
        known = {key: value for key, value in wanted.items() if key in type(options).model_fields}
        context = replace(session.context, base_dir=page.resolve().parent)
        self._engine = plugins.build_cloud_engine(options.model_copy(update=known), context, width=1)
        self._clock = session.clock
        self._engine.open()
        self.card: Card | None = None
        self.name = f"{HOSTED} {getattr(options, 'model', None) or ''}".strip()

    def ask(self, number: int, pixels: Pixels) -> Answer:  # noqa: ARG002 - the API does not count them
        picture = imaging.encode(pixels, self._engine.longest_px, self._engine.finest_quality)
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(EngineUnavailable):
                return self._once(picture)
        return self._once(picture)

    def _once(self, picture: Picture) -> Answer:
        return self._engine.infer(picture, self._clock.now() + _LIMIT_S, lambda _: True)

    def close(self) -> None:
        self._engine.close()


def opened(model: str, session: Session, *, page: Path | None, **wanted: Any) -> Contender:  # noqa: ANN401
    """A model, ready to be asked.

    Args:
        model: as in the configuration, or HOSTED.
        session: clock and folders.
        page: the configuration whose hosted API HOSTED means.
        wanted: keys of its engine: confidence, overlap, variant, threads.

    Raises:
        AgentError: it cannot be used, and why.
    """
    if model != HOSTED:
        return _Local(model, session, **wanted)
    if page is None:
        raise AgentError(f"{HOSTED} is the API of a configuration; say which: --config CONFIG.yaml")
    return _Hosted(page, session, **wanted)
