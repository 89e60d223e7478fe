"""Bitstreams: the same inputs give the same hash, a clock that is not met is an error, a small design is packed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from golden.spec.config import MICRO, PICO, Config
from golden.spec.link import ANSWER, CRC_BYTES, HEADER_BYTES, Kind, Status
from hw.__main__ import program
from hw.boards.catalog import BOARDS, BoardKind
from hw.boards.page import table
from hw.boards.pll import EcpPll, phase_steps
from hw.boards.top import BoardTop
from hw.flow import bitstream, ethernet_core, pnr
from hw.flow.bitstream import ClockError, design, make_bitstream
from hw.flow.tools import ToolError
from hw.link.board import Board
from hw.link.cobs import CobsDecoder, CobsEncoder
from hw.link.link import Site
from hw.link.uart import UartReceiver, UartTransmitter
from hw.memory.block_ram import AxiBlockRam
from hw.memory.sdram import SDRAM_32MB, AxiSdram
from hw.tests.bench import simulate
from sw.boards import BOARDS as PROGRAMMED

ULX3S, ECPIX5 = BOARDS["ulx3s-85f"], BOARDS["ecpix5-85f"]
NO_LITEETH = pytest.mark.skipif(find_spec("liteeth") is None, reason="no LiteEth: pip install -e '.[ethernet]'")
ROOT = Path(__file__).parents[2]


class Blink(Elaboratable):
    """A lamp behind a counter of 24 bits and the board's PLL."""

    def __init__(self, kind: BoardKind, build: str) -> None:
        self.kind, self.build = kind, build

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains += ClockDomain("sync")
        m.submodules.pll = pll = EcpPll(self.kind.input_hz, self.kind.vco_hz, self.kind.clock)
        m.submodules.oscillator = oscillator = io.Buffer("i", platform.request(platform.default_clk, 0, dir="-"))
        m.submodules.lamp = lamp = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.submodules.reset = ResetSynchronizer(~pll.locked)
        count = Signal(24, init=int(self.build[:4], 16))
        m.d.sync += count.eq(count + 1)
        m.d.comb += [pll.reference.eq(oscillator.i), ClockSignal().eq(pll.clock), lamp.o.eq(count[-1])]
        return m


class Slow(Blink):
    """The same with a product of two counters: too much for a cycle of 400 MHz."""

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        a, b = Signal(16), Signal(16)
        product = Signal(32)
        m.d.sync += [a.eq(a + 1), b.eq(b + a), product.eq(product ^ (a * b))]
        m.submodules.second = second = io.Buffer("o", platform.request("led", 1, dir="-"))
        m.d.comb += second.o.eq(product.xor())
        return m


class Foreign(Blink):
    """The same with a lamp behind a module in Verilog."""

    verilog = "module tiny(input clk, output reg [7:0] count); always @(posedge clk) count <= count + 1; endmodule\n"

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        count = Signal(8)
        platform.add_file("tiny.v", self.verilog)
        m.submodules.inner = inner = Module()
        inner.submodules.counter = Instance("tiny", i_clk=ClockSignal(), o_count=count)
        m.submodules.second = second = io.Buffer("o", platform.request("led", 1, dir="-"))
        m.d.comb += second.o.eq(count[-1])
        return m


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    """An empty folder of the test's own that the tools see."""
    path = ROOT / "build" / "test-bitstream" / request.node.name / "board"
    path.mkdir(parents=True, exist_ok=True)
    for file in path.iterdir():
        file.unlink()
    return path


def test_a_small_design_is_packed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = make_bitstream(ULX3S, folder, [1], Blink)
    data = (folder / "ulx3s-85f.bit").read_bytes()
    assert report["bytes"] == len(data) and b"LFE5U-85F" in data[:200]
    megahertz = ULX3S.clock / 1e6
    assert report["met"] and report["fmax_mhz"] > megahertz and report["flops"] >= 24 and report["memory_bytes"] == 32 << 20
    assert json.loads((folder / "bitstream.json").read_text()) == json.loads(json.dumps(report))
    row = f"| ulx3s-85f | LFE5U-85F | {ULX3S.config.name} | 32,768 KB SDRAM | {megahertz:g} | {report['fmax_mhz']:g} |"
    assert row in table(folder.parent)

    def pack_only(tool: str, *_: Any) -> None:
        assert tool == "yowasp-ecppack", f"{tool} runs"
        (folder / "ulx3s-85f.bit").write_bytes(data)

    monkeypatch.setattr(bitstream, "yosys", pack_only)
    monkeypatch.setattr(bitstream, "run", pack_only)
    assert make_bitstream(ULX3S, folder, [1], Blink) == report


def test_a_clock_that_is_not_met_is_an_error(folder: Path) -> None:
    (folder / "ulx3s-85f.bit").write_text("of another run")
    fast = replace(ULX3S, vco_hz=800_000_000, clock=400_000_000, baud=1_000_000)
    with pytest.raises(ClockError, match=r"no seed of 1 meets the clock \(.* of 400.* MHz\): no bitstream.*SEEDS"):
        make_bitstream(fast, folder, [1], Slow)
    assert not (folder / "ulx3s-85f.bit").exists() and not json.loads((folder / "bitstream.json").read_text())["met"]


def test_the_fastest_seed_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {1: 70.0, 2: 90.0, 3: 90.0, 4: 50.0}

    def route(kind: BoardKind, folder: Path, build: str, place: list[str], seed: int) -> dict[str, Any]:
        return {"file": f"seed{seed}.config", "clocks": {}, "reached": found[seed] / 60, "fmax_mhz": found[seed],
                "utilisation": {}, "critical_path": []}

    def pack(tool: str, command: list[str], folder: Path, log: Path) -> float:
        (folder / command[-1]).write_text(command[-2])
        return 0.0

    monkeypatch.setattr(bitstream, "_route", route)
    monkeypatch.setattr(bitstream, "run", pack)
    report = make_bitstream(ULX3S, folder, found, Blink)
    assert report["seed"] == 2 and report["seeds"] == found
    assert (folder / "ulx3s-85f.bit").read_text() == "seed2.config"


def test_a_tool_that_fails_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitstream, "synthesis_passes", lambda *_, **__: ["no_such_pass"])
    with pytest.raises(ToolError, match=r"yosys failed"):
        make_bitstream(ULX3S, folder, [1], Blink)


def test_a_module_in_verilog(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is synthesised with the rest and counted where it is named, and what it holds makes another build."""
    monkeypatch.setattr(bitstream, "_route", lambda *_: {
        "file": "none", "clocks": {}, "reached": 2, "fmax_mhz": 90.0, "utilisation": {}, "critical_path": []})
    monkeypatch.setattr(bitstream, "run", lambda tool, command, folder, log: (folder / command[-1]).write_text(""))
    report = make_bitstream(ULX3S, folder, [1], Foreign)
    assert report["blocks"]["inner.counter"]["flops"] == 8
    monkeypatch.setattr(Foreign, "verilog", Foreign.verilog.replace("count + 1", "count + 3"))
    assert make_bitstream(ULX3S, folder, [1], Foreign)["build"] != report["build"]


def test_without_liteeth(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethernet_core, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"not installed.*pip install -e '\.\[ethernet\]'"):
        make_bitstream(replace(ECPIX5, config=MICRO), folder, [1])


@pytest.mark.parametrize(("board", "ip", "message"), [
    ("icebreaker", "10.0.0.7", "icebreaker has no network"), ("ecpix5-85f", "10.0.0.777", "--ip: .*10.0.0.777"),
])
def test_a_wrong_address(board: str, ip: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        program(board, 1, ip)


@NO_LITEETH
def test_the_core_for_the_network() -> None:
    """The same text each time, without a date; another address makes another one."""
    first, again, other = (
        ethernet_core.ethernet_core("core", ECPIX5.chip.device, ECPIX5.clock, ip, 50_000)
        for ip in ("10.0.0.7", "10.0.0.7", "10.0.0.8"))
    assert first == again != other and first.count("endmodule") == 1 and not re.search(r"//|/\*|20\d\d-\d\d", first)
    assert str(0x0A000007) in first and str(ethernet_core.mac_address("10.0.0.7")) in first
    assert first.count("IDDRX1F") >= 5 and first.count("ODDRX1F") >= 6


@pytest.mark.parametrize("name", [
    pytest.param(x, marks=[*([pytest.mark.slow] if BOARDS[x] is not ULX3S else []), *([NO_LITEETH] if BOARDS[x].ip else [])])
    for x in BOARDS])
def test_same_inputs_same_design(name: str) -> None:
    """Also in another process, with other hashes of Python's."""
    script = f"""
import hashlib
from dataclasses import replace
from golden.spec.config import MICRO, PICO
from hw.boards.catalog import BOARDS
from hw.boards.top import BoardTop
from hw.flow.bitstream import design
small = PICO if BOARDS["{name}"].spram_bytes else MICRO
print(hashlib.sha256(repr(design(replace(BOARDS["{name}"], config=small), BoardTop, "0" * 16)).encode()).hexdigest())
"""
    other = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONHASHSEED": "1"}).stdout.strip()
    kind = BOARDS[name]
    found = design(replace(kind, config=PICO if kind.spram_bytes else MICRO), BoardTop, "0" * 16)
    assert hashlib.sha256(repr(found).encode()).hexdigest() == other
    text, (file, pins), cores = found
    assert bool(cores) == bool(kind.ip) == ("FREQUENCY PORT \"eth_rgmii_0__rx_clk__io\" 125000000" in pins)
    suffix = {"LFE5": ".lpf", "iCE4": ".pcf", "GW2A": ".cst"}[kind.chip.device[:4]]
    assert file == f"top{suffix}" and "uart_0__rx__io" in pins
    assert ("EHXPLLL" in text) == bool(kind.vco_hz) and ("SB_SPRAM256KA" in text) == bool(kind.spram_bytes)


@pytest.mark.parametrize(("config", "divisor", "work"), [
    (MICRO, 4, 0), pytest.param(PICO, BOARDS["icebreaker"].clock // BOARDS["icebreaker"].baud, 15_000, marks=pytest.mark.slow),
], ids=["micro", "pico"])
def test_the_board_says_what_it_was_built_from(config: Config, divisor: int, work: int) -> None:
    """From pin to pin: asked who it is, what every board has behind its pins answers with its build hash."""
    site = Site(board="test", clock=1_000_000, memory_bytes=256, build="0123456789abcdef")
    dut = Board(config, site, divisor)
    request = bytes([Kind.IDENTIFY, 7, 0])
    line = UartTransmitter.model(divisor, CobsEncoder.model(request + zlib.crc32(request).to_bytes(4, "little")))
    size = HEADER_BYTES + 1 + len(site.identity(config)) + CRC_BYTES
    levels: list[int] = []

    async def test(ctx: Any) -> None:
        for cycle in range(len(line) + 10 * divisor * (size + 8) + work):
            ctx.set(dut.rx, line[cycle] if cycle < len(line) else 1)
            *_, tx = await ctx.tick().sample(dut.tx)
            levels.append(tx)

    simulate(dut, test)
    ((answer, broken),) = CobsDecoder.model(UartReceiver.model(divisor, levels))
    body, crc = answer[:-CRC_BYTES], answer[-CRC_BYTES:]
    assert not broken and int.from_bytes(crc, "little") == zlib.crc32(body)
    assert body == bytes([Kind.IDENTIFY | ANSWER, 7, 0, Status.OK]) + site.identity(config) and bytes.fromhex(site.build) in body


@pytest.mark.parametrize("kind", BOARDS.values(), ids=BOARDS)
def test_every_board(kind: BoardKind) -> None:
    """Its clock and its name are possible, and it can be programmed."""
    if kind.vco_hz:
        phase_steps(kind.input_hz, kind.vco_hz, kind.clock, kind.sdram_phase)
    else:
        assert kind.input_hz == kind.clock
    site = Site(board=kind.name, clock=kind.clock, memory_bytes=kind.memory_bytes, build="0" * 16)
    assert kind.name.encode() in site.identity(kind.config)
    assert PROGRAMMED[kind.name][1] == kind.suffix


@pytest.mark.parametrize(("make", "tables", "memories"), [
    (lambda: AxiSdram(32, SDRAM_32MB, 60_000_000), 450, 0), (lambda: AxiBlockRam(32, 16 << 10), 250, 8),
], ids=["sdram", "block-ram"])
def test_memories_stay_within_their_budget(make: Callable[[], Any], tables: int, memories: int, folder: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthesised alone; a block RAM of an ECP5 holds 2 KB of beats."""
    monkeypatch.setattr(pnr, "Accelerator", lambda _: make())
    found = pnr.place_and_route(MICRO, ULX3S.chip, folder, megahertz=60, seed=1, route=False)["synthesis"]
    assert found["luts"] <= tables and found["memories"] == memories


def test_every_board_can_be_programmed() -> None:
    assert set(BOARDS) == set(PROGRAMMED)


def test_the_pll_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="outside"):
        phase_steps(25_000_000, 1_000_000_000, 50_000_000, 0)
    with pytest.raises(ValueError, match="no multiple"):
        phase_steps(25_000_000, 600_000_000, 70_000_000, 0)
    assert phase_steps(25_000_000, 600_000_000, 60_000_000, 63) == 14  # eighths of 1.67 ns: 2.92 of 16.67 ns
