import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.ledger import Ledger


def test_what_was_written_is_there_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ledger"
    ledger = Ledger(path)
    assert ledger.record is None
    for spent in range(5):
        ledger.write({"spent": spent})
    assert Ledger(path).record == {"spent": 4}


def test_the_file_never_grows_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    sizes = set()
    for spent in range(100):
        ledger.write({"spent": spent})
        sizes.add(path.stat().st_size)
    assert len(sizes) <= 2
    assert path.stat().st_mode & 0o777 == 0o600


@given(at=st.integers(0, 8191), torn=st.binary(min_size=1, max_size=64))
def test_a_write_cut_short_anywhere_leaves_the_record_before_it(
    tmp_path_factory: pytest.TempPathFactory, at: int, torn: bytes
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger"
    ledger = Ledger(path)
    ledger.write({"spent": 1})
    ledger.write({"spent": 2})
    data = bytearray(path.read_bytes())
    data[at : at + len(torn)] = torn
    path.write_bytes(data)
    found = Ledger(path).record
    spoilt = {at // 4096, min(8191, at + len(torn) - 1) // 4096}
    assert found in ({"spent": 1}, {"spent": 2}) or (found is None and len(spoilt) == 2)


def test_a_file_that_is_no_ledger_is_begun_anew_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger"
    path.write_text("something else\n" * 1000)
    ledger = Ledger(path)
    assert ledger.record is None
    assert "damaged" in caplog.text
    ledger.write({"spent": 1})
    assert Ledger(path).record == {"spent": 1}


def test_a_folder_that_cannot_be_written_costs_the_memory_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file" / "ledger")
    ledger.write({"spent": 1})
    assert ledger.record == {"spent": 1}
    assert "cannot be remembered over a restart" in caplog.text
    ledger.close()


def test_two_processes_do_not_write_into_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    code = f"from pathlib import Path; from agent.ledger import Ledger; Ledger(Path({str(path)!r})); print(1); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ConfigError, match="another agent of this name runs"):
            Ledger(path)
        other.kill()
    Ledger(path).write({"spent": 1})


def test_a_record_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="4095 is the most"):
        Ledger(tmp_path / "ledger").write({"text": "x" * 5000})


def test_a_kill_in_the_middle_of_writing_loses_at_most_the_last_record(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    code = (
        "import sys, itertools; from pathlib import Path; from agent.ledger import Ledger\n"
        f"ledger = Ledger(Path({str(path)!r}))\n"
        "for n in itertools.count(1):\n"
        "    ledger.write({'spent': n}); sys.stdout.write(f'{n}\\n'); sys.stdout.flush()\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(200):
        writer.stdout.readline()
    os.kill(writer.pid, signal.SIGKILL)
    said = [200, *(int(line) for line in writer.stdout if line.endswith("\n"))]
    writer.wait()
    writer.stdout.close()
    record = Ledger(path).record
    assert record is not None
    assert record["spent"] in (said[-1], said[-1] + 1)
