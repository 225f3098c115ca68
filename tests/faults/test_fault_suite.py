"""A seeded part of the fault suite: nothing accepted is lost, and what comes twice was in flight."""

from pathlib import Path

import pytest
from faults import shim
from faults.suite import CASES
from faults.table import World, table
from real import broker

SEED = 1


@pytest.mark.parametrize("name", CASES)
def test_every_obligation_is_met_after_the_faults(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    case = CASES[name]
    if case.needs_broker and broker.MISSING:
        pytest.skip(broker.REASON)
    if case.needs_library and shim.MISSING:
        pytest.skip(shim.REASON)
    them = request.getfixturevalue("preloaded" if case.needs_library else "plain")
    row = case.part(World(tmp_path, them, SEED))
    if not row.rounds and not row.faults:
        pytest.skip("; ".join(row.notes))
    assert not row.faults, f"{table([row])}\n" + "\n".join(row.faults[:10])
