"""An RTSP camera on loopback, made of GStreamer. Run by the system's Python; tests/real/rtsp_camera.py starts it.

Every frame carries CLOCK_MONOTONIC in milliseconds as a bar code over its topmost rows: 32 bits, the highest first, so
that a reader can tell how old a picture is. SIGUSR1 switches between the two sizes, in mid-stream.
Prints "ready" when it listens.
"""

import argparse
import random
import signal
import time
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - after the versions are told

CODE_ROWS = 32
_BITS = 32
_BLACK, _WHITE = b"\x10", b"\xeb"
_BAR_PX = 64
_ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate={kbps} key-int-max={gop} ! "
    "h264parse config-interval=-1 ! rtph264pay pt=96",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate={kbps} key-int-max={gop} ! "
    "h265parse config-interval=-1 ! rtph265pay pt=96",
    "mjpeg": "jpegenc quality=80 ! rtpjpegpay pt=26",
    "other": "openjpegenc ! rtpj2kpay pt=96",  # JPEG 2000: FFmpeg has no reader of it over RTP
}
_LIVE = "is-live=true do-timestamp=true format=time"
_AUDIO = f"appsrc name=sound {_LIVE} caps=audio/x-alaw,rate=8000,channels=1 ! rtppcmapay pt=8"
"""No audiotestsrc: with it the server takes the whole camera for seekable, and fails to seek."""
_SILENCE, _SILENCE_MS = b"\xd5" * 160, 20


class Scene:
    """Draws frames: a noisy ground, a bar that moves over it, and the time on top."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        noise = random.Random(1).randbytes(width * height)  # noqa: S311 - a texture
        self._ground = bytes(96 + value % 32 for value in noise)
        self._number = 0

    def draw(self, time_ms: int) -> bytes:
        """(height, width) grey pixels."""
        self._number += 1
        bits = (_WHITE if time_ms >> (_BITS - 1 - bit) & 1 else _BLACK for bit in range(_BITS))
        code = b"".join(bit * (self.width // _BITS) for bit in bits).ljust(self.width, _BLACK)
        left = self._number * 4 % (self.width - _BAR_PX)
        rows = [code] * CODE_ROWS
        for begin in range(CODE_ROWS * self.width, self.height * self.width, self.width):
            row = self._ground[begin : begin + self.width]
            rows.append(row[:left] + b"\xe6" * _BAR_PX + row[left + _BAR_PX :])
        return b"".join(rows)


class Camera:
    """Feeds the pipeline of whoever looks."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._scenes = [Scene(*map(int, size.split("x"))) for size in (options.size, options.other_size)]

    @property
    def launch(self) -> str:
        """The pipeline, as gst-launch writes it."""
        options = self._options
        parts = []
        if options.codec != "none":
            gop = max(1, round(options.fps * options.key_every_s))
            encoder = _ENCODERS[options.codec].format(kbps=options.kbps, gop=gop)
            loss = f" ! identity drop-probability={options.loss}" if options.loss else ""
            # The queue lets a slow encoder drop pictures rather than hold up the clock of those that follow.
            source = f"appsrc name=src {_LIVE} ! queue max-size-buffers=1 leaky=downstream"
            parts.append(f"{source} ! videoconvert ! video/x-raw,format=I420 ! {encoder}{loss} name=pay0")
        if options.audio or options.codec == "none":
            parts.append(f"{_AUDIO} name=pay{len(parts)}")
        return "( " + "  ".join(parts) + " )"

    def configure(self, _factory: Any, media: Any) -> None:
        """A new pipeline was made: push frames into it."""
        source, sound = (media.get_element().get_child_by_name(name) for name in ("src", "sound"))
        if source is not None:
            GLib.timeout_add(round(1000 * (self._options.frame_every_s or 1 / self._options.fps)), self._push, source)
            self._push(source)
        if sound is not None:
            GLib.timeout_add(_SILENCE_MS, _push_silence, sound)

    def _push(self, source: Any) -> bool:
        scene = self._scenes[0]
        caps = f"video/x-raw,format=GRAY8,width={scene.width},height={scene.height},framerate={self._options.fps}/1"
        source.set_property("caps", Gst.Caps.from_string(caps))  # no news but after a change of size
        picture = scene.draw(int(time.monotonic() * 1000) & 0xFFFFFFFF)
        return source.emit("push-buffer", Gst.Buffer.new_wrapped(picture)) == Gst.FlowReturn.OK

    def switch_size(self) -> bool:
        """From the next frame on, the other size."""
        self._scenes.reverse()
        return True


def _push_silence(sound: Any) -> bool:
    return sound.emit("push-buffer", Gst.Buffer.new_wrapped(_SILENCE)) == Gst.FlowReturn.OK


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--other-size", default="320x240", help="after SIGUSR1")
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--frame-every-s", type=float, help="one frame every so many seconds, whatever --fps says")
    parser.add_argument("--codec", choices=[*_ENCODERS, "none"], default="h264", help="none: audio alone")
    parser.add_argument("--kbps", type=int, default=1500)
    parser.add_argument("--key-every-s", type=float, default=1.0, help="seconds between key frames")
    parser.add_argument("--audio", action="store_true")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets that are lost, 0 to 1")
    parser.add_argument("--user", help="with --password")
    parser.add_argument("--password", default="")
    parser.add_argument("--digest", action="store_true", help="instead of basic authentication")
    return parser.parse_args()


def _guard(server: Any, factory: Any, options: argparse.Namespace) -> None:
    """Let in `--user` alone."""
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if options.digest:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(options.user, options.password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


def main() -> None:
    """Serve /cam until killed."""
    options = _options()
    Gst.init(None)
    camera, server, factory = Camera(options), GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory.set_shared(True)
    factory.set_latency(0)
    factory.set_launch(camera.launch)
    factory.connect("media-configure", camera.configure)
    if options.user:
        _guard(server, factory, options)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGUSR1, camera.switch_size)
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
