"""The configuration in force: the device's own file, or what was applied from afar and confirmed. No state.

The file wins where it matters. A document from afar has the file's `remote` section, name and broker, so that nobody
can widen what may be commanded, nor lock everybody out; and a section that uses a secret stays as it is there in all
that says where the secret goes. Once the file is changed, it alone is used again.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from agent import config, document
from agent.config import Config
from agent.errors import ConfigError
from agent.options import Options, Secret
from agent.remote.drafts import Draft, Drafts, Stage
from agent.remote.words import Word

_log = logging.getLogger(__name__)
NAME: Final = "the sent configuration"
RESTARTED: Final = "the agent was started or reloaded before it was confirmed; the one before it is used"
_FREE: Final = frozenset(
    {
        *("model", "workflow", "task", "input_px", "jpeg_quality", "confidence", "overlap", "keypoint_confidence"),
        *("masks", "connect_timeout_s", "timeout_s", "ack_timeout_s", "keepalive_s", "in_flight", "batch", "what"),
        *("states", "home_assistant", "message_expiry_s", "user_properties", "accept_html", "outbox"),
        *("first_frame_s", "next_frame_s", "frozen_s", "memory_mb", "frames_per_second", "longest_px"),
    }
)
"""Keys that may be changed from afar in a section that uses a secret: none says who gets it, nor how well protected."""


def in_force(path: Path, state_dir: Path) -> Config:
    """What is to be run; the log says in a sentence where that is not simply the file at `path`.

    Raises:
        ConfigError: the file is wrong.
    """
    own = config.load(path)
    drafts = Drafts(folder(own, state_dir))
    _end_trial(drafts)
    draft = drafts.confirmed
    if draft is None:
        return own
    if own.remote is None or Word.CONFIG_APPLY not in own.remote.allow:
        _log.warning("%s is not used: remote.allow has not config_apply any more", drafts.confirmed_file)
        return own
    if draft.base_sha256 != sha256(path):
        drafts.set_aside()
        _log.warning("%s was changed since a configuration was applied from afar: the file is used, as it is", path)
        return own
    return _confirmed(path, own, draft, drafts.confirmed_file)


def _end_trial(drafts: Drafts) -> None:
    """One that is not confirmed by now has failed; who sent it is told by the remote thread."""
    trial = drafts.trial
    if trial is None or trial.stage is Stage.FAILED:
        return
    reason = trial.reason if trial.stage is Stage.RETURNING else RESTARTED
    _log.warning("the configuration sent as %s is taken back: %s", trial.id, reason)
    try:
        drafts.move(Stage.FAILED, reason)
    except OSError as error:
        _log.error("that cannot be written down: %s", error)


def _confirmed(path: Path, own: Config, draft: Draft, file: Path) -> Config:
    try:
        applied = merged(path, draft.document or "")
    except ConfigError as error:
        _log.error("%s was applied from afar and cannot be used, so %s is: %s", file, path, error)
        return own
    _log.warning(
        "the configuration applied from afar as %s is used, not %s; a change of that file ends this, and so does the "
        "command config_revert",
        draft.id,
        path,
    )
    return applied


def folder(own: Config, state_dir: Path) -> Path:
    """Where an agent's remote control has its files."""
    return state_dir / "remote" / own.agent


def sha256(path: Path) -> str:
    """Of a file. Raises ConfigError: it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def merged(path: Path, text: str) -> Config:
    """The configuration in `text`, with what only the file at `path` may say.

    Raises:
        ConfigError: every mistake in it, or what it may not change.
    """
    base = document.read(path)
    own = config.validate(base)
    page = document.parse(text, name=NAME)
    if isinstance(page.data, dict) and isinstance(base.data, dict) and "remote" in base.data:
        page = replace(page, data={"remote": base.data["remote"], **page.data})
    sent = config.validate(page)
    problems = [f"{NAME}: {sentence}" for sentence in _trespasses(own, sent)]
    if problems:
        raise ConfigError(*problems)
    return sent


def _trespasses(own: Config, sent: Config) -> Iterator[str]:
    """What may not be changed from afar, in sentences."""
    if sent.remote != own.remote:
        yield "remote: what may be commanded is said on the device alone; leave this section out"
    if sent.agent != own.agent:
        yield f"agent: must be {own.agent}, as on the device: its topics and files have this name"
    ours, theirs = (next((sink for sink in each.sinks if _kind(sink) == "mqtt"), None) for each in (own, sent))
    if theirs is None or ours is None or _bound(theirs) != _bound(ours):
        yield "sinks: the first of type mqtt carries these commands; leave its broker, user and topics as on the device"
    if _training_url(sent) not in (None, _training_url(own)):
        yield "backfill.contribute: gets the key of engines.cloud, so its url must be as on the device"
    allowed = {_bound(options) for _, options in _sections(own) if _has_secret(options)}
    for place, options in _sections(sent):
        if _has_secret(options) and options is not theirs and _bound(options) not in allowed:
            free = ", ".join(name for name in type(options).model_fields if name in _FREE)
            hint = f"; what may differ is {free}" if free else ""
            yield f"{place}: uses a secret, so it must be as on the device{hint}"


def _training_url(whole: Config) -> str | None:
    """Where training images and the key go."""
    contribute = None if whole.backfill is None else whole.backfill.contribute
    return None if contribute is None else str(contribute.url)


def _sections(whole: Config) -> Iterator[tuple[str, Options]]:
    """The sections that may use secrets."""
    yield from ((f"cameras[{n}].source", camera.source) for n, camera in enumerate(whole.cameras))
    engines = whole.engines
    yield from (("engines.local", engines.local),) if engines.local is not None else ()
    yield from (("engines.cloud", engines.cloud),) if engines.cloud is not None else ()
    yield from ((f"sinks[{n}]", sink) for n, sink in enumerate(whole.sinks))
    yield from (("page", whole.page),) if whole.page is not None else ()


def _has_secret(value: object) -> bool:
    """Whether a secret is used anywhere in it."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, Options):
        return any(_has_secret(each) for _, each in value)
    if isinstance(value, Mapping):
        return any(map(_has_secret, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_secret, value))


def _bound(options: Options) -> str:
    """All that must stay, as text."""
    told: dict[str, Any] = options.model_dump(mode="json", exclude=set(_FREE))
    return json.dumps(told, sort_keys=True)


def _kind(options: Options) -> str:
    return str(getattr(options, "type", ""))
