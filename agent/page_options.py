"""The keys of the YAML file's `page` section. No state."""

from ipaddress import ip_address
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from agent.errors import ConfigError
from agent.options import Options, Port, Secret
from agent.page.gate import LEAST_TOKEN, is_loopback


class PageConfig(Options):
    """Live pictures, what happens to each frame, metrics and health over HTTP."""

    host: str = Field(
        "127.0.0.1", description="the address that it listens on: 127.0.0.1 for this machine alone, 0.0.0.0 for all"
    )
    port: Port = Field(8090, description="the port that it listens on")
    token: Secret | None = Field(
        None, description="what who looks must know, 16 letters at least; needed where others can reach the address"
    )
    open_metrics: bool = Field(False, description="whether /metrics and /readyz are answered without the token")
    frames_per_second: float = Field(5.0, gt=0, le=30, description="most live pictures of a camera in a second")
    longest_px: int = Field(960, ge=160, le=4096, description="longest side of the live pictures, pixels")

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        if host == "localhost":
            return "127.0.0.1"
        try:
            return str(ip_address(host))
        except ValueError as error:
            raise ValueError("should be an IP address, such as 127.0.0.1, 0.0.0.0 or ::") from error

    @model_validator(mode="after")
    def _others_need_a_token(self) -> "PageConfig":
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"others can reach {self.host}: give token, or listen on 127.0.0.1 alone")
        return self

    def reveal_token(self, base_dir: Path) -> str | None:
        """The token's value; None where none is given. Raises ConfigError."""
        token = None if self.token is None else self.token.reveal(base_dir)
        if token is not None and len(token) < LEAST_TOKEN:
            make = "python3 -c 'import secrets; print(secrets.token_urlsafe())'"
            raise ConfigError(f"page.token has {len(token)} letters and needs {LEAST_TOKEN}; make one: {make}")
        return token
