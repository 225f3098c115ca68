"""From a camera's configuration to its pipeline. Main thread, before anything runs."""

from collections.abc import Sequence
from dataclasses import replace

from agent import imaging, plugins
from agent.classes import Classes
from agent.config import CameraConfig
from agent.ladder import Ladder
from agent.pipeline import Pipeline, Shared
from agent.ports import Context, Reporter, Source
from agent.presence import Presence
from agent.record import Identity
from agent.tracking.whereabouts import Whereabouts
from agent.view.crop import Crop
from agent.view.motion import MotionGate
from agent.view.shutter import Shutter
from agent.view.view import View


def pipeline_of(
    camera: CameraConfig, context: Context, shared: Shared, classes: Classes | None, *, source: Source | None = None
) -> Pipeline:
    """One camera's.

    Args:
        camera: its section of the configuration.
        context: the agent's surroundings.
        shared: what all cameras have in common.
        classes: what an earlier run has told of; None: nothing outlasts a run.
        source: the one that the camera had before a reload, closed; None: it is made.
    """
    ladder = None
    if shared.uplink is not None:
        cloud = shared.uplink.engine
        ladder = Ladder(imaging.encode, cloud.longest_px, cloud.finest_quality)
    known = () if classes is None else classes.of(camera.name)
    source = plugins.build_source(camera.source, context) if source is None else source
    reporter = reporter_of(camera, shared.identity, known)
    return Pipeline(camera.name, source, shared, ladder=ladder, reporter=reporter, shutter=_shutter(camera))


def reporter_of(camera: CameraConfig, identity: Identity, known: Sequence[str]) -> Reporter:
    """What follows what it sees: by object, or by class. `known`: classes of which it has told before."""
    if camera.rules is None:
        return Presence(identity, known)
    still_s = 0.0 if camera.motion is None else camera.motion.heartbeat_s
    return Whereabouts(replace(camera.rules, still_s=still_s), identity, crop=_crop(camera), known=known)


def _crop(camera: CameraConfig) -> Crop:
    return Crop() if camera.crop is None else Crop(*camera.crop)


def _view(camera: CameraConfig) -> View:
    """What its pictures show."""
    return View(
        imaging.turned,
        imaging.cover,
        rotate=camera.rotate,
        crop=_crop(camera),
        masks=[mask.mask for mask in camera.masks or ()],
    )


def _shutter(camera: CameraConfig) -> Shutter:
    """Which of its pictures become frames."""
    gate = None if camera.motion is None else MotionGate(camera.motion.sensitivity, imaging.small_grey)
    schedule = camera.schedule
    if schedule is None:
        return Shutter(_view(camera), fps=camera.fps, gate=gate)
    view, hours = _view(camera), schedule.hours
    return Shutter(view, fps=camera.fps, gate=gate, hours=hours, trust_clock=schedule.trust_clock)
