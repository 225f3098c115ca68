"""The keys of the YAML file's `remote` section. No state."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, field_validator

from agent.options import Options, Secret
from agent.remote.signature import Key, keys_of
from agent.remote.words import Word


class RemoteConfig(Options):
    """Commands from afar, by way of the first MQTT sink's broker."""

    allow: tuple[Word, ...] = Field((), description="the commands that are taken; left out: none, and nothing is heard")
    signature_key: Secret | None = Field(
        None,
        description="where the keys of those who may command are, one a line as KEY or NAME KEY; then every command is "
        "signed by one of them (HMAC-SHA256). Left out: the broker's access list alone says who may",
    )
    window_s: float = Field(
        120.0, ge=10, le=900, description="a signed command is refused when its time of sending is farther from now"
    )
    per_minute: int = Field(30, ge=1, le=60, description="most commands a minute; what comes above that is dropped")
    confirm_within_s: float = Field(
        120.0,
        ge=10,
        le=900,
        description="an applied configuration with which the agent is not well by then is taken back",
    )

    @field_validator("allow")
    @classmethod
    def _each_once(cls, allow: tuple[Word, ...]) -> tuple[Word, ...]:
        return tuple(dict.fromkeys(allow))

    def ensure_possible(self, sinks: Iterable[str], cameras: Iterable[str]) -> None:
        """Raises ValueError: there is no sink of type mqtt among `sinks`, or a camera is called as a topic is."""
        if self.allow and "mqtt" not in set(sinks):
            raise ValueError("commands come over the broker of a sink of type mqtt, and there is none; add one")
        taken = {"command", "answer"} & set(cameras)
        if self.allow and taken:
            raise ValueError(f"a camera is called {min(taken)}, which is a topic of commands; call it otherwise")

    def reveal_keys(self, base_dir: Path) -> tuple[Key, ...]:
        """The keys; none where commands are not signed. Raises ConfigError: they cannot be had, or are none."""
        return () if self.signature_key is None else keys_of(self.signature_key.reveal(base_dir))
