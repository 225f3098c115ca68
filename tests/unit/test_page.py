"""The page: who may see it, what it shows, and that viewers who are slow, many or gone cost nothing that lasts."""

import contextlib
import gc
import json
import re
import socket
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from canary import secret
from fakes import FakeClock
from unit.test_doubt import a_result
from unit.test_health import Bench
from unit.test_supervisor import eventually

from agent import imaging, pages
from agent.clock import SystemClock
from agent.config import Config
from agent.demo import free_port
from agent.errors import ConfigError
from agent.flow import Answer, Frame, Pixels, Prediction, Reason, Result, Timings
from agent.heat import Heat
from agent.loop import Pulse
from agent.page import site
from agent.page.gallery import WATCHED_S, Gallery
from agent.page.gate import LEAST_TOKEN
from agent.page.site import HTML
from agent.page_options import PageConfig
from agent.ports import Context
from agent.readiness import Watched
from agent.router import Mode

TOKEN = secret("correct-horse-battery")
PERSON = Prediction(30.0, 24.0, 20.0, 20.0, 0.9, "person", 0)
CLOCK = SystemClock()


def seen(seq: int, pixels: Pixels | None = None, camera: str = "door") -> tuple[Frame, Result]:
    """A frame that was answered just now, and its result."""
    answer = Answer((PERSON,), "m", "e", Timings(inference_s=0.01))
    result = replace(a_result(Reason.LOCAL_ONLY, answer, seq=seq, at_s=CLOCK.now()), camera=camera)
    result = replace(result, answered_s=CLOCK.now())
    pixels = np.full((48, 64, 3), 90, dtype=np.uint8) if pixels is None else pixels
    return Frame(camera, seq, result.captured_s, 0.0, clock_synchronized=True, pixels=pixels), result


class Served:
    """A page of one camera called door, served for real."""

    def __init__(self, folder: Path, options: PageConfig) -> None:
        bench = Bench(folder)
        self.gallery, self.stuck, self.camera = Gallery(), list[str](), bench.camera
        self.controls = bench.controls
        self.port = options.port
        watched = Watched(
            "yard",
            CLOCK,
            [bench.camera],
            bench.couriers,
            {},
            bench.uplink,
            stuck=lambda: self.stuck,
            trouble={"capture-door": "rtsp://viewer:hunter2@192.0.2.1/ refuses connections"}.get,
            pings=lambda: 7,
            heat=lambda: Heat({"cpu": 51.0}, None),
            controls=bench.controls,
        )
        stage = pages.stage(options, Context("yard", CLOCK, folder, folder), self.gallery, watched)
        self.pulse = Pulse(CLOCK)
        self._clients = contextlib.ExitStack()
        self._thread = threading.Thread(target=stage.loops[0].run, args=(self.pulse,), daemon=True)

    @contextlib.contextmanager
    def running(self) -> Iterator["Served"]:
        self._thread.start()
        try:
            assert eventually(lambda: self.pulse.age_s() < 5 and self._answers())
            yield self
        finally:
            self._clients.close()
            self.pulse.stopping.set()
            self._thread.join(10)
            assert not self._thread.is_alive()

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.port}/livez").status_code < 500
        return False

    def client(self, **headers: str) -> httpx.Client:
        """Closed with the page."""
        client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=10)
        return self._clients.enter_context(client)

    def watch(self, camera: str = "door") -> socket.socket:
        """Somebody who asks for live pictures."""
        viewer = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        viewer.sendall(f"GET /live/{camera}.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return viewer


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with a_page(tmp_path_factory.mktemp("page")).running() as served:
        yield served


def a_page(folder: Path) -> Served:
    return Served(folder, PageConfig(port=free_port(), frames_per_second=30))


def guarded(folder: Path, **more: object) -> Served:
    (folder / "token").write_text(TOKEN + "\n", encoding="ascii")
    options = {"port": free_port(), "token": {"file": folder / "token"}, "frames_per_second": 30, **more}
    return Served(folder, PageConfig.model_validate(options))


# Who may see it


def test_a_page_that_others_can_reach_needs_a_token() -> None:
    with pytest.raises(ValueError, match=r"others can reach 0\.0\.0\.0: give token"):
        PageConfig(host="0.0.0.0")  # noqa: S104 - it must be refused
    assert PageConfig(host="::1").host == "::1"
    assert PageConfig(host="localhost").host == "127.0.0.1"


def test_there_is_no_page_unless_the_configuration_has_one() -> None:
    assert Config.model_fields["page"].default is None


def test_a_token_that_could_be_guessed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(secret()[: LEAST_TOKEN - 1])
    with pytest.raises(ConfigError, match=r"page\.token has 15 letters and needs 16; make one"):
        PageConfig.model_validate({"token": {"file": "token"}}).reveal_token(tmp_path)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8090", "127.0.0.1.evil.example", "192.0.2.1", ""])
def test_a_name_that_was_pointed_at_this_machine_is_not_answered(page: Served, host: str) -> None:
    assert page.client().get("/state.json", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:8090", "127.0.0.1:1", "[::1]:8090"])
def test_this_machine_by_any_of_its_names_is(page: Served, host: str) -> None:
    assert page.client().get("/state.json", headers={"host": host}).status_code == 200


def test_other_sites_may_link_to_it_and_neither_fetch_nor_embed_it(page: Served) -> None:
    cross = {"sec-fetch-site": "cross-site"}
    assert page.client().get("/state.json", headers={**cross, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert page.client().get("/", headers={**cross, "sec-fetch-mode": "navigate"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(page: Served, method: str) -> None:
    for path in ("/", "/state.json", "/live/door.mjpeg"):
        assert page.client().request(method, path).status_code == 405


def test_every_answer_forbids_what_a_page_of_ours_never_needs(page: Served) -> None:
    for path in ("/", "/state.json", "/nowhere", "/live/door.png", "/livez"):
        headers = page.client().get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "server" not in headers


def test_without_the_token_only_livez_is_answered(tmp_path: Path) -> None:
    with guarded(tmp_path).running() as served:
        client = served.client()
        assert client.get("/livez").status_code == 200
        for path in ("/", "/state.json", "/events", "/metrics", "/readyz", "/live/door.jpg", "/live/door.mjpeg"):
            refused = client.get(path, headers={"authorization": "Bearer wrong"})
            assert refused.status_code == 401
            assert "yard" not in refused.text
        assert "<form" in client.get("/", headers={"accept": "text/html"}).text
        assert client.get("/", headers={"host": "yard.example", "cookie": "vedette_page_1=; x"}).status_code == 401


def test_the_token_opens_it_by_header_by_query_and_by_the_cookie_that_the_query_sets(tmp_path: Path) -> None:
    with guarded(tmp_path).running() as served:
        client = served.client()
        assert client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get(f"/state.json?token={TOKEN}").status_code == 200
        assert client.get("/state.json").status_code == 401
        entered = client.get(f"/?token={TOKEN}")
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert client.get("/").status_code == 200
        name, _, value = cookie.partition(";")[0].partition("=")
        proxied = {"host": "yard.example", "cookie": f"{name}={value}"}
        assert httpx.get(f"http://127.0.0.1:{served.port}/state.json", headers=proxied).status_code == 200


def test_metrics_and_readiness_may_be_opened_to_all(tmp_path: Path) -> None:
    with guarded(tmp_path, open_metrics=True).running() as served:
        client = served.client()
        assert client.get("/metrics").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.get("/state.json").status_code == 401


# Health


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Served]:
    with a_page(tmp_path).running() as served:
        yield served


def test_alive_ready_and_degraded_are_told_apart(fresh: Served) -> None:
    page, client = fresh, fresh.client()
    before = client.get("/readyz")
    assert (before.status_code, before.json()["missing"]) == (503, ["no camera gives frames"])
    page.camera.telemetry.note_online(online=True)
    assert client.get("/readyz").json() == {"ready": True, "missing": [], "degraded": []}
    page.camera.telemetry.note_online(online=False)
    page.camera.resting = True
    assert client.get("/readyz").status_code == 200, "a camera outside its hours is as it should be"
    page.camera.resting = False
    gone = client.get("/readyz").json()["degraded"]
    assert gone == ["camera door is offline: rtsp://***@192.0.2.1/ refuses connections"]
    assert client.get("/livez").json() == {"alive": True}
    page.stuck.append("admit")
    assert client.get("/livez").status_code == 503
    assert "admit makes no progress" in client.get("/readyz").json()["missing"]


def test_what_heat_takes_from_the_work_is_a_trouble_and_what_a_person_wants_is_none(fresh: Served) -> None:
    page, client = fresh, fresh.client()
    page.camera.telemetry.note_online(online=True)
    page.controls.steer(Mode.LOCAL_ONLY, None, by="remote")
    assert client.get("/readyz").json()["degraded"] == []
    page.controls.limit_fps("door", 4.0, by="heat", why="78 °C at cpu-thermal")
    assert client.get("/readyz").json()["degraded"] == ["less is done for the machine's heat: 78 °C at cpu-thermal"]
    assert [told["words"] for told in client.get("/state.json").json()["controls"]] == [
        "routing.mode is local_only, by remote",
        "camera door gives at most 4 frames a second, by heat: 78 °C at cpu-thermal",
    ]


# What it shows


def test_the_page_is_one_file_that_loads_nothing_from_elsewhere_and_knows_every_reason(page: Served) -> None:
    answer = page.client().get("/")
    assert answer.text == HTML
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|/)[a-z]+:""", HTML) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", HTML) == []
    assert [reason.value for reason in Reason if not re.search(rf"\b{reason.value}:", HTML)] == []


def parts(viewer: socket.socket, count: int) -> list[bytes]:
    """The next live pictures."""
    data, found = b"", list[bytes]()
    while len(found) < count:
        data += viewer.recv(65536)
        while (whole := re.search(rb"Content-Length: (\d+)\r\n\r\n", data)) and len(data) >= whole.end() + int(
            whole[1]
        ):
            found.append(data[whole.end() : whole.end() + int(whole[1])])
            data = data[whole.end() + int(whole[1]) :]
    return found


@contextlib.contextmanager
def frames(page: Served, pixels: Pixels | None = None) -> Iterator[None]:
    """A camera that gives about fifty frames a second."""
    over = threading.Event()

    def give() -> None:
        seq = 0
        while not over.wait(0.02):
            page.gallery.see(*seen(seq := seq + 1, pixels))

    thread = threading.Thread(target=give)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_live_picture_shows_the_frame_with_its_boxes(page: Served) -> None:
    with frames(page), page.watch() as viewer:
        jpeg = parts(viewer, 2)[-1]
        still = page.client().get("/live/door.jpg")
    for picture in (imaging.decode_image(jpeg), imaging.decode_image(still.content)):
        assert picture.shape == (48, 64, 3)
        assert np.abs(picture[:4].astype(int) - 90).max() < 30, "the frame"
        assert np.abs(picture[12:36].astype(int) - 90).max() > 60, "the box"
    assert still.headers["content-type"] == "image/jpeg"


def test_a_camera_that_is_not_there_has_no_picture(page: Served) -> None:
    for name in ("barn.mjpeg", "door", "door.png", "..%2fdoor.jpg"):
        assert page.client().get(f"/live/{name}").status_code == 404


def test_no_frame_is_kept_of_a_camera_that_nobody_watches() -> None:
    gallery, clock = Gallery(), FakeClock(CLOCK.now())
    frame, result = seen(1)
    gallery.see(frame, result)
    assert gallery.newest("door") is None
    gallery.watch("door", clock.now())
    gallery.watch("barn", clock.now())
    gallery.see(frame, result)
    assert gallery.newest("door") == (frame, result)
    pixels = weakref.ref(frame.pixels)
    clock.advance(WATCHED_S)
    assert gallery.watched(clock.now()) == []
    del frame
    gc.collect()
    assert pixels() is None


def test_results_and_the_state_of_everything_come_as_they_happen(page: Served) -> None:
    found = dict[str, object]()
    with frames(page), page.client().stream("GET", "/events") as answer:
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: "):
                found[name] = json.loads(line.removeprefix("data: "))
            if len(found) == 2:
                break
    state, results = found["state"], found["results"]
    assert isinstance(state, dict)
    assert isinstance(results, list)
    assert set(state) >= {"cameras", "link", "budget", "outboxes", "heat", "condition", "engines"}
    assert results[0]["reason"] == "local_only"
    assert results[0]["counts"] == {"person": 1}
    assert results[0]["parts_ms"]["inference"] == 10.0
    assert page.client().get("/state.json").json()["cameras"].keys() == {"door"}


# Viewers


def test_a_viewer_who_takes_nothing_holds_up_nobody_and_costs_a_bounded_buffer(page: Served) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (720, 960, 3), dtype=np.uint8)  # half a megabyte each
    with frames(page, noise), page.watch() as stalled, page.watch() as viewer:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert len(parts(viewer, 12)) == 12
        assert page.client().get("/livez").status_code == 200


def test_so_many_may_watch_and_who_goes_makes_room(fresh: Served) -> None:
    with contextlib.ExitStack() as stack, frames(fresh):
        viewers = [stack.enter_context(fresh.watch()) for _ in range(site.MOST_VIEWERS)]
        for viewer in viewers:
            assert parts(viewer, 1)
        full = fresh.client().get("/live/door.mjpeg")
        assert (full.status_code, full.json()["error"]) == (503, "8 live pictures are open, which is the most")
        viewers[0].close()
        assert eventually(lambda: admitted(fresh))


def admitted(page: Served) -> bool:
    with page.watch() as viewer:
        return b" 200 OK" in viewer.recv(200)


def test_a_port_that_is_taken_is_waited_for_and_the_loop_lives(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        served = Served(tmp_path, PageConfig(port=taken.getsockname()[1]))
        served._thread.start()
        assert eventually(lambda: served.pulse.age_s() < 1)
        served.pulse.stopping.set()
        served._thread.join(10)
        assert not served._thread.is_alive()
