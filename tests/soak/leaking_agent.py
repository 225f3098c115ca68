"""The agent with leaks planted in it: memory, and threads that never end. Arguments as of `vedette`.

Memory is lost in small pieces, 4 MB a second, by a thread of its own; every second one more thread waits for ever.
"""

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agent.cli import main

PIECES, PIECE_BYTES, EVERY_S = 100, 4096, 0.1
MB_PER_HOUR = PIECES * PIECE_BYTES / EVERY_S * 3600 / 2**20
_lost: list[bytes] = []


def _leak() -> None:
    for number in range(1_000_000):
        _lost.extend(b"x" * (PIECE_BYTES - sys.getsizeof(b"")) + bytes(0) for _ in range(PIECES))
        if number % 10 == 0:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        time.sleep(EVERY_S)


if __name__ == "__main__":
    threading.Thread(target=_leak, daemon=True).start()
    sys.exit(main())
