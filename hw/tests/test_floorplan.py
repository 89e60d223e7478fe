"""Places of block RAMs on a chip that is nearly full."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import pytest

from golden.spec.config import BASE_85F, MEDIUM, SMALL
from hw.flow.devices import DEVICES
from hw.flow.floorplan import COLUMNS, ROUTER, ROWS, bel, floorplan, plan_of, write_places

#: Block RAMs of `base-85f`.
CELLS = [
    *(f"machine.linear.array.weights.bank{slot}_{first}.0.{i}" for slot, first, i in product(range(4), (0, 2), range(15))),
    *(f"machine.scratchpad.bank{core}_{tap}.0.{i}" for core, tap, i in product(range(4), range(2), range(4))),
    *(f"machine.scratchpad.residual.0.{i}" for i in range(15)), *(f"machine.hamming.counts.0.{i}" for i in range(22)),
    "machine.control.read_dma.fifo.storage.0.0", "machine.control.read_dma.fifo.storage.0.1",
]


def column_and_row(place: str) -> tuple[int, int]:
    """Numbers of a place, as nextpnr counts tiles."""
    column, row = re.findall(r"\d+", place)[:2]
    return int(column), int(row)


def test_each_has_a_place_of_its_own() -> None:
    places = floorplan(CELLS)
    assert sorted(places) == sorted(CELLS) and len(set(places.values())) == len(CELLS)
    assert set(places.values()) <= {bel(column, row) for column, row in product(range(COLUMNS), ROWS)}


def test_slots_that_are_added_lie_side_by_side() -> None:
    places = floorplan(CELLS)
    for first, i in product((0, 2), range(15)):
        (columns, rows) = zip(*(column_and_row(places[f"machine.linear.array.weights.bank{slot}_{first}.0.{i}"])
                                for slot in range(4)), strict=True)
        assert max(columns) - min(columns) <= 11 and len(set(rows)) == 1
        assert (rows[0] <= ROWS[1]) == (first == 0)


def test_more_than_the_chip_has_is_refused() -> None:
    with pytest.raises(ValueError, match="209 block RAMs for 208 places"):
        floorplan([*CELLS, *(f"machine.link.buffer.{i}" for i in range(209 - len(CELLS)))])


def test_which_machines_it_is_for() -> None:
    assert plan_of(BASE_85F, DEVICES["lfe5u-85f"]) and plan_of(MEDIUM, DEVICES["lfe5u-85f"])
    assert not plan_of(SMALL, DEVICES["lfe5u-85f"]) and not plan_of(MEDIUM, DEVICES["lfe5u-25f"])


def test_places_are_written(tmp_path: Path) -> None:
    path = tmp_path / "netlist.json"
    cells = {"a": {"type": "DP16KD", "attributes": {}}, "b": {"type": "LUT4", "attributes": {}}}
    path.write_text(json.dumps({"modules": {"top": {"cells": cells}}}))
    write_places(path, "top")
    module = json.loads(path.read_text())["modules"]["top"]
    written = module["cells"]
    assert written["a"]["attributes"] == {"BEL": floorplan(["a"])["a"]} and written["b"] == cells["b"]
    assert module["settings"] == ROUTER
