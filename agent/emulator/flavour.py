"""Which service the emulator plays. No state."""

from enum import Enum


class Flavour(str, Enum):
    """In the words of `vedette emulate --api` and of `engines.cloud.api`."""

    V2 = "v2"
    """The hosted service."""
    V1 = "v1"
    """The older one: 403 for a wrong key and an unknown model, 5 MB a request."""
    SERVER = "server"
    """A dedicated or self-hosted one, with the JSON routes beside the hosted one's."""

    @property
    def most_bytes(self) -> int:
        """Of a request's body."""
        return 5_000_000 if self is Flavour.V1 else 20_000_000
