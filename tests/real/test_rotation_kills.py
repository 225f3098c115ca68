"""A program that writes, closes and compresses files is killed at any moment, again and again."""

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS = 30
WRITER = """
import json, os, random, signal, sys, time
from pathlib import Path
from agent import plugins
from agent.clock import SystemClock
from agent.flow import Delivery
from agent.ports import Context

kind, folder, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
options = next(choice for choice in plugins.options_of("sinks") if choice.__module__.endswith(kind))
chosen = random.Random(7)

def write(run, seed, *, batches=1_000_000):
    drawn = random.Random(seed)
    rotate = {"max_mb": drawn.choice((0.01, 0.05, 1.0)), "max_hours": 1.0, "keep": 0, "keep_mb": 0}
    given = options.model_validate({"type": kind, "path": "out." + kind, "rotate": rotate})
    sink = plugins.build_sink(given, Context("porch", SystemClock(), folder, folder))
    sink.open()
    accepted, number = os.open(folder / "accepted", os.O_WRONLY | os.O_APPEND), run * 1_000_000
    for _ in range(batches):
        ids = range(number, number + drawn.randint(0, 20))
        bodies = [{"id": n, "model": drawn.randbytes(drawn.randint(0, 2000)).hex()} for n in ids]
        sink.send([Delivery(str(n), "door", json.dumps(body).encode()) for n, body in zip(ids, bodies)])
        os.write(accepted, "".join(f"{n}\\n" for n in ids).encode())
        number = ids.stop
    sink.close()

for run in range(rounds):
    before = (folder / "accepted").stat().st_size
    child = os.fork()
    if not child:
        try:
            write(run, chosen.random())
        finally:
            os._exit(1)
    while (folder / "accepted").stat().st_size == before:  # it has begun; killed while starting is a round, too
        if os.waitpid(child, os.WNOHANG)[0]:
            sys.exit("the writer ended by itself")
        if run % 5 == 0:
            break
    least = before + chosen.randint(0, 4000)
    while run % 5 and (folder / "accepted").stat().st_size < least:
        time.sleep(0.001)
    time.sleep(chosen.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    print(*sorted(path.name for path in folder.iterdir()))
write(rounds, 0, batches=1)
"""


def ids(kind: str, text: str) -> list[int]:
    if kind == "csv":
        return [int(row["id"]) for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)]
    return [json.loads(line)["id"] for line in text.splitlines()]


def text_of(file: Path) -> str:
    return (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode()


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_after_thirty_kills_every_accepted_line_is_there_exactly_once_and_in_order(tmp_path: Path, kind: str) -> None:
    (tmp_path / "accepted").write_text("")
    command = [sys.executable, "-c", WRITER, kind, str(tmp_path), str(ROUNDS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    after_each = [line.split() for line in done.stdout.splitlines()]
    assert len(after_each) == ROUNDS
    files = sorted(file for file in tmp_path.glob("out.*") if not file.name.endswith(".torn"))
    found = [each for file in files for each in ids(kind, text_of(file))]
    accepted = [int(each) for each in (tmp_path / "accepted").read_text().split()]
    assert len(accepted) > 20 * ROUNDS
    assert found == sorted(set(found)), "in order, and none twice"
    assert set(accepted) <= set(found)
    assert not [file for file in files if file.name.endswith(".new")]
    assert sum(file.suffix == ".gz" for file in files) > ROUNDS
    print(f"{len(accepted)} lines in {len(files)} files;", _halves(after_each), "kills left half a compressed file")


def _halves(after_each: list[list[str]]) -> int:
    return sum(any(name.endswith(".gz.new") for name in names) for names in after_each)
