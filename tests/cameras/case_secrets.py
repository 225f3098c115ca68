"""A camera's password, with every letter that is special somewhere, is nowhere but in the child's memory.

Looked for: what the agent says at level debug and leaves in its folders, command lines and environments of the readers,
and what `vedette check --probe` says. With the right password and a wrong one, a camera that dies, and readers that
crash and repeat what they were given.
"""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from cameras import survey
from cameras.finding import Finding, World
from cameras.trial import Trial
from mjpeg_server import MjpegServer
from real.rtsp_camera import RtspCamera

PASSWORD = "p/a@s%s:w\"o'r\\d?#&=+ ü"  # noqa: S105 - made up
WRONG = "wr/o@n%g:\"p'w\\d?#&=+ ä"
USER = "view/er"
_SETTLE_S = 20.0
_PIECE = 9


def disguises(secret: str) -> set[str]:
    """The forms in which `secret` may show."""
    forms = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret), quote(secret, safe="")}
    forms |= {json.dumps(form)[1:-1] for form in forms} | {repr(form)[1:-1] for form in forms}
    credentials = f"{USER}:{secret}".encode()
    # Any few letters in a row would be a part of it that helps.
    pieces = {form[start : start + _PIECE] for form in forms for start in range(len(form) - _PIECE + 1)}
    return forms | pieces | {base64.b64encode(credentials).decode(), base64.b64encode(secret.encode()).decode()[:-4]}


def run(world: World) -> list[Finding]:
    """A trial and two probes."""
    folder = world.subfolder("secrets")
    finding, said = Finding("passwords"), dict[str, str]()
    env = {"CAMERA_PASSWORD": PASSWORD, "WRONG_PASSWORD": WRONG}
    with RtspCamera(fps=10, user=USER, password=PASSWORD) as camera:
        mjpeg = MjpegServer(user=USER, password=PASSWORD, fps=10).start()
        try:
            with Trial(folder, _sources(camera, mjpeg, folder), env=env) as trial:
                _live(trial, camera, folder, said)
            said["what it said"] = trial.log
            said["check --probe"] = _probe(trial)
        finally:
            mjpeg.stop()
    said |= {path.name: path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()}
    finding.faults += [f"{where} holds a password as {form!r}" for where, text in said.items() for form in _found(text)]
    if "check" not in str(said) or "refuses user or password" not in said["what it said"] + said["check --probe"]:
        finding.faults.append(f"the trial did not go as it should: {trial.tail} {said['check --probe']}")
    finding.note = f"{len(said)} places, {sum(map(len, said.values()))} letters"
    return [finding]


def _found(text: str) -> Iterator[str]:
    for secret in (PASSWORD, WRONG):
        yield from (form for form in disguises(secret) if form in text)


def _sources(camera: RtspCamera, mjpeg: MjpegServer, folder: Path) -> dict[str, dict[str, object]]:
    right, wrong = ({"env": f"{name}_PASSWORD"} for name in ("CAMERA", "WRONG"))
    rtsp = {"type": "rtsp", "url": camera.url, "username": USER, "next_frame_s": 1.5}
    http = {"type": "mjpeg", "url": mjpeg.url, "username": USER, "next_frame_s": 1.5}
    scripted = {"type": "scripted", "password": right, "script": str(folder / "script.txt")}
    return {
        "rtsp-right": {**rtsp, "password": right},
        "rtsp-wrong": {**rtsp, "password": wrong},
        "mjpeg-right": {**http, "password": right},
        "mjpeg-wrong": {**http, "password": wrong},
        "scripted": scripted,
    }


def _live(trial: Trial, camera: RtspCamera, folder: Path, said: dict[str, str]) -> None:
    for name in ("rtsp-right", "scripted"):
        trial.await_frame(0.0, limit_s=time.monotonic() + _SETTLE_S, camera=name)
    trial.await_word("rtsp-wrong: .*refuses", 0.0, limit_s=time.monotonic() + _SETTLE_S)
    trial.await_word("mjpeg-wrong: .*refuses", 0.0, limit_s=time.monotonic() + _SETTLE_S)
    for pid in trial.readers:
        said[f"command line and environment of {pid}"] = survey.told(pid)
    begun_s = time.monotonic()
    (folder / "script.txt").write_text("confess")
    camera.kill()
    trial.await_word("capture-scripted: ", begun_s, limit_s=5)
    trial.await_word("capture-rtsp-right: ", begun_s, limit_s=5)
    (folder / "script.txt").unlink()
    camera.start()
    trial.await_frame(time.monotonic(), limit_s=10, camera="rtsp-right")
    trial.ask_to_stop()
    trial.await_end()


def _probe(trial: Trial) -> str:
    done = subprocess.run(
        trial.command("check", "--probe"),
        env={**os.environ, **trial.environment},
        cwd=trial.folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout + done.stderr
