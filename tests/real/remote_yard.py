"""An agent called yard with commands from afar, an operator's programs, and the broker between them."""

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from canary import hand_over, secret
from real.agent_process import environment, start_vedette
from real.broker import Broker, wait_until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "remote.md").read_text(encoding="utf-8")
ACCESS = next(block for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) if "pattern" in block)
EXAMPLES = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
SECTIONS = [block[block.index("remote:") :] for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
USERS = {"operator": secret("operator"), "yard": secret("yard")}
CONFIG = """
agent: yard
cameras:
  - {{name: gate, source: {{type: synthetic, width: 320, height: 240, fps: 10, seed: 1}}}}
engines:
  local: {{type: tflite, model: shapes, threads: 1}}
sinks:
  - {{type: mqtt, host: localhost, port: {port}, username: yard, password: {{file: password.txt}}}}
{remote}
"""
KEY = secret("0123456789abcdef" * 2)


class Yard:
    """An agent called yard, an operator's programs, and the broker between them."""

    def __init__(self, folder: Path, remote: str) -> None:
        self.folder = folder
        self.broker = Broker(folder / "broker", users=USERS, access=ACCESS).start()
        (folder / "password.txt").write_text(USERS["yard"])
        (folder / "key.txt").write_text(KEY)
        hand_over(folder / "keys.txt", f"alice {KEY}\n")
        for user, password in USERS.items():
            (folder / f"tools-{user}").mkdir()
            settings = f"-h localhost\n-p {self.broker.port}\n-u {user}\n-P {password}\n"
            for name in ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr"):
                hand_over(folder / f"tools-{user}" / name, settings)
        self.config = folder / "vedette.yaml"
        self.config.write_text(CONFIG.format(port=self.broker.port, remote=remote))
        self.process = start_vedette("run", self.config, folder=folder)

    def run(self, script: str, *, user: str = "operator") -> str:
        """What a script of the operator's, or another's, prints."""
        env = environment(self.folder, XDG_CONFIG_HOME=str(self.folder / f"tools-{user}"))
        done = subprocess.run(
            ["bash", "-ec", script], cwd=self.folder, env=env, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, (script, done.stderr, self.said)
        return done.stdout

    def ask(self, command: str, text: str, *, topic: str = "operators/7") -> dict[str, Any]:
        """The first answer to a command."""
        (self.folder / "message").write_text(text)
        answer = self.run(
            f'mosquitto_rr -V 5 -q 1 -W 10 -t vedette/yard/command/{command} -e {topic} -m "$(cat message)"'
        )
        said: dict[str, Any] = json.loads(answer)
        return said

    @property
    def said(self) -> str:
        return (self.folder / "stderr.txt").read_text()

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.broker.stop()


def started(folder: Path, remote: str) -> Yard:
    folder.mkdir(exist_ok=True)
    yard = Yard(folder, remote)
    wait_until(lambda: "commands are taken" in yard.said and "camera gate gives" in yard.said, "the agent", limit_s=40)
    return yard
