"""scripts/audit: a vulnerability fails it, and where nobody can be asked it says that nothing was looked for."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not (REPOSITORY / ".venv/bin/pip-audit").is_file(), reason="needs .venv with pip-audit, which scripts/test makes"
)


@contextmanager
def advising(known: Callable[[str], list[dict[str, Any]]]) -> Iterator[str]:
    """An advisory service as OSV is one: asked for a package and its version, it lists vulnerabilities."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = json.dumps({"vulns": known(asked["package"]["name"])}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(url: str) -> "subprocess.CompletedProcess[str]":
    command = ["scripts/audit", "-s", "osv", "--osv-url", url, "--timeout", "3"]
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=50, check=False)


def test_a_package_with_a_known_vulnerability_fails_and_is_named() -> None:
    package = {"name": "pyyaml", "ecosystem": "PyPI"}
    flaw = {"id": "PYSEC-0000-1", "summary": "made up", "details": "made up", "aliases": []}
    flaw |= {"affected": [{"package": package, "versions": [version("pyyaml")], "ranges": []}]}
    with advising(lambda name: [flaw] if name == "pyyaml" else []) as url:
        done = audit(url)
    assert done.returncode == 1, done.stderr
    assert "Found 1 known vulnerability in 1 package" in done.stderr
    assert "PYSEC-0000-1" in done.stdout


def test_a_service_that_cannot_be_reached_fails_nothing_and_is_no_clean_bill() -> None:
    done = audit("http://127.0.0.1:9/v1/query")
    assert done.returncode == 0
    assert "NOT LOOKED FOR, for no advisory service can be reached from here" in done.stderr
    assert "No known vulnerabilities" not in done.stdout + done.stderr
