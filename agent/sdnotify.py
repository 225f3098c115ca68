"""The service manager's ear: READY, WATCHDOG, STATUS and the like over its datagram socket. Owner: main thread."""

import os
import socket

_WAIT_S = 1.0
"""How long a word waits while the manager is busy: READY is said once, and must not be lost."""


class Notifier:
    """Speaks to systemd where it listens, to nobody elsewhere. Failures are ignored: the agent's work goes first."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._said = ""
        self.pings = 0
        """How often every loop was found to make progress."""

    def ready(self) -> None:
        """The agent does its work from now on."""
        self._send("READY=1")

    def reloading(self, now_s: float) -> None:
        """Another configuration is read, at a monotonic time, which systemd wants to know; then comes READY again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_s * 1e6:.0f}")

    def extend(self, seconds: float) -> None:
        """The start goes on: wait this much longer for the next word, however long it has taken."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def alive(self) -> None:
        """Every loop makes progress."""
        self.pings += 1
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if text != self._said:
            self._said = text
            self._send("STATUS=" + text.replace("\n", " "))

    def stopping(self) -> None:
        """The agent is on its way out."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(_WAIT_S)
                channel.sendto(message.encode(errors="replace"), self._address)
        except OSError:
            return


def under_journal() -> bool:
    """Whether standard error leads to systemd's journal."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
