"""An independent receiver at the broker: mosquitto_sub, started again with each broker, and what it got, in order.

A session of the agent begins where its "online" is, live and not retained.
"""

import json
import shutil
import subprocess
from pathlib import Path

from faults.oracle import Receipt, checksum
from real.broker import _PATH, Broker, wait_until

_KEEPALIVE_S = 65535
"""A broker that is suspended is not left."""


class Receiver:
    """One subscriber at a time."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._broker = broker
        self._folder = folder
        self._files: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Subscribe; nothing that the agent sends from now on is missed."""
        name = f"receiver-{len(self._files)}"
        self._files.append(self._folder / name)
        program = shutil.which("mosquitto_sub", path=_PATH)
        assert program is not None
        assert self._broker.certificates is not None
        command = [program, "-h", "localhost", "-p", str(self._broker.port), "-V", "5", "-F", "%j", "-i", name]
        command += [
            "-q",
            "1",
            "-t",
            "vedette/#",
            "-k",
            str(_KEEPALIVE_S),
            "--cafile",
            str(self._broker.certificates.ca),
        ]
        with self._files[-1].open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        wait_until(lambda: f"Sending SUBACK to {name}\n" in self._broker.log(), "the receiver's subscription")

    def stop(self) -> None:
        """After the broker has died: what it had sent is still read."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(15)

    def receipts(self) -> list[Receipt]:
        """Every result so far."""
        found, session = [], 0
        for file in self._files:
            for line in file.read_text().split("\n")[:-1]:
                message = json.loads(line)
                is_ours = message["topic"].endswith("/available")  # cameras say "online", too
                session += is_ours and message["payload"] == "online" and not message["retain"]
                if message["topic"].endswith("/results"):
                    body = message["payload"].encode()
                    found.append(Receipt(json.loads(body)["id"], checksum(body), session))
        return found
