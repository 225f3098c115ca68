"""From the configuration to the page. Main thread, before anything runs."""

from functools import partial
from typing import Final

from agent import imaging
from agent.config import Config
from agent.loop import Loop, Stage
from agent.page.gallery import Gallery
from agent.page_options import PageConfig
from agent.ports import Context
from agent.readiness import Readiness, Watched

STOP_S: Final = 1.0
_QUALITY: Final = 75
"""Of the live pictures: people look at them, and nobody measures them."""


def gallery(config: Config) -> Gallery | None:
    """What sees the frames for the page; None where there is no page."""
    return None if config.page is None else Gallery()


def stage(options: PageConfig, context: Context, seen: Gallery, watched: Watched) -> Stage:
    """The page's stage.

    Args:
        options: the page's section of the configuration.
        context: the agent's surroundings.
        seen: what `gallery` made.
        watched: what there is to look at.

    Raises:
        ConfigError: the token cannot be read, or is too short.
    """
    # Its libraries take a tenth of a second to load, which an agent without a page does not wait for.
    from agent.metrics import Metrics
    from agent.page.gate import Gate
    from agent.page.server import Page, Terms
    from agent.page.site import POLICY, Site
    from agent.page.studio import Studio

    readiness, clock = Readiness(watched), context.clock
    develop = partial(imaging.snapshot, longest_px=options.longest_px, quality=_QUALITY)
    studio = Studio(seen, develop, clock)
    site = Site(watched, readiness, gallery=seen, studio=studio, metrics=Metrics(watched, readiness))
    token = options.reveal_token(context.base_dir)
    gate = Gate(site.app(), token=token, open_metrics=options.open_metrics, port=options.port, policy=POLICY)
    page = Page(site, gate, Terms(options.host, options.port, options.frames_per_second), clock)
    return Stage("page", (Loop("page", page.run),), STOP_S)
