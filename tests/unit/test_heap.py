"""Many threads that take and free memory of a frame's size leave few arenas behind."""

import ctypes
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


HOLES = """
import ctypes
from agent import heap
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def resident_kib():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1])
blocks = []
for _ in range(500):
    blocks.append(libc.malloc(100_000))
    ctypes.memset(blocks[-1], 1, 100_000)
    libc.malloc(100)  # stays, so that the heap's end is never free
for block in blocks:
    libc.free(block)
before = resident_kib()
heap.give_back()
print(before - resident_kib())
"""


def test_what_is_free_between_what_is_not_goes_back_to_the_kernel() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], cwd=REPOSITORY, timeout=30, capture_output=True, check=True)
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this is not glibc")
    assert int(done.stdout) > 40_000
