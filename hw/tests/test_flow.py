"""The flow from RTL to area: who owns a cell, what is cached, what fails, and what `small` may take."""

from __future__ import annotations

import json
import re
from collections import Counter as Counts
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import BASE_85F, SMALL
from hw.core import Core
from hw.flow import pnr
from hw.flow.area import by_block, subtotal
from hw.flow.devices import DEVICES, HOMES
from hw.flow.places import places
from hw.flow.tools import NEAR, ToolError, yosys
from hw.near import near
from hw.verilog import to_rtlil

ROOT = Path(__file__).parents[2]
ECP5 = DEVICES["lfe5u-25f"]

#: What synthesis for ECP5 may make of `small`, and no multiplier: tables (LUT4 + 2 CCU2C + 4 TRELLIS_DPR16X4) and DP16KD.
TABLES, MEMORIES = 15_250, 85


def cell(kind: str, out: int, *inputs: int, src: str = "") -> dict:
    """A cell of yosys' JSON with one output."""
    return {"type": kind, "attributes": {"src": src} if src else {},
            "connections": {"Q": [out], **{f"I{i}": [x] for i, x in enumerate(inputs)}},
            "port_directions": {"Q": "output", **{f"I{i}": "input" for i in range(len(inputs))}}}


def test_tables_belong_to_what_they_feed() -> None:
    cells = {
        "flop_a": cell("TRELLIS_FF", 1, 10, src="library.v:3|top.machine.a"),
        "flop_b": cell("TRELLIS_FF", 2, 11, src="top.machine.b|library.v:3"),
        "near_a": cell("LUT4", 10, 12, 1), "near_b": cell("LUT4", 11, 2), "before": cell("LUT4", 12, 1, 2),
        "both": cell("LUT4", 13, 1), "to_a": cell("LUT4", 14, 13), "loop": cell("TRELLIS_FF", 3, 14, src="top.machine.a"),
        "machine.b.ram.0": cell("DP16KD", 4, 2), "machine.b": {**cell("$scopeinfo", 5), "connections": {}},
    }
    found = by_block({"modules": {"top": {"cells": cells}}}, "top")
    assert found["top.machine.a"] == {"TRELLIS_FF": 2, "LUT4": 4}
    assert found["top.machine.b"] == {"TRELLIS_FF": 1, "LUT4": 1, "DP16KD": 1}
    assert subtotal(found, "top.machine") == {"TRELLIS_FF": 3, "LUT4": 5, "DP16KD": 1}


def gowin(kind: str, **ports: object) -> dict:
    """A cell of a GW2A; ports that it makes are F, SUM, COUT, Q and DO."""
    return {"type": kind, "connections": {name: x if isinstance(x, list) else [x] for name, x in ports.items()},
            "port_directions": {name: "output" if name in ("F", "SUM", "COUT", "Q", "DO") else "input" for name in ports}}


@pytest.mark.parametrize(("expected", "cells"), [
    (1, [gowin("LUT2", I0=1, I1=2, F=3), gowin("DFFE", D=3, CE=4, Q=5)]),  # the flip-flop stands behind its table
    (3, [gowin("LUT1", I0=1, F=3), gowin("DFF", D=3, Q=5), gowin("DFF", D=3, Q=6), gowin("DFF", D=6, Q=7)]),
    (1, [gowin("SDPB", DO=[1, 2]), gowin("DFF", D=2, Q=3)]),
    (4, [gowin("ALU", CIN="0", SUM=10, COUT=11), gowin("ALU", CIN=11, SUM=12, COUT=13), gowin("DFF", D=12, Q=14)]),
    (7, [gowin("ALU", CIN="0", SUM=10, COUT=11), gowin("ALU", CIN=11, SUM=12, COUT=13), gowin("ALU", CIN=13, SUM=14, COUT=15),
         gowin("LUT1", I0=15, F=16)]),  # one before three, one behind them, an even number; the table
    (4, [gowin("ALU", CIN="0", SUM=10, COUT=11), gowin("ALU", CIN="0", SUM=12, COUT=13)]),
    (8, [gowin("RAM16SDP4", DO=[1, 2, 3, 4])]),
])
def test_places_of_a_gw2a(expected: int, cells: list[dict]) -> None:
    netlist = {"modules": {"top": {"cells": {f"cell{i}": x for i, x in enumerate(cells)}}}}
    assert places(netlist, "top") == expected


def test_what_no_placer_can_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pnr, "Accelerator", Counter)
    with pytest.raises(ToolError, match=r"GW2AR-18 has 9 places .* takes at least \d\d: nothing can place it.*fewer lanes"):
        pnr.place_and_route(SMALL, replace(DEVICES["gw2ar-18"], places=9), tmp_path, megahertz=27, seed=1)
    with pytest.raises(ToolError, match=r"LFE5U-25F has 56 blocks of memory, this takes 57: nothing .*smaller memories"):
        pnr.check_room({"memories": 57}, DEVICES["lfe5u-25f"])
    pnr.check_room({"memories": 56}, DEVICES["lfe5u-25f"])


class Counter(wiring.Component):
    """Something small to synthesise."""

    def __init__(self, _: object = None) -> None:
        super().__init__({"step": In(4), "count": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.count.eq(self.count + self.step)
        return m


class Copies(wiring.Component):
    """Registers that hold the same."""

    def __init__(self, _: object = None) -> None:
        super().__init__({"word": In(2), "use": In(1), "out": Out(24)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        copies = near(m, self.word, 24, "word")
        with m.If(self.use):
            m.d.sync += [self.out[lane].eq(copy[0] ^ copy[1]) for lane, copy in enumerate(copies)]
        return m


def test_copies_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 lanes have three copies of a word of 2 bits, and three registers that are made from one each; all else is one."""
    monkeypatch.setattr(pnr, "Accelerator", Copies)
    report = pnr.place_and_route(SMALL, ECP5, tmp_path, megahertz=100, seed=1, route=False)
    assert report["synthesis"]["cells"]["TRELLIS_FF"] == 3 * 2 + 3


def test_all_copies_are_found(tmp_path: Path) -> None:
    """Also those that are wired to a block's port and bear its name."""
    dut = Core(SMALL)
    text = to_rtlil(dut, "top", ECP5)
    (tmp_path / "design.il").write_text(text)
    yosys(["read_rtlil design.il", "proc", f"tee -q -o found.txt select -list {NEAR}"], tmp_path)
    copies = set(re.findall(r"wire .*_near\d+$", text, re.MULTILINE))
    assert len(copies) == len((tmp_path / "found.txt").read_text().split()) > 4


class Resets(wiring.Component):
    """Registers that go back to 0 together: many, and few."""

    def __init__(self, _: object = None) -> None:
        super().__init__({"word": In(160), "clear": In(2), "out": Out(200)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        many, few = Signal(160), Signal(40)
        m.d.sync += [many.eq(self.word), few.eq(self.word[:40])]
        with m.If(self.clear[0]):
            m.d.sync += many.eq(0)
        with m.If(self.clear[1]):
            m.d.sync += few.eq(0)
        m.d.comb += self.out.eq(Cat(many, few))
        return m


@pytest.mark.parametrize(("config", "name", "groups"), [(BASE_85F, "lfe5u-85f", [160]), (SMALL, "lfe5u-25f", [40, 160])])
def test_a_full_chip_has_no_small_groups_with_a_reset(config, name, groups, tmp_path, monkeypatch) -> None:
    """They get it through a table each; large ones have it at their own input everywhere."""
    monkeypatch.setattr(pnr, "Accelerator", Resets)
    pnr.place_and_route(config, DEVICES[name], tmp_path, megahertz=100, seed=1, route=False)
    cells = json.loads((tmp_path / "netlist.json").read_text())["modules"][pnr.TOP]["cells"].values()
    resets = Counts(x["connections"]["LSR"][0] for x in cells if x["type"] == "TRELLIS_FF")
    *found, _ = sorted(n for net, n in resets.items() if net != "0")  # the largest group is the harness
    assert found == groups


def test_tables_of_six_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For comparison with what is published of other chips."""
    monkeypatch.setattr(pnr, "Accelerator", Counter)
    report = pnr.place_and_route(SMALL, DEVICES["xc7"], tmp_path, megahertz=100, seed=1, route=False)["synthesis"]
    assert report["cells"]["FDRE"] == 8 and 4 <= report["luts"] <= 16


def test_nothing_runs_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pnr, "Accelerator", Counter)
    first = pnr.place_and_route(SMALL, ECP5, tmp_path, megahertz=100, seed=1, route=False)
    assert first["synthesis"]["cells"]["TRELLIS_FF"] == 8 and first["synthesis"]["memories"] == 0
    assert first["synthesis"]["harness"]["cells"]["TRELLIS_FF"] == 4 + 2 * 8

    def nothing(*_: object) -> float:
        raise AssertionError("a tool runs")

    monkeypatch.setattr(pnr, "yosys", nothing)
    assert pnr.place_and_route(SMALL, ECP5, tmp_path, megahertz=100, seed=1, route=False) == first


def test_a_tool_that_fails_is_named_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pnr, "Accelerator", Counter)
    monkeypatch.setattr(pnr, "synthesis_passes", lambda *_: ["no_such_pass"])
    with pytest.raises(ToolError, match=r"yosys failed .*yosys\.log.*\n.*no_such_pass"):
        pnr.place_and_route(SMALL, ECP5, tmp_path, megahertz=100, seed=1)
    assert "no_such_pass" in (tmp_path / "yosys.log").read_text()


def test_small_stays_within_its_budget() -> None:
    home, folder = HOMES["small"], ROOT / "build/small/pnr"
    report = pnr.place_and_route(SMALL, DEVICES[home], folder / home, megahertz=100, seed=1, route=False)["synthesis"]
    assert report["luts"] <= TABLES and report["memories"] <= MEMORIES, f"{report['luts']} tables, {report['memories']} memories"
    assert not [x for x in report["cells"] if "MULT" in x]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, device in DEVICES.items() if device.place])
def test_every_chip_can_be_placed_and_routed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pnr, "Accelerator", Counter)
    route = pnr.place_and_route(SMALL, DEVICES[name], tmp_path, megahertz=20, seed=1)["route"]
    assert 20 < route["mhz"] < 1000 and route["critical_path"]
