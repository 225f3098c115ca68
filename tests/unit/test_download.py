"""Files over HTTP from a real server on loopback: whole, right, and not twice."""

import contextlib
import hashlib
import io
import random
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock
from file_server import Act, Answer, FileServer, serving, unused_address, whole

from agent.clock import SystemClock
from agent.errors import AgentError
from agent.model import download
from agent.model.download import Wanted, Web
from agent.model.meter import Meter

DATA = bytes(number * number % 251 for number in range(200_000))
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
WANTED = Wanted("weights.onnx", "md5", MD5)
PART = f"weights.onnx.{MD5}.part"
PORTAL = Answer(b"<html>sign in</html>", headers={"Content-Type": "text/html"})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSES_S", (0.001,) * 6)
    monkeypatch.setattr(download, "_AT_ONCE_S", 0.001)


@pytest.fixture(scope="module")
def opened() -> Iterator[Web]:
    """Made once, for to read all the CAs of this system takes a while."""
    with contextlib.closing(Web(SystemClock())) as made:
        yield made


@pytest.fixture
def web(opened: Web) -> Web:
    opened._anything_came = False
    return opened


@pytest.fixture
def fetch(web: Web, tmp_path: Path) -> Callable[..., Path]:
    """Fetch into `tmp_path`."""

    def fetched(server: FileServer, wanted: Wanted = WANTED, **more: Any) -> Path:
        address = more.get("address", lambda: f"{server.url}/file")
        return web.fetch(wanted, tmp_path, address=address, meter=Meter(io.StringIO(), SystemClock()))

    return fetched


# Whole


def test_a_file_comes_whole(fetch: Callable[..., Path], tmp_path: Path) -> None:
    with serving(whole(DATA)) as server:
        assert fetch(server).read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["weights.onnx"]
    assert len(server.asked) == 1


def test_a_file_that_is_there_is_not_asked_for(fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "weights.onnx").write_bytes(DATA)
    with serving(whole(DATA)) as server:
        assert fetch(server).read_bytes() == DATA
    assert server.asked == []


def test_another_file_of_that_name_is_replaced(fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "weights.onnx").write_bytes(b"older")
    with serving(whole(DATA)) as server:
        assert fetch(server).read_bytes() == DATA


def test_a_redirection_is_followed(fetch: Callable[..., Path]) -> None:
    def elsewhere(_: object) -> Answer:
        return Answer(status=302, headers={"Location": "/there"})

    with serving(elsewhere, whole(DATA)) as server:
        assert fetch(server).read_bytes() == DATA
    assert [asked.path for asked in server.asked] == ["/file", "/there"]


def test_a_file_without_a_checksum_is_taken_as_it_comes_and_from_its_beginning(
    fetch: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "weights.onnx..part").write_bytes(b"of something else")
    with serving(whole(DATA)) as server:
        assert fetch(server, Wanted("weights.onnx", "md5", "")).read_bytes() == DATA
    assert server.asked[0].begins == 0


# A bad link


def test_a_link_that_breaks_twenty_times_anywhere_costs_nothing_twice(fetch: Callable[..., Path]) -> None:
    cuts = random.Random(3)  # noqa: S311 - where a link breaks is no secret
    with serving(*(whole(DATA, cut_at=cuts.randint(1, 9000)) for _ in range(20)), last=whole(DATA)) as server:
        assert fetch(server).read_bytes() == DATA
    begins = [asked.begins for asked in server.asked]
    assert len(begins) == 21
    assert begins == sorted(begins)
    assert begins[-1] > 20_000


def test_what_an_earlier_run_left_is_gone_on_with(fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(DATA[:150_000])
    with serving(whole(DATA)) as server:
        assert fetch(server).read_bytes() == DATA
    assert [asked.begins for asked in server.asked] == [150_000]


def test_a_part_that_is_all_there_needs_no_more(fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(DATA)
    with serving(whole(DATA)) as server:
        assert fetch(server).read_bytes() == DATA


def test_a_part_that_a_power_cut_has_spoilt_is_fetched_anew(fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(bytes(150_000))
    with serving(whole(DATA)) as server:
        assert fetch(server).read_bytes() == DATA
    assert [asked.begins for asked in server.asked] == [150_000, 0]


def test_a_server_that_knows_no_parts_begins_again(fetch: Callable[..., Path]) -> None:
    script = (whole(DATA, cut_at=120_000, ranges=False), whole(DATA, cut_at=50_000, ranges=False))
    with serving(*script, last=whole(DATA, ranges=False)) as server:
        assert fetch(server).read_bytes() == DATA
    assert len(server.asked) == 3


def test_a_server_that_sends_another_part_is_refused(fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(DATA[:1000])
    odd = Answer(DATA[5:], 206, {"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"})
    with serving(lambda _: odd) as server, pytest.raises(AgentError, match="sends another part of the file"):
        fetch(server)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_that_cannot_just_now_is_asked_again(status: int, fetch: Callable[..., Path]) -> None:
    busy: Act = lambda _: Answer(b"later", status)  # noqa: E731 - a script's entry
    with serving(busy, busy, whole(DATA)) as server:
        assert fetch(server).read_bytes() == DATA


def test_a_server_that_never_can_is_given_up_and_what_has_come_is_kept(
    fetch: Callable[..., Path], tmp_path: Path
) -> None:
    with (
        serving(whole(DATA, cut_at=1000), lambda _: Answer(b"no", 503)) as server,
        pytest.raises(AgentError, match=r"cannot give it now \(status 503\); what has come is kept: try again"),
    ):
        fetch(server)
    assert (tmp_path / PART).stat().st_size == 1000


def test_an_address_that_has_expired_is_asked_for_anew(fetch: Callable[..., Path]) -> None:
    def signed(asked: Any) -> Answer:
        return whole(DATA)(asked) if "second" in asked.path else Answer(b"<Error/>", 403)

    with serving(signed) as server:
        addresses = iter([f"{server.url}/first", f"{server.url}/second"])
        assert fetch(server, address=lambda: next(addresses)).read_bytes() == DATA


# What is not the file


def test_another_file_is_thrown_away(fetch: Callable[..., Path], tmp_path: Path) -> None:
    with serving(whole(b"x" * 1000)) as server, pytest.raises(AgentError) as caught:
        fetch(server)
    said = str(caught.value)
    assert "weights.onnx: another file came, and was thrown away: its md5 is " in said
    assert f"not {MD5}" in said
    assert list(tmp_path.iterdir()) == []


def test_a_page_for_people_does_not_cost_what_has_come(fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(DATA[:1000])
    with (
        serving(lambda _: PORTAL) as server,
        pytest.raises(AgentError, match=r"a web page came from 127\.0\.0\.1 in place of the file; a captive portal"),
    ):
        fetch(server)
    assert (tmp_path / PART).read_bytes() == DATA[:1000]


def test_a_file_of_another_size_is_not_begun(fetch: Callable[..., Path], tmp_path: Path) -> None:
    wanted = Wanted("weights.onnx", "md5", MD5, size_bytes=len(DATA) + 1)
    with serving(whole(DATA)) as server, pytest.raises(AgentError, match="has a file of 200000 bytes there, not of"):
        fetch(server, wanted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [404, 405, 451])
def test_a_file_that_is_not_there_is_not_asked_for_twice(status: int, fetch: Callable[..., Path]) -> None:
    with serving(lambda _: Answer(b"", status)) as server, pytest.raises(AgentError, match=f"no such file.*{status}"):
        fetch(server)
    assert len(server.asked) == 1


# The disk


def test_too_little_room_is_said_before_anything_is_written(
    fetch: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_100_000))
    with serving(whole(DATA)) as server, pytest.raises(AgentError) as caught:
        fetch(server)
    assert "200.0 kB are to come, and" in str(caught.value)
    assert "100.1 MB free, of which 100.0 MB are left for the agent; make room" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_gets_its_room_back(web: Web, tmp_path: Path) -> None:
    class Full(Meter):
        def add(self, size_bytes: int) -> None:  # noqa: ARG002 - as it is called
            raise OSError(28, "No space left on device")

    meter = Full(io.StringIO(), SystemClock())
    with serving(whole(DATA)) as server, pytest.raises(AgentError, match="is full; nothing of this download is left"):
        web.fetch(WANTED, tmp_path, address=lambda: server.url, meter=meter)
    assert list(tmp_path.iterdir()) == []


# Nobody there


def test_a_server_that_is_not_there_is_one_clear_sentence(fetch: Callable[..., Path]) -> None:
    with pytest.raises(AgentError) as caught:
        fetch(FileServer(unused_address()))
    assert str(caught.value).startswith("weights.onnx: 127.0.0.1 cannot be reached, or hung up (")
    assert str(caught.value).endswith("; is this device online?")


def test_a_name_that_cannot_be_resolved_is_said_so(fetch: Callable[..., Path]) -> None:
    with pytest.raises(AgentError, match=r"the name nowhere\.invalid cannot be resolved; is there a DNS server\?$"):
        fetch(FileServer("http://nowhere.invalid"))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "no address at all", "http://"])
def test_an_address_that_is_none_is_a_sentence(url: str, fetch: Callable[..., Path]) -> None:
    with pytest.raises(AgentError, match="cannot be asked: "):
        fetch(FileServer(""), address=lambda: url)


# Questions


def test_an_answer_is_given_whatever_its_status(web: Web) -> None:
    with serving(lambda _: Answer(b'{"message":"no"}', 402, {"Content-Type": "application/json"})) as server:
        reply = web.ask(f"{server.url}/x", params={"a": "b c"}, headers={"Authorization": "Bearer k"})
    assert (reply.status, reply.body, reply.media_type) == (402, b'{"message":"no"}', "application/json")
    assert server.asked[0].path == "/x?a=b+c"
    assert server.asked[0].headers["authorization"] == "Bearer k"


def test_a_question_is_put_again_while_the_server_cannot_answer(web: Web) -> None:
    with serving(lambda _: Answer(b"", 503), lambda _: Answer(b"ok")) as server:
        assert web.ask(server.url, params={}, headers={}).body == b"ok"


def test_an_answer_without_end_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_ANSWER_LIMIT_BYTES", 1000)
    with serving(whole(DATA)) as server, pytest.raises(AgentError, match="is over 16 MB; that is not the API"):
        web.ask(server.url, params={}, headers={})


def test_a_key_that_http_does_not_allow_is_a_sentence_without_the_key(web: Web) -> None:
    with serving(whole(DATA)) as server, pytest.raises(AgentError) as caught:
        web.ask(server.url, params={}, headers={"Authorization": "Bearer secret\nkey"})
    assert "check the address and the key" in str(caught.value)
    assert "secret" not in str(caught.value)


# What is shown


def test_a_terminal_shows_how_far_it_is_and_how_fast(web: Web, tmp_path: Path) -> None:
    terminal = Terminal()
    meter = Meter(terminal, SystemClock())
    with serving(whole(DATA)) as server:
        web.fetch(WANTED, tmp_path, address=lambda: server.url, meter=meter)
    meter.end()
    shown = terminal.getvalue().split("\r\x1b[2K")
    assert " of 200.0 kB, " in shown[1]
    assert shown[1].endswith("/s")
    assert shown[-1] == ""


def test_elsewhere_each_file_is_a_line(web: Web, tmp_path: Path) -> None:
    log = io.StringIO()
    with serving(whole(DATA, cut_at=10_000), whole(DATA)) as server:
        web.fetch(WANTED, tmp_path, address=lambda: server.url, meter=Meter(log, SystemClock()))
    assert log.getvalue() == "fetching weights.onnx (200.0 kB)\n"


def test_where_nobody_watches_a_line_tells_every_ten_seconds_how_far_it_is() -> None:
    log, clock = io.StringIO(), FakeClock()
    meter = Meter(log, clock)
    meter.begin("m.onnx", 0, 3_000_000)
    for _ in range(30):
        clock.advance(1.0)
        meter.add(100_000)
    assert log.getvalue().splitlines() == [
        "fetching m.onnx (3.0 MB)",
        "m.onnx: 1.0 MB of 3.0 MB, 100.0 kB/s",
        "m.onnx: 2.0 MB of 3.0 MB, 100.0 kB/s",
        "m.onnx: 3.0 MB of 3.0 MB, 100.0 kB/s",
    ]


def test_while_nothing_comes_it_is_told_why_at_least_every_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_PAUSES_S", (16.0, 32.0))
    clock = FakeClock()
    said: list[tuple[float, str]] = []
    with contextlib.closing(Web(clock, tell=lambda words: said.append((clock.now(), words)))) as web:
        begun_s = clock.now()
        with pytest.raises(AgentError):
            web.fetch(WANTED, tmp_path, address=lambda: "http://127.0.0.1:9", meter=Meter(io.StringIO(), clock))
    assert all("127.0.0.1" in words and words.endswith("; it is tried again") for _, words in said)
    moments = [begun_s, *(moment_s for moment_s, _ in said), clock.now()]
    assert len(moments) > 2
    assert all(after - before <= 10 for before, after in pairwise(moments))
