"""A picture's name: in order, unique, back to its result, and told apart from every name that is not ours."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.test_doubt import a_result

from agent.snapshots import caption
from agent.snapshots.caption import Caption, caption_of, files, parsed

BOOT = "1f0c2e5a-0b1d-4c6e-9f00-1234567890ab"
NAME = "000000042-20270115T080007Z-1f0c2e5a-7-0"


def test_a_name_says_its_place_the_time_and_the_way_to_the_result() -> None:
    made = caption_of(42, a_result(seq=7), BOOT)
    assert made.name == NAME
    unsure = caption_of(42, replace(a_result(seq=7), clock_synchronized=False), BOOT)
    assert unsure.name == "000000042-20270115T080007Z-unsynced-1f0c2e5a-7-0"


@pytest.mark.parametrize(
    ("boot", "letters"), [("", "unknown"), ("../../x", "x"), ("unknown", "unknown"), (BOOT, "1f0c2e5a")]
)
def test_a_boot_id_of_any_kind_becomes_letters(boot: str, letters: str) -> None:
    assert caption_of(1, a_result(), boot).boot == letters


@given(
    number=st.integers(1, 10**12),
    wall_s=st.integers(0, 4_000_000_000),
    synced=st.booleans(),
    boot=st.from_regex(r"[0-9a-f]{8}|unknown", fullmatch=True),
    seq=st.integers(0, 10**15),
    revision=st.integers(0, 9),
)
def test_every_name_is_read_back(*, number: int, wall_s: int, synced: bool, boot: str, seq: int, revision: int) -> None:
    made = Caption(number, float(wall_s), synced, boot, seq, revision)
    for file in files(made.name):
        known = parsed(file)
        assert known is not None
        assert (known.caption, known.half) == (made, file.endswith(".new"))


@given(st.lists(st.tuples(st.integers(1, 999_999_999), st.integers(0, 4_000_000_000)), min_size=2))
def test_names_sort_by_their_number_whatever_the_time(of: list[tuple[int, int]]) -> None:
    made = [Caption(number, float(wall_s), synced=True, boot="b", seq=1, revision=0) for number, wall_s in of]
    by_name = sorted(made, key=lambda each: each.name)
    assert [each.number for each in by_name] == sorted(number for number, _ in of)


@pytest.mark.parametrize(
    "name",
    [
        "holiday.jpg",
        "000000042.jpg",
        f"{NAME}",
        f"{NAME}.png",
        f"{NAME}.jpg.bak",
        f"copy of {NAME}.jpg",
        f"{NAME}.JPG",
        f"{NAME}.jpg\n",
        f"42{NAME[9:]}.jpg",
        f"{NAME.replace('0115', '1315')}.jpg",
        f"{NAME.replace('000000042', '٠٠٠٠٠٠٠٤٢')}.jpg",
        f"0{NAME}.jpg",
        f"{NAME.replace('-7-', '-07-')}.jpg",
    ],
)
def test_a_name_that_is_only_like_ours_is_not_ours(name: str) -> None:
    assert parsed(name) is None
    assert parsed(f"{NAME}.jpg") is not None


def test_the_record_is_written_before_the_picture_that_it_goes_with() -> None:
    assert caption.FORMS.index(caption.RECORD) == 0
    assert re.findall(r"\.\w+$", caption.BOXES) == [".jpg"]
