import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.errors import ConfigError
from agent.flow import Delivery, Outcome
from agent.ports import Context, Sink
from agent.sinks import stdout

_PROGRAM = """
import sys
from pathlib import Path
from agent.clock import SystemClock
from agent.errors import SinkUnavailable
from agent.flow import Delivery
from agent.ports import Context
from agent.sinks import stdout
sink = stdout.build(stdout.Options(type="stdout"), Context("porch", SystemClock(), Path(), Path()))
sink.open()
{body}
"""


def sink() -> Sink:
    return stdout.build(stdout.Options(type="stdout"), Context("porch", SystemClock(), Path(), Path()))


def program(body: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", _PROGRAM.format(body=body)]


def deliveries(*bodies: bytes) -> list[Delivery]:
    return [Delivery(str(number), "door", body) for number, body in enumerate(bodies)]


def test_each_result_is_one_line_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    out = sink()
    out.open()
    assert out.send(deliveries(b'{"a":1}', b'{"b":2}')) == [Outcome.ACCEPTED] * 2
    assert capfd.readouterr().out == '{"a":1}\n{"b":2}\n'
    out.close()


def test_a_body_that_is_written_over_several_lines_becomes_one(capfd: pytest.CaptureFixture[str]) -> None:
    out = sink()
    out.send(deliveries(b'{\n"a": "x\\ny"\n}'))
    assert capfd.readouterr().out == '{ "a": "x\\ny" }\n'


def test_a_batch_is_with_the_reader_as_soon_as_send_returns() -> None:
    body = 'sink.send([Delivery("1", "door", b"{}")]); sys.stdin.read()'
    with subprocess.Popen(program(body), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"{}\n"
        child.communicate()


def test_a_reader_that_went_away_is_a_clear_error_and_python_ends_without_a_complaint() -> None:
    body = """
sys.stdin.readline()
for _ in range(2):
    try:
        sink.send([Delivery("1", "door", b"{}")] * 3)
    except SinkUnavailable as error:
        print(error, file=sys.stderr)
sink.close()
"""
    with subprocess.Popen(
        program(body), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        child.stdout = None
        _, errors = child.communicate("\n", timeout=30)
    sentence = "nobody reads standard output any more: the program behind the pipe has ended\n"
    assert errors == sentence * 2
    assert child.returncode == 0


def test_a_closed_standard_output_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "__stdout__", None)
    with pytest.raises(ConfigError, match="standard output is closed"):
        sink().open()


@pytest.mark.parametrize(
    ("room", "written", "kept"),
    [(0, "", 3), (2, "12", 3), (4, "123\n", 2), (6, "123\n45", 2), (11, "123\n456\n789", 1)],
)
def test_a_full_disk_behind_it_keeps_what_did_not_fit_and_no_line_is_torn(
    tmp_path: Path, room: int, written: str, kept: int
) -> None:
    batch = '[Delivery(str(n), "door", body) for n, body in enumerate([b"123", b"456", b"789"])]'
    body = f"""
import resource
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, unlimited[1]))
batch = {batch}
try:
    outcomes = [outcome.value for outcome in sink.send(batch)]
except SinkUnavailable as error:
    outcomes = ["kept"] * 3
    print(error, file=sys.stderr)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
assert outcomes.count("kept") == {kept}, outcomes
print(Path(sys.argv[1]).read_text(), file=sys.stderr)
sink.send(batch[3 - {kept}:])
"""
    file = tmp_path / "out"
    with file.open("wb") as output:
        done = subprocess.run(
            [*program(body), str(file)], stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    told, _, before = done.stderr.rpartition("results: File too large\n")
    assert bool(told) == (kept == 3)
    assert before == written + "\n"
    whole = [line for line in file.read_text().split("\n") if len(line) == 3]
    assert list(dict.fromkeys(whole)) == ["123", "456", "789"]


def test_closing_leaves_standard_output_open() -> None:
    out = sink()
    out.open()
    out.close()
    os.fstat(1)
    out.open()
