"""`hw.memory.block_ram.AxiBlockRam` and `hw.memory.sdram.AxiSdram`, with chips that know their rules, against their twin."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import cocotb

from golden.spec.config import Config
from hw.axi import MAX_BURST
from hw.memory.twin import Burst, answers
from sim.bench.systems import BLOCK_RAM_BYTES, SDRAMS
from sim.lib.axi import Manager
from sim.lib.clock import Bench, Probe
from sim.lib.runner import settings
from sim.lib.sdram import ROW_BITS, Fault

RATES = (1.0, 0.5, 0.1)
PARTS = {"block": BLOCK_RAM_BYTES, **{name: chip.memory_bytes for name, (chip, _) in SDRAMS.items()}}
ROWS = {name: chip.memory_bytes >> chip.row_bits for name, (chip, _) in SDRAMS.items()}  #: bytes of a row, in all banks


def random_bursts(c: Config, part: str, count: int) -> list[Burst]:
    """Bursts near each other, so that they meet, in rows that the chip's model keeps apart, and some behind the memory's end."""
    size, memory_bytes, row = MAX_BURST * c.axi_bytes, PARTS[part], ROWS.get(part, ROWS["sdram"])
    bases = [0, size, row - size, row, row // 4, (1 << ROW_BITS) * row // 2 - size, memory_bytes - size, memory_bytes]
    bursts: list[Burst] = []
    for _ in range(count):
        first = random.randrange(MAX_BURST)
        beats = random.choice([1, MAX_BURST - first, random.randint(1, MAX_BURST - first)])
        base = min(random.choice(bases), memory_bytes)
        words = [random.getrandbits(c.axi_bits) for _ in range(beats)]
        bursts.append((base + first * c.axi_bytes, words if random.random() < 0.5 else beats))
    return bursts


def _faults(dut: Any) -> list[Probe]:
    """What each chip has found wrong."""
    return [Probe(dut, f"{name}_fault") for name in SDRAMS]


def same(found: Sequence[Sequence[tuple[int, int]]], expected: Sequence[Sequence[tuple[int, int]]], what: str) -> None:
    """Fail where responses differ, or data without an error."""
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert [x[1] for x in one] == [x[1] for x in other], f"{what}: responses of burst {number}"
        assert [x for x in one if not x[1]] == [x for x in other if not x[1]], f"{what}: data of burst {number}"


async def _in_turn(dut: Any, bench: Bench, c: Config, part: str, words: dict[int, int], what: str) -> None:
    """Bursts of both kinds, each after the answer to the one before."""
    manager, faults = Manager(dut, f"{part}_axi", random.choice(RATES)), _faults(dut)
    bench.agents = [manager, *faults]
    bursts = random_bursts(c, part, 20)
    # what nobody has written is written first
    for first in sorted({x[0] for x in bursts if x[0] < PARTS[part]}):
        base = first // c.axi_bytes // MAX_BURST * MAX_BURST
        if base not in words:
            bursts.insert(0, (base * c.axi_bytes, [random.getrandbits(c.axi_bits) for _ in range(MAX_BURST)]))
            words[base] = 0
    expected = answers(c.axi_bits, PARTS[part], bursts, words)
    found = []
    for address, beats in bursts:
        if isinstance(beats, int):
            manager.read(address, beats)
            await bench.until(lambda: bool(manager.reads), 20_000, f"{what}: read of {address:#x}")
            found.append(manager.reads.pop())
        else:
            manager.write(address, beats)
            await bench.until(lambda: bool(manager.responses), 20_000, f"{what}: write of {address:#x}")
            found.append([(0, manager.responses.pop())])
    same(found, expected, what)
    assert not any(x.value for x in faults), f"{what}: {[Fault(x.value).name for x in faults]}"


async def _at_once(dut: Any, bench: Bench, c: Config, part: str, words: dict[int, int], what: str) -> None:
    """Reads of what was written before, while something else is written; then that is read."""
    manager, faults = Manager(dut, f"{part}_axi", random.choice(RATES)), _faults(dut)
    bench.agents = [manager, *faults]
    size = MAX_BURST * c.axi_bytes
    places = [base * c.axi_bytes for base in words if base % MAX_BURST == 0]
    half = len(places) // 2
    reads: list[Burst] = [(random.choice(places[:half]), MAX_BURST) for _ in range(20)]
    writes: list[Burst] = [(x, [random.getrandbits(c.axi_bits) for _ in range(MAX_BURST)]) for x in places[half:]]
    for address, beats in reads:
        assert isinstance(beats, int)
        manager.read(address, beats)
    for address, data in writes:
        assert not isinstance(data, int)
        manager.write(address, data)
    await bench.until(lambda: len(manager.reads) == len(reads) and len(manager.responses) == len(writes), 50_000, what)
    same(manager.reads, answers(c.axi_bits, PARTS[part], reads, words), what)
    same([[(0, x)] for x in manager.responses], answers(c.axi_bits, PARTS[part], writes, words), what)
    manager.reads.clear()
    again: list[Burst] = [(address, size // c.axi_bytes) for address, _ in writes]
    for address, _ in again:
        manager.read(address, MAX_BURST)
    await bench.until(lambda: len(manager.reads) == len(again), 50_000, what)
    same(manager.reads, answers(c.axi_bits, PARTS[part], again, words), what)
    assert not any(x.value for x in faults), f"{what}: {[Fault(x.value).name for x in faults]}"


@cocotb.test()
async def memories(dut: Any) -> None:
    """All memories hold what is written, refuse what is behind their end, and the chip's rules are kept."""
    c, count, seed = settings()
    random.seed(seed)
    bench = Bench(dut)
    await bench.reset()
    words: dict[str, dict[int, int]] = {part: {} for part in PARTS}
    for number in range(count):
        for part in PARTS:
            await _in_turn(dut, bench, c, part, words[part], f"{part}, case {number} in turn (seed {seed})")
            await _at_once(dut, bench, c, part, words[part], f"{part}, case {number} at once (seed {seed})")


@cocotb.test()
async def speed(dut: Any) -> None:
    """Bytes a second of long reads and writes, refreshes included (docs/boards.md)."""
    c, _, _ = settings()
    bench = Bench(dut)
    await bench.reset()
    count, size = 60, MAX_BURST * c.axi_bytes

    async def measure(part: str, kind: str) -> float:
        """Bytes a cycle."""
        manager = Manager(dut, f"{part}_axi")
        bench.agents = [manager]
        for address in range(0, count * size, size):
            if kind == "write":
                manager.write(address, [0] * MAX_BURST)
            else:
                manager.read(address, MAX_BURST)

        def done() -> int:
            return len(manager.responses) + len(manager.reads)

        await bench.until(lambda: done() == 1, 30_000, "the first burst")  # power-up is over
        start = bench.cycle
        await bench.until(lambda: done() == count, 10_000, f"{count} bursts")
        return (count - 1) * size / (bench.cycle - start)

    for part, kind, least in (
        ("block", "write", 3.5), ("block", "read", 3.7), ("sdram", "write", 1.2), ("sdram", "read", 1.45),
        ("broad", "write", 1.7), ("broad", "read", 2.5),
    ):
        rate = await measure(part, kind)
        clock = SDRAMS[part][1] if part in SDRAMS else SDRAMS["sdram"][1]
        dut._log.info(f"{part} {kind}: {rate:.2f} bytes a cycle, {rate * clock / 1e6:.0f} MB/s at {clock / 1e6:g} MHz")
        assert rate >= least, f"{part} {kind}: {rate:.2f} bytes a cycle"
