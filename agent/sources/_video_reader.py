"""What OpenCV has opened, as a Reader: a V4L2 device or a GStreamer pipeline. Runs in the child."""

from agent import imaging
from agent.errors import FrameUnreadable, SourceLost
from agent.flow import Pixels


class VideoReader:
    """One open device or pipeline."""

    def __init__(self, video: imaging.Video, *, lost: str, unreadable: str) -> None:
        """`lost` and `unreadable`: what a person is told when no picture comes, and when one cannot be decoded."""
        self._video = video
        self._lost = lost
        self._unreadable = unreadable

    def grab(self) -> None:
        """See Reader. Raises SourceLost."""
        if not self._video.grab():
            raise SourceLost(self._lost)

    def picture(self) -> Pixels:
        """See Reader. Raises FrameUnreadable."""
        pixels = self._video.picture()
        if pixels is None:
            raise FrameUnreadable(self._unreadable)
        return pixels

    def close(self) -> None:
        """Let go of it in good order: a camera daemon that is left in mid-session may need a reboot."""
        self._video.close()
