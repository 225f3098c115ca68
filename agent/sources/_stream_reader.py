"""A network stream, read with FFmpeg through PyAV. Runs in the child. The only file that imports `av`.

The decoder works in slices, not in frames, so it holds no frame back; FFmpeg's parser does, of H.264 and H.265, for a
frame ends where the next one begins. When decoding cannot keep up it skips to a key frame, so as not to fall behind.
"""

import errno
from collections.abc import Iterator
from typing import Any, Final, cast

import av
from av.codec.context import Flags, ThreadType
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from agent.clock import Clock, SystemClock
from agent.errors import FrameUnreadable, SourceBroken, SourceError, SourceLost, SourceRefused
from agent.flow import Pixels

_BEHIND_S: Final = 0.5
_CAUGHT_UP_S: Final = 0.1


class StreamReader:
    """One open stream."""

    def __init__(self, container: Any, stream: VideoStream, name: str, *, clock: Clock) -> None:  # noqa: ANN401 - untyped
        self._container = container
        self._stream = stream
        self._name = name
        self._lag = Lag()
        self._skips = False
        self._clock = clock
        self._frames = self._decoded()
        self._frame: VideoFrame | None = None

    def grab(self) -> None:
        """See Reader. Raises SourceLost, SourceBroken."""
        try:
            self._frame = next(self._frames)
        except StopIteration:
            raise SourceLost(f"{self._name} has closed the connection") from None
        except av.error.FFmpegError as error:
            raise _translated(error, self._name) from error

    def _decoded(self) -> Iterator[VideoFrame]:
        """Every frame of the stream; of those that come out together the last."""
        for packet in self._container.demux(self._stream):
            self._keep_up(packet)
            try:
                frames = [frame for frame in packet.decode() if not frame.is_corrupt]
            except av.error.InvalidDataError:
                continue  # a packet was lost on the way: the next key frame mends it
            if frames:
                yield frames[-1]

    def _keep_up(self, packet: Any) -> None:  # noqa: ANN401 - untyped
        """Skip to a key frame when decoding falls behind the stream's own time: what lies between refers to others."""
        if packet.pts is None or packet.time_base is None:
            return
        lag_s = self._lag.note(float(packet.pts * packet.time_base), self._clock.now())
        if not self._skips and lag_s > _BEHIND_S:
            self._skips = True
            self._stream.codec_context.skip_frame = "NONKEY"
        elif self._skips and packet.is_keyframe and lag_s < _CAUGHT_UP_S:
            self._skips = False
            self._stream.codec_context.skip_frame = "DEFAULT"

    def picture(self) -> Pixels:
        """See Reader. Raises FrameUnreadable."""
        if self._frame is None:
            raise FrameUnreadable(f"{self._name} gave no picture yet")
        try:
            return cast("Pixels", self._frame.to_ndarray(format="bgr24"))
        except (av.error.FFmpegError, ValueError) as error:
            raise FrameUnreadable(f"{self._name} sent a picture that cannot be converted") from error

    def close(self) -> None:
        """End the session."""
        self._container.close()


class Lag:
    """How far behind the stream's own time its packets are handled, by the least that was seen of late.

    The stream's clock begins anywhere and drifts against ours, so only what is lost against the best counts. The best
    is forgiven a little with every second, and a stream that begins anew is measured anew.
    """

    _FORGIVEN: Final = 0.001
    _ANEW_S: Final = 10.0

    def __init__(self) -> None:
        self._best_s: float | None = None
        self._before_s = 0.0

    def note(self, stream_s: float, now_s: float) -> float:
        """Seconds by which a packet of the stream's time `stream_s` is late at `now_s`."""
        offset_s = now_s - stream_s
        if self._best_s is None or abs(offset_s - self._best_s) > self._ANEW_S:
            self._best_s = offset_s
        else:
            self._best_s = min(offset_s, self._best_s + self._FORGIVEN * (now_s - self._before_s))
        self._before_s = now_s
        return offset_s - self._best_s


def open_reader(settings: dict[str, Any]) -> StreamReader:
    """Connect. `settings`: url with user and password, name without them, options of FFmpeg.

    Raises:
        SourceLost: nobody answers.
        SourceRefused: user or password is wrong.
        SourceBroken: there is no picture in it that can be decoded.
    """
    av.logging.set_level(None)  # its lines may hold the whole address
    name = str(settings["name"])
    try:
        container = av.open(settings["url"], mode="r", options=dict(settings["options"]))
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise _translated(error, name, anonymous="@" not in str(settings["url"])) from error
    return StreamReader(container, _video_in(container, name), name, clock=SystemClock())


def _video_in(container: Any, name: str) -> VideoStream:  # noqa: ANN401 - untyped
    """The stream's picture, and nothing else of it. Raises SourceBroken."""
    found: list[VideoStream] = [s for s in container.streams.video if s.codec_context is not None]
    if not found:
        others = ", ".join(sorted({str(stream.type) for stream in container.streams})) or "nothing"
        container.close()
        raise SourceBroken(
            f"{name} has no picture that can be decoded ({others} in it); set the camera to H.264, H.265 or MJPEG"
        )
    for stream in container.streams:
        stream.discard = Discard.default if stream is found[0] else Discard.all
    context = found[0].codec_context
    context.thread_type = ThreadType.SLICE
    context.flags |= Flags.low_delay
    return found[0]


def _translated(error: Exception, name: str, *, anonymous: bool = False) -> SourceError:
    """The library's error in our words; its own text holds the whole address."""
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        if anonymous:
            return SourceRefused(f"{name} wants a user and a password; give username, and password: {{env: NAME}}")
        return SourceRefused(f"{name} refuses user or password; check username and password, and its own user list")
    if isinstance(error, av.error.HTTPNotFoundError):
        return SourceBroken(f"{name}: the camera has no such stream; check the path in its address")
    if isinstance(error, av.error.HTTPError | av.error.HTTPClientError):
        return SourceBroken(f"{name}: the camera answers with an error ({_said(error)}); look at its own page")
    if isinstance(error, av.error.InvalidDataError | av.error.LookupError | av.error.ArgumentError):
        return SourceBroken(f"{name} sends nothing that can be decoded ({_said(error)}); does it serve video there?")
    return SourceLost(f"{name}: the connection failed ({_said(error)}); {_advice(error, name)}")


def _advice(error: Exception, name: str) -> str:
    """What a person may look at."""
    if getattr(error, "errno", None) in (errno.EIO, None) and name.startswith(("rtsps:", "https:")):
        return "is its certificate to be trusted (ca_file)? Redirections are not followed from https"
    if getattr(error, "errno", None) == errno.EIO:  # FFmpeg's word for a name that nobody knows, among others
        return "are the host's name, DNS and the network right?"
    return "is the camera switched on?"


def _said(error: Exception) -> str:
    """What went wrong, by the library's word for its number alone."""
    return str(getattr(error, "strerror", None) or type(error).__name__).lower()
