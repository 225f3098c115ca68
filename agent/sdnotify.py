"""The service manager's ear: READY, WATCHDOG, STATUS and STOPPING over its datagram socket. Owner: main thread."""

import os
import socket


class Notifier:
    """Speaks to systemd where it listens, to nobody elsewhere. Failures are ignored: the agent's work goes first."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._said = ""
        interval = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(interval) / 1e6 if interval.isdigit() and self._address else None
        """How long systemd waits for a sign of life; None when it does not watch."""

    def ready(self) -> None:
        """The agent does its work from now on."""
        self._send("READY=1")

    def alive(self) -> None:
        """Every loop makes progress."""
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
                channel.setblocking(False)
                channel.sendto(message.encode(), self._address)
        except OSError:
            return
