"""Who looks out for secrets finds each that is let slip, in whatever way, and fails the test in which it was."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from canary import secret, traces

REPOSITORY = Path(__file__).resolve().parents[2]
_SLIPS = """
import base64, gzip, json, logging, os, subprocess, sys, urllib.parse
import pytest
from canary import hand_over, secret
from agent import logs
from agent.options import Secret

def test_fine(tmp_path):
    hand_over(tmp_path / "auth", f"Bearer {secret()}")
    (tmp_path / "key").write_text(secret("x") + "\\\\n")
    value = Secret(file="key").reveal(tmp_path)
    logging.getLogger("agent.x").warning("lost %s", value)
    environment = {**os.environ, "KEY": value}
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=environment)
    child.kill()
    child.wait()

def test_log():
    logging.getLogger("agent.x").warning("lost %s", secret())

def test_traceback():
    try:
        {}[secret()]
    except KeyError:
        logging.getLogger("agent.x").exception("lost")

def test_command_line():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", secret()])
    child.kill()
    child.wait()

def test_environment():
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\\\\n"
    code += "print('up', flush=True); p.wait()"
    environment = {**os.environ, "KEY": secret()}
    child = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
    child.stdout.readline()
    child.terminate()
    child.wait()
    child.stdout.close()

def test_no_mark(tmp_path):
    (tmp_path / "key").write_text("hunter2")
    Secret(file="key").reveal(tmp_path)

def test_files(tmp_path):
    (tmp_path / "results.jsonl").write_text(json.dumps({"url": urllib.parse.quote(f"http://u:{secret()}@h")}))
    (tmp_path / "log").write_text(base64.b64encode(f"user:{secret()}".encode()).decode())
    (tmp_path / "log.gz").write_bytes(gzip.compress(secret("gone").encode() + bytes(5000)))
"""


@pytest.fixture(scope="module")
def outcome() -> Iterator[str]:
    """What a test run says in which all of this happens; its files are nowhere near those of this run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_slips.py").write_text(_SLIPS.replace("\\\\n", "\\n"))
        (folder / "conftest.py").write_text("from canary import lookout, no_secret_shows\n")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "tmp")]
        command += ["-o", f"pythonpath={REPOSITORY} {REPOSITORY / 'tests'}", "--rootdir", str(folder), str(folder)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        yield done.stdout


@pytest.mark.parametrize("slip", ["log", "traceback", "command_line", "environment", "no_mark"])
def test_a_secret_that_slips_fails_the_test_in_which_it_does(slip: str, outcome: str) -> None:
    assert f"ERROR test_slips.py::test_{slip} " in outcome or f"ERROR test_slips.py::test_{slip}\n" in outcome


def test_files_are_searched_at_the_end_in_every_form(outcome: str) -> None:
    for name in ("results.jsonl", "log", "log.gz"):
        assert f"/{name}, in " in outcome


def test_what_hands_a_secret_over_is_no_slip(outcome: str) -> None:
    assert "test_fine" not in outcome


def test_half_a_secret_shows_as_well() -> None:
    whole = secret("between")
    assert traces(whole[: len(whole) // 2].encode())
    assert traces(whole[len(whole) // 2 :].encode())
    assert not traces(b"anything else")
