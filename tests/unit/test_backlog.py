"""`vedette outbox`: what waits is seen, rescued, sent again and thrown away, over real files of a store."""

import contextlib
import fcntl
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.backlog import replay as replaying
from agent.backlog.reading import Reader
from agent.clock import SystemClock
from agent.flow import Delivery, Kind, Outcome
from agent.outbox import Limits, Outbox
from agent.parcel import Entry, pack
from agent.record import EVENT_SCHEMA, SCHEMA
from agent.stamp import boot_id
from agent.store import Store

HOLD = (
    "import sys; from pathlib import Path; from agent.clock import SystemClock; from agent.store import Store;"
    "Store(Path(sys.argv[1]), SystemClock(), 'boot').claim(); print('mine', flush=True); sys.stdin.read()"
)


def delivery(number: int, *, camera: str = "gate", kind: Kind = Kind.RESULT, padding: int = 0) -> Delivery:
    schema, when = (SCHEMA, "captured_at") if kind is Kind.RESULT else (EVENT_SCHEMA, "at")
    name = f"yard/{camera}/boot/{number}/0"
    at = f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}.000Z"
    record = {"schema": schema, "id": name, "camera": camera, when: at, "padding": os.urandom(padding).hex()}
    return Delivery(name, camera, json.dumps(record, separators=(",", ":")).encode(), kind)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def path(state: Path) -> Path:
    return state / "outbox" / "yard" / "mqtt-1.db"


def fill(path: Path, deliveries: Sequence[Delivery], *, each: int = 10) -> None:
    """Commit them, so many at a time."""
    store = Store(path, SystemClock(), boot_id())
    store.claim()
    for start in range(0, len(deliveries), each):
        with store.transaction():
            first = store.last_position() + 1
            part = [Entry(first + place, item) for place, item in enumerate(deliveries[start : start + each])]
            store.append([pack(part)])
    store.release()


def reject(path: Path, *deliveries: Delivery) -> None:
    store = Store(path, SystemClock(), boot_id())
    with store.transaction():
        store.reject(deliveries)
    store.release()


def change(path: Path, query: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(query, values)


def waiting(path: Path) -> list[Delivery]:
    with contextlib.closing(Reader(path)) as reader:
        return [entry.delivery for _, entries in reader.entries("waiting") for entry in entries or ()]


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    return [int(item.id.split("/")[3]) for item in deliveries]


def table_numbers(path: Path, table: str) -> list[int]:
    with contextlib.closing(Reader(path)) as reader:
        return numbers([entry.delivery for _, entries in reader.entries(table) for entry in entries or ()])


def outbox(state: Path, *arguments: str | Path) -> int:
    command, *rest = map(str, arguments)
    return cli.main(["outbox", command, *rest, "--state", str(state)])


def listed(state: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    outbox(state, "list", "--json")
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["outboxes"]
    return found


def exported(text: str) -> list[int]:
    return [int(json.loads(line)["id"].split("/")[3]) for line in text.splitlines()]


# list


@pytest.mark.parametrize("there", [True, False])
def test_a_state_folder_without_outboxes_is_no_error(
    state: Path, there: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if there:
        state.mkdir()
    assert outbox(state, "list") == 0
    assert "none. Nothing waits here" in capsys.readouterr().out
    assert listed(state, capsys) == []


def test_the_list_says_what_waits_since_when_and_what_was_rejected(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(number) for number in range(25)])
    reject(path, delivery(100), delivery(101))
    change(path, "UPDATE waiting SET monotonic_s = monotonic_s - 7200 WHERE first = 1")
    assert outbox(state, "list") == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("yard/mqtt-1 "))
    assert "2026-01-01T00:00:00.000Z (2 h 0 min)" in row
    assert "2026-01-01T00:00:24.000Z (0 s)" in row
    assert row.endswith("does not run")
    assert "vedette outbox replay yard/mqtt-1 --rejected" in out
    (one,) = listed(state, capsys)
    assert (one["agent"], one["sink"], one["waiting"], one["rejected"]) == ("yard", "mqtt-1", 25, 2)
    assert one["size_bytes"] > 0
    assert 7200 <= one["oldest"]["waits_s"] < 7300


def test_across_a_reboot_the_age_is_told_by_the_wall_clock_where_that_was_right_and_else_by_the_uptime(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SystemClock()
    fill(path, [delivery(1)])
    change(path, "UPDATE waiting SET boot_id = 'another', monotonic_s = 5, wall_s = ?", clock.wall() - 1e9)
    (one,) = listed(state, capsys)
    expected = 1e9 if clock.synchronized() else clock.now()
    assert one["oldest"]["waits_s"] == pytest.approx(expected, abs=60)
    change(path, "UPDATE waiting SET wall_s = NULL")
    (one,) = listed(state, capsys)
    assert one["oldest"]["waits_s"] == pytest.approx(clock.now(), abs=60)


def test_nothing_waits_is_said_plainly(state: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path, [])
    assert outbox(state, "list") == 0
    assert "Nothing waits." in capsys.readouterr().out


def test_the_list_tells_an_agent_that_runs_and_does_not_disturb_its_lock(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(1)])
    fill(path.with_name("csv-1.db"), [delivery(1)])
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"mine\n"
        runs = {each["sink"]: each["agent_runs"] for each in listed(state, capsys)}
        assert outbox(state, "list") == 0
        out = capsys.readouterr().out
        other.communicate(b"")
    assert runs == {"csv-1": False, "mqtt-1": True}
    assert "runs without this sink" in next(line for line in out.splitlines() if line.startswith("yard/csv-1"))
    assert "journalctl" in out
    assert not any(each["agent_runs"] for each in listed(state, capsys))


def test_a_damaged_file_that_was_moved_aside_is_listed(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(1)])
    path.rename(path.with_name("mqtt-1.db.damaged-1"))
    (one,) = listed(state, capsys)
    assert one["waiting"] == 0
    assert [Path(each["path"]).name for each in one["damaged_files"]] == ["mqtt-1.db.damaged-1"]


def test_a_file_that_cannot_be_read_is_said_and_the_others_are_listed(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(1)])
    path.with_name("csv-1.db").write_bytes(b"no database at all " * 100)
    assert outbox(state, "list") == 1
    out = capsys.readouterr().out
    assert "csv-1.db cannot be read: file is not a database" in out
    assert "2026-01-01T00:00:01" in out


def test_without_state_the_users_own_folder_is_looked_into(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    own = tmp_path / "vedette" / "outbox" / "yard" / path.name
    fill(own, [delivery(1)])
    assert cli.main(["outbox", "list"]) == 0
    assert str(tmp_path / "vedette") in capsys.readouterr().out


# Names


def test_an_unknown_name_is_answered_with_what_there_is_and_the_nearest(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(1)])
    assert outbox(state, "export", "mqt-1") == 1
    said = capsys.readouterr().err
    assert "there is no such outbox" in said
    assert "yard/mqtt-1; did you mean mqtt-1?" in said


def test_with_two_agents_a_sink_needs_its_agents_name(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(1)])
    fill(state / "outbox" / "barn" / "mqtt-1.db", [delivery(2)])
    assert outbox(state, "export", "mqtt-1") == 1
    assert "say which: barn/mqtt-1, yard/mqtt-1" in capsys.readouterr().err
    assert outbox(state, "export", "barn/mqtt-1") == 0
    assert exported(capsys.readouterr().out) == [2]


# export


def test_an_export_writes_the_records_in_order_and_takes_nothing_out(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(number) for number in range(1000)], each=7)
    assert outbox(state, "export", "mqtt-1") == 0
    out = capsys.readouterr().out
    assert out.encode().splitlines() == [item.body for item in waiting(path)]
    assert exported(out) == list(range(1000))


def test_an_export_of_what_was_rejected(state: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path, [delivery(1)])
    reject(path, delivery(2), delivery(3))
    assert outbox(state, "export", "mqtt-1", "--rejected") == 0
    assert exported(capsys.readouterr().out) == [2, 3]


def test_what_is_whole_in_a_damaged_group_is_got_out_and_said_to_be_in_doubt(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = pack([Entry(number, delivery(number, padding=500)) for number in range(40)])
    blob = bytearray(group.blob)
    blob[len(blob) // 2 : len(blob) // 2 + 100] = os.urandom(100)
    fill(path, [delivery(100)])
    change(path, "INSERT INTO damaged(body) VALUES(?)", bytes(blob))
    assert outbox(state, "export", "mqtt-1", "--damaged") == 0
    said = capsys.readouterr()
    found = exported(said.out)
    assert found == list(range(len(found)))
    assert 10 <= len(found) < 40
    assert f"1 group damaged: {len(found)} records got out of it, in which a figure may be wrong" in said.err
    change(path, "DELETE FROM damaged")
    change(path, "INSERT INTO damaged(body) VALUES(?)", b"\x00")
    assert outbox(state, "export", "mqtt-1", "--damaged") == 0
    assert capsys.readouterr().out == ""


def test_a_file_is_written_whole_and_never_over_another(
    state: Path, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(number) for number in range(30)])
    target = tmp_path / "rescued.jsonl"
    assert outbox(state, "export", "mqtt-1", "--to", target) == 0
    assert capsys.readouterr().out == f"30 records of yard/mqtt-1 in {target}\n"
    assert exported(target.read_text()) == list(range(30))
    target.write_text("mine")
    assert outbox(state, "export", "mqtt-1", "--to", target) == 1
    assert "exists already and stays as it is" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert outbox(state, "export", "mqtt-1", "--to", tmp_path / "absent" / "f.jsonl") == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
    assert list(tmp_path.glob("*.part")) == []


def test_output_to_head_is_no_error_and_a_full_disk_is(state: Path, path: Path) -> None:
    fill(path, [delivery(number, padding=500) for number in range(1000)])
    command = f"{sys.executable} -m agent outbox export mqtt-1 --state {state}"
    head = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -n 1"], capture_output=True, text=True, check=False
    )
    assert (head.returncode, head.stderr, exported(head.stdout)) == (0, "", [0])
    full = subprocess.run(["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True, check=False)
    assert (full.returncode, full.stderr) == (1, "the output cannot be written: No space left on device\n")


def test_of_a_file_with_damaged_pages_what_can_be_read_is_exported(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(number, padding=100) for number in range(2000)])
    damaged = path.rename(path.with_name("mqtt-1.db.damaged-1"))
    content = bytearray(damaged.read_bytes())
    for middle in (len(content) // 3, len(content) // 2):
        start = middle // 512 * 512
        content[start : start + 4096] = os.urandom(4096)
    damaged.write_bytes(content)
    assert outbox(state, "export", damaged) == 0
    said = capsys.readouterr()
    found = exported(said.out)
    assert found == sorted(set(found))
    assert 1800 < len(found) < 2000
    assert "unreadable" in said.err or "damaged" in said.err


@pytest.mark.parametrize("content", [b"no database " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_of_which_nothing_can_be_read_is_said_to_be_so(
    content: bytes, state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [])
    damaged = path.with_name("mqtt-1.db.damaged-1")
    damaged.write_bytes(content)
    assert outbox(state, "export", damaged) == 1
    assert "read" in capsys.readouterr().err


# replay


def test_what_was_rejected_waits_again_at_the_end_and_is_rejected_no_more(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(number) for number in range(3)])
    reject(path, delivery(10), delivery(11, kind=Kind.EVENT))
    assert outbox(state, "replay", "mqtt-1", "--rejected") == 0
    assert "2 records of what yard/mqtt-1 rejected put back" in capsys.readouterr().out
    assert numbers(waiting(path)) == [0, 1, 2, 10, 11]
    assert [item.kind for item in waiting(path)][-2:] == [Kind.RESULT, Kind.EVENT]
    assert table_numbers(path, "rejected") == []


def test_what_waits_already_is_not_put_there_twice(
    state: Path, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(number) for number in range(5)])
    lines = [delivery(number).body for number in (3, 4, 5, 6, 6)]
    file = tmp_path / "rescued.jsonl"
    file.write_bytes(b"\n".join([*lines, delivery(7, kind=Kind.EVENT).body]))
    assert outbox(state, "replay", "mqtt-1", file) == 0
    assert "3 records of" in (said := capsys.readouterr().out)
    assert "3 waited already, or came twice" in said
    assert numbers(waiting(path)) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert waiting(path)[-1].kind is Kind.EVENT
    assert outbox(state, "replay", "mqtt-1", file) == 0
    assert numbers(waiting(path)) == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b'{"schema": "vedette.result/9", "id": "a", "camera": "b"}', b'{"schema": "vedette.result/1"}'],
)
def test_a_line_that_is_no_record_is_named_and_nothing_is_put_back(
    line: bytes, state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(0)])
    file = state / "rescued.jsonl"
    file.write_bytes(b"\n".join([delivery(1).body, line, delivery(2).body]))
    assert outbox(state, "replay", "mqtt-1", file) == 1
    assert f"{file}, line 2: " in capsys.readouterr().err
    assert numbers(waiting(path)) == [0]


def test_an_export_that_is_replayed_elsewhere_is_the_same_to_the_byte(state: Path, path: Path, tmp_path: Path) -> None:
    fill(path, [delivery(number, kind=list(Kind)[number % 2]) for number in range(500)])
    other = path.with_name("webhook-1.db")
    fill(other, [])
    assert outbox(state, "export", "mqtt-1", "--to", tmp_path / "all.jsonl") == 0
    assert outbox(state, "replay", "webhook-1", tmp_path / "all.jsonl") == 0
    assert waiting(other) == waiting(path)


def test_what_waits_for_another_sink_is_copied_from_there(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(number) for number in range(20)])
    lock = path.with_name("webhook-1.lock")
    lock.touch()
    assert outbox(state, "replay", "webhook-1", "--from", "mqtt-1") == 0
    assert "vedette outbox purge yard/mqtt-1" in capsys.readouterr().out
    assert numbers(waiting(path.with_name("webhook-1.db"))) == numbers(waiting(path)) == list(range(20))
    assert outbox(state, "replay", "mqtt-1", "--from", "mqtt-1") == 1


def test_of_a_damaged_file_the_whole_groups_are_put_back(state: Path, path: Path) -> None:
    fill(path, [delivery(number) for number in range(50)])
    change(path, "UPDATE waiting SET body = x'00' WHERE first = 21")
    damaged = path.rename(path.with_name("mqtt-1.db.damaged-1"))
    assert outbox(state, "replay", "mqtt-1", damaged) == 0
    assert numbers(waiting(path)) == [*range(20), *range(30, 50)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_what_root_makes_belongs_to_the_agents_user(state: Path, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.with_suffix(".lock").touch()
    os.chown(path.parent, 12345, 12346)
    file = tmp_path / "rescued.jsonl"
    file.write_bytes(delivery(1).body)
    assert outbox(state, "replay", "mqtt-1", file) == 0
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM damaged")
        owners = {each.name: (each.stat().st_uid, each.stat().st_gid) for each in path.parent.glob("*.db*")}
    assert set(owners) == {"mqtt-1.db", "mqtt-1.db-wal", "mqtt-1.db-shm"}
    assert set(owners.values()) == {(12345, 12346)}


def test_a_replay_without_a_source_shows_the_usage(state: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path, [delivery(0)])
    with pytest.raises(SystemExit) as ended:
        outbox(state, "replay", "mqtt-1")
    assert ended.value.code == 2
    assert "SINK (--rejected | --from OTHERSINK | FILE)" in capsys.readouterr().err


def test_an_agent_sends_what_was_put_back_and_never_a_part_of_it(path: Path) -> None:
    clock = SystemClock()
    agent = Outbox(Store(path, clock, "boot"), Limits(), clock)
    agent.claim()
    agent.verify()
    seen: list[int] = []

    def source_seen_by_the_agent(number: int) -> Delivery:
        agent._try(agent._tidy)
        seen.extend(numbers(agent.peek(128, 0)))
        return delivery(number, padding=2000)

    store = Store(path, clock, "boot")
    done = replaying.put_back(store, lambda: map(source_seen_by_the_agent, range(1000)))
    store.close()
    assert done.put_back == 1000
    assert seen == []
    agent._try(agent._tidy)
    found: list[int] = []
    while batch := agent.peek(128, 0):
        agent.settle(batch, [Outcome.ACCEPTED] * len(batch))
        found += numbers(batch)
    assert found == list(range(1000))
    agent.close()


def test_a_replay_that_was_cut_off_is_hidden_told_of_and_cleared_by_the_next(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(number) for number in range(5)])
    store = Store(path, SystemClock(), "boot")
    with store.transaction():
        store.hide_from(1000)
        store.append([pack([Entry(1000, delivery(50))])])
    store.release()
    assert numbers(waiting(path)) == list(range(5))
    (one,) = listed(state, capsys)
    assert (one["waiting"], one["unfinished_replay"]) == (5, True)
    fill(path, [delivery(5)])
    reject(path, delivery(6))
    assert outbox(state, "replay", "mqtt-1", "--rejected") == 0
    assert numbers(waiting(path)) == list(range(7))
    (one,) = listed(state, capsys)
    assert not one["unfinished_replay"]


def test_what_comes_back_after_a_purge_is_not_taken_for_what_the_agent_had_in_hand(state: Path, path: Path) -> None:
    fill(path, [delivery(number) for number in range(20)])
    clock = SystemClock()
    agent = Outbox(Store(path, clock, boot_id()), Limits(), clock)
    agent.claim()
    agent.verify()
    reject(path, *(delivery(number) for number in range(100, 120)))
    batch = agent.peek(128, 0)
    assert len(batch) == 20
    assert outbox(state, "purge", "mqtt-1", "--yes") == 0
    assert outbox(state, "replay", "mqtt-1", "--rejected") == 0
    agent.settle(batch, [Outcome.ACCEPTED] * len(batch))
    assert numbers(waiting(path)) == list(range(100, 120))


# purge


def test_a_purge_says_how_much_and_wants_a_yes(state: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path, [delivery(number) for number in range(25)])
    assert outbox(state, "purge", "mqtt-1") == 1
    assert "25 waiting records would be thrown away for good; add --yes" in capsys.readouterr().err
    assert len(waiting(path)) == 25
    assert outbox(state, "purge", "mqtt-1", "--yes") == 0
    assert capsys.readouterr().out == "yard/mqtt-1: 25 waiting records thrown away\n"
    assert waiting(path) == []
    assert outbox(state, "purge", "mqtt-1", "--yes") == 0
    assert "nothing of that" in capsys.readouterr().out


def test_a_purge_of_one_camera_leaves_the_others_in_order(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(number, camera=("gate", "door")[number % 2]) for number in range(40)])
    assert outbox(state, "purge", "mqtt-1", "--camera", "gait", "--yes") == 0
    assert "what waits is of door, gate" in capsys.readouterr().out
    assert outbox(state, "purge", "mqtt-1", "--camera", "gate", "--yes") == 0
    assert "20 waiting records thrown away" in capsys.readouterr().out
    assert numbers(waiting(path)) == list(range(1, 40, 2))


def test_a_purge_of_what_is_old_leaves_what_is_not(state: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path, [delivery(number) for number in range(40)])
    change(path, "UPDATE waiting SET monotonic_s = monotonic_s - 7200 WHERE first <= 20")
    assert outbox(state, "purge", "mqtt-1", "--older-than", "3h", "--yes") == 0
    assert "nothing of that" in capsys.readouterr().out
    assert outbox(state, "purge", "mqtt-1", "--older-than", "1h", "--yes") == 0
    assert numbers(waiting(path)) == list(range(20, 40))
    with pytest.raises(SystemExit):
        outbox(state, "purge", "mqtt-1", "--older-than", "soon")
    assert "write 90s, 15m, 12h, 7d or 2w" in capsys.readouterr().err


def test_a_purge_of_what_was_rejected_or_is_damaged_leaves_what_waits(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(1)])
    reject(path, delivery(2), delivery(3))
    change(path, "INSERT INTO damaged(body) VALUES(x'00')")
    for suffix in ("", "-wal"):
        path.with_name(f"mqtt-1.db.damaged-1{suffix}").write_bytes(b"?")
    assert outbox(state, "purge", "mqtt-1", "--rejected", "--camera", "gate", "--yes") == 1
    assert outbox(state, "purge", "mqtt-1", "--rejected", "--damaged", "--yes") == 0
    assert "2 rejected records and 1 damaged group and 1 damaged file thrown away" in capsys.readouterr().out
    assert numbers(waiting(path)) == [1]
    (one,) = listed(state, capsys)
    assert (one["rejected"], one["damaged_groups"], one["damaged_files"]) == (0, 0, [])
    assert not path.with_name("mqtt-1.db.damaged-1-wal").exists()


@pytest.mark.parametrize(("answer", "left"), [("n\n", 5), ("\n", 5), ("y\n", 0)])
def test_on_a_terminal_a_purge_asks(answer: str, left: int, state: Path, path: Path) -> None:
    fill(path, [delivery(number) for number in range(5)])
    parent, child = os.openpty()
    os.write(parent, answer.encode())
    command = [sys.executable, "-m", "agent", "outbox", "purge", "mqtt-1", "--state", str(state)]
    done = subprocess.run(command, stdin=child, stdout=subprocess.PIPE, stderr=child, check=False)
    os.close(child)
    assert b"5 waiting records would be thrown away for good. Go on? [y/N]" in os.read(parent, 10_000)
    os.close(parent)
    assert (len(waiting(path)), done.returncode) == (left, 1 if left else 0)


# Two at a time


def test_two_commands_do_not_change_an_outbox_at_once(
    state: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, [delivery(1)])
    with path.with_suffix(".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert outbox(state, "purge", "mqtt-1", "--yes") == 1
    assert "another `vedette outbox` changes it now" in capsys.readouterr().err
    assert len(waiting(path)) == 1


# The reader


def test_a_reader_misses_nothing_of_groups_that_are_joined_while_it_reads(path: Path) -> None:
    fill(path, [delivery(number) for number in range(640)], each=1)
    store = Store(path, SystemClock(), "boot")
    found: list[int] = []
    with contextlib.closing(Reader(path)) as reader:
        for place, (_, entries) in enumerate(reader.entries("waiting")):
            found += numbers([entry.delivery for entry in entries or ()])
            if place % 20 == 0:
                with store.transaction():
                    rows = list(store._rows(max(0, place - 5), 20))
                    store._rewrite(rows, lambda each: each)
    store.release()
    assert found == list(range(640))
