"""The sequence numbers of frames, by camera. Each camera's are drawn by its capture thread; they outlast a reload."""


class Numbers:
    """Never gives a camera the same number twice, nor one that an earlier run within this boot gave."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def next(self, camera: str, now_s: float) -> int:
        """The camera's first number is the milliseconds since boot at `now_s`, monotonic; then they rise by one."""
        number = self._last.get(camera, int(now_s * 1000) - 1) + 1
        self._last[camera] = number
        return number

    def __repr__(self) -> str:
        return f"<Numbers {self._last}>"
