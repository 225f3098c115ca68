"""Signatures by the Standard Webhooks specification 1.0 (standardwebhooks.com), which receivers have libraries for.

    webhook-id           the same however often it is sent: an idempotency key
    webhook-timestamp    seconds since the epoch, of this attempt
    webhook-signature    `v1,BASE64` for each key, apart by blanks: HMAC-SHA256 over `ID.TIMESTAMP.BODY`

No state.
"""

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Final
from urllib.parse import quote

from agent import logs
from agent.errors import ConfigError
from agent.options import Secret

_PREFIX: Final = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64
"""Of a key, by the specification."""
_MADE_BY: Final = "make one with: echo whsec_$(openssl rand -base64 32)"


def keys_of(secret: Secret, base_dir: Path) -> tuple[bytes, ...]:
    """The keys in a secret: one, or while it is being changed several, apart by blanks or line ends.

    Raises:
        ConfigError: it is not where it should be, or no key of Standard Webhooks.
    """
    words = secret.reveal(base_dir).split()
    for word in words:
        logs.hide(word)
    return tuple(_key(word, secret) for word in words)


def _key(word: str, secret: Secret) -> bytes:
    text = word.removeprefix(_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if not word.startswith(_PREFIX) or not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise ConfigError(
            f"the secret {secret} is no key of Standard Webhooks, which is whsec_ and {_LEAST_BYTES} to "
            f"{_MOST_BYTES} bytes in base64; {_MADE_BY}"
        )
    return key


def message_id(ids: list[str]) -> str:
    """The id of a request that carries the deliveries `ids`: one's own id, or a hash of several.

    It has no full stop, which parts id from timestamp in what is signed.
    """
    if len(ids) > 1:
        return f"batch_{hashlib.sha256(chr(10).join(ids).encode()).hexdigest()[:32]}"
    return quote(ids[0], safe="/:").replace(".", "%2E")


def signed_headers(name: str, body: bytes, *, wall_s: float, keys: tuple[bytes, ...]) -> dict[str, str]:
    """The headers of one attempt at `wall_s` to deliver `body`; without `keys` they tell, and prove nothing."""
    timestamp = str(int(wall_s))
    headers = {"webhook-id": name, "webhook-timestamp": timestamp}
    if keys:
        content = f"{name}.{timestamp}.".encode() + body
        macs = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
        headers["webhook-signature"] = " ".join(f"v1,{mac}" for mac in macs)
    return headers
