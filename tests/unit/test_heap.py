"""Many threads that take and free memory of a frame's size leave few arenas behind."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ARENAS = """
import ctypes, sys, threading
from agent import heap
if sys.argv[1] == "shared":
    heap.share()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
begun, over = threading.Barrier(9), threading.Event()
def work():
    libc.malloc(1000)  # ctypes lets the others go on meanwhile
    begun.wait()
    over.wait()
for _ in range(8):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
stream = libc.fopen
stream.restype = ctypes.c_void_p
file = ctypes.c_void_p(stream(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's arenas")
@pytest.mark.parametrize(("how", "most"), [("shared", 2), ("apart", 64)])
def test_threads_share_two_arenas(how: str, most: int, tmp_path: Path) -> None:
    told = tmp_path / "arenas.xml"
    done = subprocess.run([sys.executable, "-c", ARENAS, how, told], cwd=REPOSITORY, timeout=30, check=False)
    if done.returncode:
        pytest.skip("no malloc_info(3): this is not glibc")
    count = told.read_text().count("<heap nr=")
    assert count <= most
    assert (count > 2) == (how == "apart")
