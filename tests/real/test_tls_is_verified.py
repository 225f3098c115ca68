"""Whoever speaks TLS verifies the other side: by default nobody says a word to a server that nothing vouches for.

Each user of TLS meets a server with a certificate of its own making, which notes the first words that reach it. Where
there is an option to do without, it works, and the start of the agent names it in one warning.
"""

import contextlib
import io
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from canary import secret
from real import broker as world

from agent import config, document, plugins
from agent.clock import SystemClock
from agent.config import Config
from agent.errors import AgentError
from agent.flow import Delivery, Picture
from agent.model import get, pull
from agent.model.download import Wanted, Web
from agent.model.meter import Meter
from agent.options import Options
from agent.ports import Context, Project

pytestmark = pytest.mark.skipif(bool(world.MISSING), reason=world.REASON)
REPOSITORY = Path(__file__).resolve().parents[2]
TLS_KEYS = {"ca_file", "verify"}
"""A section with one of these speaks TLS."""


class Trap:
    """A TLS server on loopback with a certificate; what reaches it, it answers with `answer`."""

    def __init__(self, certificates: world.Certificates, answer: bytes = b"") -> None:
        self.heard: list[bytes] = []
        """The first words of each connection that came through the handshake."""
        self._answer = answer
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificates.certificate, certificates.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.02)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):  # among them: nobody came, and a handshake that was broken off
                connection, _ = self._listener.accept()
                connection.settimeout(2)
                with self._tls.wrap_socket(connection, server_side=True) as secure:
                    self.heard += filter(None, [secure.recv(1000)])
                    secure.sendall(self._answer)

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._listener.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> world.Certificates:
    return world.make_certificates(tmp_path_factory.mktemp("ca"), name="DNS:localhost")


@pytest.fixture
def trap(certificates: world.Certificates) -> Iterator[Trap]:
    trap = Trap(certificates)
    yield trap
    trap.close()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "key").write_text(secret("any-key"))
    return Context("porch", SystemClock(), tmp_path, tmp_path)


def sink(settings: Config, context: Context) -> None:
    with contextlib.closing(plugins.build_sink(settings.sinks[0], context)) as made:
        made.open()
        made.send([Delivery("an-id", "door", b"{}")])


def source(settings: Config, context: Context) -> None:
    with contextlib.closing(plugins.build_source(settings.cameras[0].source, context)) as made:
        made.open()
        while made.read() is None:
            pass  # it comes back now and then, to be told to stop


def cloud(settings: Config, context: Context) -> None:
    assert settings.engines.cloud is not None
    with contextlib.closing(plugins.build_cloud_engine(settings.engines.cloud, context, width=1)) as made:
        made.open()
        made.knock(context.clock.now() + 5)


def contributor(settings: Config, context: Context) -> None:
    assert settings.engines.cloud is not None
    assert settings.backfill is not None
    assert settings.backfill.contribute is not None
    project = Project(str(settings.backfill.contribute.url), "yard", "batch")
    with contextlib.closing(plugins.build_contributor(settings.engines.cloud, context, project)) as made:
        made.open()
        picture = Picture(b"jpeg", 4, 4, 85, 4, 4)
        made.contribute(picture, "a.jpg", give_up_s=context.clock.now() + 5, watch=lambda _: True)


def download(settings: Config, context: Context) -> None:
    """As `vedette model get` and `pull` fetch; the address is that of engines.cloud."""
    url = settings.engines.cloud.model_dump()["url"] if settings.engines.cloud else ""
    with contextlib.closing(Web(context.clock)) as web:
        meter = Meter(io.StringIO(), context.clock)
        web.fetch(Wanted("m.tflite", "sha256", "0" * 64), context.base_dir, address=lambda: str(url), meter=meter)


@dataclass(frozen=True)
class User:
    """Somebody who speaks TLS."""

    use: Callable[[Config, Context], None]
    section: tuple[str | int, ...]
    """Of the configuration."""
    keys: dict[str, Any]
    """What stands there; PORT is the server's."""
    tls: str = ""
    """The section in it that has the keys of TLS; "": itself."""
    can_do_without: bool = True


CLOUD = {"type": "roboflow", "model": "yard/1", "api_key": {"file": "key"}}
USERS = {
    "sinks.webhook": User(sink, ("sinks", 0), {"type": "webhook", "url": "https://localhost:PORT/"}),
    "sinks.mqtt": User(sink, ("sinks", 0), {"type": "mqtt", "host": "localhost", "port": "PORT"}, tls="tls"),
    "sinks.mqtt in a websocket": User(
        sink, ("sinks", 0), {"type": "mqtt", "host": "localhost", "port": "PORT", "websockets": {}}, tls="tls"
    ),
    "sources.rtsp": User(source, ("cameras", 0, "source"), {"type": "rtsp", "url": "rtsps://localhost:PORT/x"}),
    "sources.mjpeg": User(source, ("cameras", 0, "source"), {"type": "mjpeg", "url": "https://localhost:PORT/x"}),
    "engines.roboflow": User(
        cloud, ("engines", "cloud"), {**CLOUD, "url": "https://localhost:PORT"}, can_do_without=False
    ),
    "training images": User(
        contributor,
        ("backfill",),
        {"contribute": {"project": "yard", "url": "https://localhost:PORT"}},
        can_do_without=False,
    ),
    "model files": User(
        download, ("engines", "cloud"), {**CLOUD, "url": "https://localhost:PORT/m"}, can_do_without=False
    ),
}


def settings(user: User, port: int, **tls: Any) -> Config:
    """The configuration with this user in it."""
    page: dict[Any, Any] = {
        "agent": "porch",
        "cameras": [{"name": "door", "source": {"type": "synthetic"}}],
        "engines": {"local": {"type": "tflite", "model": "shapes"}, "cloud": CLOUD},
        "sinks": [{"type": "stdout"}],
    }
    keys = json.loads(json.dumps(user.keys).replace('"PORT"', str(port)).replace("PORT", str(port)))
    place: Any = page
    for step in user.section[:-1]:
        place = place[step]
    place[user.section[-1]] = {**keys, user.tls: tls} if user.tls else {**keys, **tls}
    return config.validate(document.parse(json.dumps(page), name="f.yaml"))


@pytest.mark.parametrize("name", USERS)
def test_a_server_that_nothing_vouches_for_hears_no_word(name: str, trap: Trap, context: Context) -> None:
    user = USERS[name]
    made = settings(user, trap.port)
    with pytest.raises(AgentError, match="certificate"):
        user.use(made, context)
    assert trap.heard == []
    assert made.notes == ()


@pytest.mark.parametrize("name", [name for name in USERS if name not in ("training images", "model files")])
def test_a_server_that_is_vouched_for_under_another_name_hears_no_word(
    name: str, context: Context, tmp_path: Path
) -> None:
    other, user = world.make_certificates(tmp_path / "other", name="DNS:other.example"), USERS[name]
    with contextlib.closing(Trap(other)) as trap:
        with pytest.raises(AgentError, match="certificate"):
            user.use(settings(user, trap.port, ca_file=str(other.ca)), context)
        assert trap.heard == []


@pytest.mark.parametrize("name", [name for name, user in USERS.items() if user.can_do_without])
def test_without_verification_it_is_spoken_to_and_the_start_names_the_key_in_one_warning(
    name: str, trap: Trap, context: Context
) -> None:
    user = USERS[name]
    made = settings(user, trap.port, verify=False)
    with contextlib.suppress(AgentError):  # the trap is no broker, and no camera
        user.use(made, context)
    assert trap.heard
    key = document.dotted_path((*user.section, *filter(None, [user.tls]), "verify"))
    (note,) = made.notes
    assert note.startswith(f"{key} is false: any certificate will do there")


def test_nobody_who_speaks_tls_is_left_out_here() -> None:
    kinds = ("sources", "engines", "sinks")
    found = {f"{kind}.{_type(each)}": each for kind in kinds for each in plugins.options_of(kind)}
    speakers = {name for name, options in found.items() if TLS_KEYS & _keys(options)}
    assert speakers == {name for name in USERS if name in found}
    doing_without = {name for name, options in found.items() if "verify" in _keys(options)}
    assert doing_without == {name for name, user in USERS.items() if name in found and user.can_do_without}
    assert _keys(Config) & TLS_KEYS == set(), "a section of its own that speaks TLS belongs into the table"


def _type(options: type[Options]) -> str:
    return str(options.model_fields["type"].annotation.__args__[0])  # type: ignore[union-attr]


def _keys(options: Any) -> set[str]:
    """The keys of a section and of those below it."""
    schema = json.dumps(options.model_json_schema())
    return set(re.findall(r'"(\w+)": \{', schema))


def test_one_place_of_the_code_makes_a_context_that_verifies_nothing_and_one_tells_ffmpeg_so() -> None:
    off = re.compile(r'CERT_NONE|check_hostname\s*=|verify=False|_unverified_|tls_insecure|tls_verify": "0"')
    files = [file for folder in ("agent", "scripts") for file in (REPOSITORY / folder).rglob("*") if file.is_file()]
    texts = {file: file.read_text(errors="replace") for file in files if file.suffix in ("", ".py", ".sh")}
    found = {str(file.relative_to(REPOSITORY)) for file, text in texts.items() if off.search(text)}
    assert found == {"agent/trust.py", "agent/sources/_address_options.py"}


def test_models_are_fetched_by_that_one_client_alone() -> None:
    for command in (get, pull):
        assert command.Web is Web


# Redirections


def redirecting(port: int) -> bytes:
    return b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % port


@pytest.fixture
def open_port() -> Iterator[socket.socket]:
    """A port without TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        yield listener


def nobody_came(listener: socket.socket) -> bool:
    with contextlib.suppress(TimeoutError):
        listener.accept()[0].close()
        return False
    return True


def test_a_download_does_not_follow_to_where_there_is_no_tls(
    certificates: world.Certificates, open_port: socket.socket, context: Context
) -> None:
    answer = redirecting(open_port.getsockname()[1])
    wanted, meter = Wanted("m", "sha256", "0" * 64), Meter(io.StringIO(), context.clock)
    with (
        contextlib.closing(Trap(certificates, answer)) as trap,
        contextlib.closing(Web(context.clock, ca_file=certificates.ca)) as web,
        pytest.raises(AgentError, match=r"localhost redirects to 127\.0\.0\.1 without TLS; that is not followed"),
    ):
        web.fetch(wanted, context.base_dir, address=lambda: f"https://localhost:{trap.port}/m", meter=meter)
    assert nobody_came(open_port)


def test_a_camera_is_not_followed_to_where_there_is_no_tls(
    certificates: world.Certificates, open_port: socket.socket, context: Context
) -> None:
    user = USERS["sources.mjpeg"]
    with (
        contextlib.closing(Trap(certificates, redirecting(open_port.getsockname()[1]))) as trap,
        pytest.raises(AgentError, match="Redirections are not followed from https"),
    ):
        source(settings(user, trap.port, ca_file=str(certificates.ca)), context)
    assert trap.heard
    assert nobody_came(open_port)
