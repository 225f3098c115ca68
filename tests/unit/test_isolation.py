"""A camera's reader in a child process: what passes between them, how it is watched, and how it ends."""

import contextlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cameras import survey, timecode
from hypothesis import given
from hypothesis import strategies as st

from agent import logs
from agent.clock import SystemClock
from agent.errors import LibraryMissing, SourceBroken, SourceCrashed, SourceError, SourceLost, SourceRefused
from agent.flow import Pixels
from agent.isolation import channel, process
from agent.isolation.channel import MOST_BYTES, AgentEnd, Gone, ReaderEnd
from agent.isolation.freeze import Freeze
from agent.isolation.isolated import Isolated
from agent.isolation.reader import Limits, Recipe
from agent.options import Secret

READERS = Path(timecode.__file__).resolve().parent


# The channel


@contextlib.contextmanager
def ends() -> Iterator[tuple[AgentEnd, ReaderEnd]]:
    """Both in this process."""
    mine, theirs, memory = channel.pair()
    agent, reader = AgentEnd(mine, memory), ReaderEnd(theirs, os.dup(memory))
    try:
        yield agent, reader
    finally:
        agent.close()
        theirs.close()
        reader._memory.close()


def picture(height: int = 4, width: int = 6, value: int = 7) -> Pixels:
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_pictures_of_any_size_arrive_as_they_were_and_belong_to_the_agent() -> None:
    with ends() as (agent, reader):
        for number, size in enumerate([(4, 6), (480, 640), (1, 1), (500, 700)]):
            reader.put(picture(*size, number))
            came = agent.receive()
            reader.put(picture(*size, 255))
            assert isinstance(came, np.ndarray)
            assert came.shape == (*size, 3)
            assert set(came.ravel()) == {number}, "the next picture does not change one that was handed over"
            agent.receive()


def test_a_reader_knows_whether_a_picture_is_wanted_and_when_nobody_is_there() -> None:
    with ends() as (agent, reader):
        assert not reader.wanted()
        agent.ask()
        assert [reader.wanted(), reader.wanted()] == [True, False]
        agent.close()
        with pytest.raises(Gone):
            reader.wanted()
        with pytest.raises(Gone):
            reader.put(picture())


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3)), np.zeros((4, 4, 3), "f4")],
)
def test_what_is_no_picture_is_not_handed_over(pixels: Pixels) -> None:
    with ends() as (_, reader), pytest.raises(ValueError, match="not a picture"):
        reader.put(pixels)


@given(
    st.one_of(
        st.binary(max_size=64),
        st.binary(max_size=64).map(lambda tail: b"P" + tail),
        st.binary(max_size=64).map(lambda tail: b"W" + tail),
        st.sampled_from([b"W[1, 2]", b"W5", b"Wnull", b'W"ab"', b"W" + b"[" * 90_000, b"P" + b"\x00" * 8]),
    )
)
def test_nonsense_from_a_reader_is_the_end_of_it_and_of_nothing_else(message: bytes) -> None:
    with ends() as (agent, reader):
        reader._connection.send(message)
        with contextlib.suppress(Gone):
            assert isinstance(agent.receive(), dict), "nothing that is no picture passes for one"


def test_a_picture_that_is_not_in_the_memory_or_too_large_is_refused() -> None:
    with ends() as (agent, reader):
        reader._memory.grow(MOST_BYTES * 2)
        for height, width in ((1, MOST_BYTES // 2), (1, MOST_BYTES), (0, 0), (2**32 - 1, 2**32 - 1)):
            channel._send(reader._connection, channel._PICTURE.pack(b"P", height, width))
            with pytest.raises(Gone, match="is not in the memory"):
                agent.receive()


def test_a_reader_cannot_take_the_memory_away_while_it_is_read() -> None:
    with ends() as (agent, reader):
        reader.put(picture(480, 640))
        with pytest.raises(PermissionError):
            os.ftruncate(reader._memory._descriptor, 0)
        assert isinstance(agent.receive(), np.ndarray)


def test_a_second_close_closes_nothing_of_others() -> None:
    with ends() as (agent, _):
        agent.close()
        others = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]  # they get the numbers that are free now
        agent.close()
        for descriptor in others:
            os.close(descriptor)


# A picture that stays the same


@given(st.floats(0.5, 120), st.floats(0.05, 0.2), st.integers(0, 100))
def test_a_frozen_picture_is_noticed_within_a_second_after_its_limit(
    limit_s: float, period_s: float, alive: int
) -> None:
    freeze, now_s = Freeze(limit_s), 100.0
    for number in range(alive):
        assert not freeze.note(picture(value=number % 200), now_s)
        now_s += period_s
    begun_s, frozen = now_s, picture(value=201)
    while not freeze.note(frozen, now_s):
        now_s += period_s
        assert now_s - begun_s <= limit_s + 1.0
    assert now_s - begun_s >= limit_s - 1e-9


def test_a_picture_that_may_stay_the_same_never_counts_as_frozen() -> None:
    freeze = Freeze(0.0)
    assert not any(freeze.note(picture(), now_s) for now_s in range(0, 1_000_000, 1000))


def test_another_size_of_the_same_colour_is_another_picture() -> None:
    freeze = Freeze(2.0)
    assert not any(freeze.note(picture(6, 4 + number % 2), float(number)) for number in range(20))


# The child


class Shifted(SystemClock):
    """The real clock, set forward by hand."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(READERS))
    return tmp_path / "script"


Make = Callable[..., Isolated]


@pytest.fixture
def make(script: Path) -> Iterator[Make]:
    made: list[Isolated] = []

    def build(*pythons: str, clock: SystemClock | None = None, fps: float = 100.0, **limits: float) -> Isolated:
        settings = {"script": str(script), "fps": fps, "width": 64, "height": 48, "password": "pass'word\\1"}
        recipe = Recipe("scripted_reader", "scripted", settings, pythons=pythons or ("",))
        source = Isolated(lambda: recipe, Limits(**limits), clock or SystemClock(), name="door")
        made.append(source)
        return source

    yield build
    for source in made:
        source.close()


def first(source: Isolated) -> Pixels:
    while (pixels := source.read()) is None:
        pass
    return pixels


def read_until_lost(source: Isolated) -> None:
    while True:
        source.read()


def child_of(source: Isolated) -> int:
    assert source._process is not None
    return source._process.pid


def test_every_frame_was_made_after_it_was_asked_for(make: Make) -> None:
    source = make()
    source.open()
    first(source)
    for _ in range(20):
        asked_ms = timecode.now_ms()
        assert timecode.read_ms(first(source)) >= asked_ms - 1


@pytest.mark.parametrize(
    ("word", "error"),
    [("refuse@open", SourceRefused), ("broken@open", SourceBroken), ("crash@open", SourceCrashed)],
)
def test_what_a_reader_says_is_raised_and_its_silent_end_is_a_crash(
    word: str, error: type[SourceError], make: Make, script: Path
) -> None:
    script.write_text(word)
    source = make()
    source.open()
    with pytest.raises(SourceError) as caught:
        first(source)
    assert type(caught.value) is error


@pytest.mark.parametrize("word", ["library@open", "import@open"])
def test_where_a_python_lacks_the_library_the_next_is_tried_and_the_last_says_so(
    word: str, make: Make, script: Path
) -> None:
    script.write_text(word)
    source = make("", sys.executable)
    for _ in range(2):
        source.open()
        with pytest.raises(LibraryMissing):
            first(source)
        source.close()


def test_where_the_other_python_is_not_there_the_first_says_what_it_lacks_every_time(make: Make, script: Path) -> None:
    script.write_text("library@open")
    source = make("", "/nowhere/python3")
    for _ in range(2):
        source.open()
        with pytest.raises(LibraryMissing, match="no library"):
            first(source)
        source.close()


def test_a_python_that_is_not_there_is_a_lost_camera(make: Make) -> None:
    before = survey.links(os.getpid())
    with pytest.raises(SourceLost, match="no process can be started"):
        make("/nowhere/python3").open()
    assert survey.links(os.getpid()) == before


def test_with_too_few_descriptors_a_camera_is_lost_and_none_is_kept(make: Make) -> None:
    source = make()
    source.open()
    source.close()  # what is loaded once stays
    before, limits = survey.links(os.getpid()), resource.getrlimit(resource.RLIMIT_NOFILE)
    lost = 0
    for room in range(1, 14):
        taken = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
        free = (number for number in itertools.count() if number not in taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, room, None)), limits[1]))
        try:
            source.open()
        except SourceLost:
            lost += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            source.close()
    assert lost
    assert survey.links(os.getpid()) == before


def test_a_reader_has_its_own_socket_and_memory_and_nothing_of_another_camera_or_of_the_agent(make: Make) -> None:
    one, other = make(), make()
    with socket_of_the_agent():
        one.open()
        other.open()
        for source in (one, other):
            first(source)
        held = [survey.links(child_of(source)) for source in (one, other)]
    kinds = [[link.split(":")[0].split(" ")[0] for link in links] for links in held]
    assert kinds == [["/dev/null", "/memfd", "/memfd", "pipe", "pipe", "socket"]] * 2, "the mapping holds one too"
    own = [{link for link in links if "[" in link} for links in held]
    assert not own[0] & own[1], "of pipes and sockets, whose names are theirs alone"


@contextlib.contextmanager
def socket_of_the_agent() -> Iterator[None]:
    """One that a careless library lets children inherit."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(descriptor, True)
    yield
    os.close(descriptor)


def test_no_secret_is_in_a_readers_command_line_or_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "  pass'word\\1\n")
    monkeypatch.setenv("HARMLESS", "may be known")
    logs.hide("pass'word\\1")
    source = make()
    source.open()
    first(source)
    told = survey.told(child_of(source))
    assert "pass'word" not in told
    assert "may be known" in told


def test_a_variable_that_the_configuration_names_is_kept_from_readers_that_begin_before_it_is_needed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOTHER_CAMERAS_PASSWORD", "not yet revealed")
    Secret(env="ANOTHER_CAMERAS_PASSWORD")
    source = make()
    source.open()
    first(source)
    assert "not yet revealed" not in survey.told(child_of(source))


def test_a_secret_is_struck_out_as_python_and_json_write_it() -> None:
    secret = "sec\"ret's\\end"  # noqa: S105 - made up
    logs.hide(secret)
    for text in (secret, repr(secret), repr({"key": secret}), json.dumps({"key": secret})):
        assert "ret" not in logs.redact(text), text


def test_what_a_reader_said_last_is_told_without_secrets_and_in_whole_lines(make: Make, script: Path) -> None:
    logs.hide("pass'word\\1")
    source = make()
    source.open()
    first(source)
    script.write_text("confess")
    with pytest.raises(SourceCrashed, match="ended with code 1: RuntimeError: the settings are") as caught:
        read_until_lost(source)
    assert "word" not in str(caught.value).replace("password", "")
    assert source._process is not None
    assert source._process.last_words.startswith("Traceback")


def test_pictures_that_cannot_be_decoded_are_as_good_as_none(make: Make, script: Path) -> None:
    script.write_text("torn")
    clock = Shifted()
    source = make(clock=clock, first_frame_s=100.0)
    source.open()
    with pytest.raises(SourceError, match="torn"):
        first(source)
    clock.ahead_s = 101.0
    with pytest.raises(SourceLost, match="no first picture came within 100 s"):
        first(source)


def test_while_nobody_asks_no_time_is_lost(make: Make) -> None:
    clock = Shifted()
    source = make(clock=clock, next_frame_s=5.0, fps=2.0)  # so slow that the agent looks at the time meanwhile
    source.open()
    for _ in range(2):
        first(source)
        clock.ahead_s += 3600.0
    assert first(source).shape == (48, 64, 3)


def test_a_reader_ends_with_the_thread_that_started_it(make: Make) -> None:
    source = make()
    thread = threading.Thread(target=lambda: (source.open(), first(source)))
    thread.start()
    thread.join(20)
    child = child_of(source)
    assert eventually(lambda: not survey.alive(child))


def test_a_reader_whose_agent_died_before_it_began_ends_at_once() -> None:
    command = [sys.executable, "-c", process._BOOT, process._HOME, "door", "scripted_reader", "0", "0", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (1, "the agent is gone\n")


def test_what_a_reader_has_started_ends_with_it(make: Make, script: Path) -> None:
    source = make(next_frame_s=60.0)
    source.open()
    first(source)
    child = child_of(source)
    script.write_text("helper")
    while source.read() is not None:  # until it hangs
        pass
    assert eventually(lambda: len(survey.session(child)) == 3), "the reader, a shell and what that runs"
    source.close()
    assert eventually(lambda: not survey.session(child))


def test_where_dead_children_are_not_kept_for_anybody_a_reader_still_ends(make: Make) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        source = make()
        source.open()
        first(source)
        os.kill(child_of(source), signal.SIGKILL)
        with pytest.raises(SourceCrashed):
            read_until_lost(source)
        source.close()
        source.open()
        first(source)
        source.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_reader_that_prints_without_end_does_not_keep_the_agent(make: Make, script: Path) -> None:
    source = make(next_frame_s=60.0)
    source.open()
    first(source)
    script.write_text("print")
    begun_s = time.monotonic()
    while source.read() is not None:
        pass
    assert source.read() is None
    assert time.monotonic() - begun_s < 20


def test_a_process_that_cannot_be_started_anew_beside_one_that_is_held(make: Make) -> None:
    source = make()
    source.open()
    held = child_of(source)
    with pytest.raises(SourceLost, match=f"process {held}, which cannot be killed"):
        source.open()


def eventually(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    until_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.01)
    return condition()
