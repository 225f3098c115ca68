"""The model of the medium: what is certain, and what may be lost with the power."""

from pathlib import Path

from faults.medium import Medium, Record, Survival

ROOT = Path("/state")
NONE, ALL = Survival("none"), Survival("all")


def record(op: str, inode: int = 1, at: int = 0, data: bytes = b"") -> Record:
    return Record(op, inode, at, 0.0, data)


def made(name: str, inode: int = 1) -> Record:
    return record("O", inode, 1, f"{ROOT}/{name}".encode())


def folder_synced(after: int) -> Record:
    return record("F", 99, after)


def left(tmp_path: Path, survival: Survival, *records: Record) -> dict[str, bytes]:
    medium, target = Medium(ROOT), tmp_path / f"{survival.how}-{survival.seed}-{len(records)}"
    for each in records:
        medium.apply(each)
    medium.rebuild(target, survival)
    return {path.name: path.read_bytes() for path in target.rglob("*")} if target.exists() else {}


def test_a_file_that_was_never_synced_is_not_there(tmp_path: Path) -> None:
    life = (made("f"), record("W", data=b"hello"))
    assert left(tmp_path, NONE, *life) == {}
    assert left(tmp_path, ALL, *life) == {"f": b"hello"}


def test_a_sync_makes_what_was_written_before_it_certain_and_the_name_of_the_file(tmp_path: Path) -> None:
    life = (made("f"), record("W", data=b"hello"), record("F", at=2), record("W", at=5, data=b" world"))
    assert left(tmp_path, NONE, *life) == {"f": b"hello"}


def test_what_was_written_while_a_sync_went_on_is_not_certain(tmp_path: Path) -> None:
    life = (made("f"), record("W", data=b"a"), record("W", at=1, data=b"b"), record("F", at=2))
    assert left(tmp_path, NONE, *life) == {"f": b"a"}


def test_a_synced_folder_has_the_name_but_not_the_content(tmp_path: Path) -> None:
    assert left(tmp_path, NONE, made("f"), record("W", data=b"hello"), folder_synced(2)) == {"f": b""}


def test_a_removal_that_was_not_synced_may_be_undone(tmp_path: Path) -> None:
    life = (made("f"), record("W", data=b"x"), record("F", at=2), record("U", data=f"{ROOT}/f".encode()))
    assert left(tmp_path, NONE, *life) == {"f": b"x"}
    assert left(tmp_path, ALL, *life) == {}
    assert left(tmp_path, NONE, *life, folder_synced(4)) == {}


def test_a_renaming_is_whole_or_not_at_all(tmp_path: Path) -> None:
    renamed = record("R", data=f"{ROOT}/f\n{ROOT}/g".encode())
    life = (made("f"), record("W", data=b"x"), record("F", at=2), renamed)
    found = [left(tmp_path, Survival("some", seed), *life) for seed in range(20)]
    assert {"f": b"x"} in found
    assert {"g": b"x"} in found
    assert all(len(names) == 1 for names in found)


def test_names_survive_in_the_order_they_were_made(tmp_path: Path) -> None:
    life = (made("a", 1), made("b", 2), made("c", 3), record("F", 2, 3))
    assert set(left(tmp_path, NONE, *life)) == {"a", "b"}


def test_a_write_is_torn_at_sectors_and_a_hole_is_zeros(tmp_path: Path) -> None:
    life = (made("f"), folder_synced(1), record("W", data=b"x" * 2048))
    found = {left(tmp_path, Survival("some", seed), *life)["f"] for seed in range(40)}
    assert len(found) > 4
    for content in found:
        sectors = [content[at : at + 512] for at in range(0, len(content), 512)]
        assert all(sector in (b"x" * 512, bytes(512)) for sector in sectors)


def test_torn_writes_survive_as_a_beginning(tmp_path: Path) -> None:
    life = (made("f"), folder_synced(1), *(record("W", at=512 * n, data=bytes([n]) * 512) for n in range(4)))
    whole = b"".join(bytes([n]) * 512 for n in range(4))
    found = {left(tmp_path, Survival("torn", seed), *life)["f"] for seed in range(40)}
    assert all(whole.startswith(content) for content in found)
    assert len(found) > 2


def test_a_truncation_that_was_not_synced_is_undone(tmp_path: Path) -> None:
    life = (made("f"), record("W", data=b"hello"), record("F", at=2), record("T", at=1))
    assert left(tmp_path, NONE, *life) == {"f": b"hello"}
    assert left(tmp_path, ALL, *life) == {"f": b"h"}


def test_a_name_that_is_used_again_has_the_new_content_only_when_that_was_synced(tmp_path: Path) -> None:
    old = (made("f", 1), record("W", 1, data=b"old"), record("F", 1, 2), record("U", data=f"{ROOT}/f".encode()))
    new = (made("f", 2), record("W", 2, data=b"new"))
    assert left(tmp_path, NONE, *old, *new) == {"f": b"old"}
    assert left(tmp_path, NONE, *old, *new, record("F", 2, 6)) == {"f": b"new"}
