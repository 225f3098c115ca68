"""What a request carries: a picture in a multipart form, or as base64 in JSON. No state.

Always in one piece, so that it fills whole segments.
"""

import json
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

JSON_TYPE: Final = "application/json"
"""Without a charset: the hosted service looks for a key in the body of exactly this type only."""


@dataclass(frozen=True, slots=True)
class Body:
    """A request's content."""

    media_type: str
    content: bytes = field(repr=False)
    picture_bytes: int = 0
    """How large the picture in it is by itself; what is said of an upload is said of the picture."""


def form(picture: bytes, *, name: str = "frame.jpg", values: Mapping[str, str] | None = None) -> Body:
    """A multipart form with one file, `file`, and the fields of `values`. `name`: the file's."""
    boundary = secrets.token_hex(16)
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in (values or {}).items()
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    content = b"".join((head.encode(), picture, f"\r\n--{boundary}--\r\n".encode()))
    return Body(f"multipart/form-data; boundary={boundary}", content, len(picture))


def document(fields: Mapping[str, Any], *, picture_bytes: int = 0) -> Body:
    """JSON; `picture_bytes`: of the picture that stands in it, see `base64_image`."""
    return Body(JSON_TYPE, json.dumps(fields, separators=(",", ":")).encode(), picture_bytes)


def base64_image(picture: bytes) -> dict[str, str]:
    """A picture as the JSON routes take it."""
    return {"type": "base64", "value": b64encode(picture).decode("ascii")}
