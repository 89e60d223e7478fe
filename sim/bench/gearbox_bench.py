"""`hw.gearbox.Widen` and `hw.gearbox.Narrow` against their twins, with the widths of the mover."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from hw.gearbox import Narrow, Widen
from sim.lib.clock import Bench, Wire
from sim.lib.runner import settings
from sim.lib.stream import Sink, Source


async def _run(bench: Bench, dut: Any, part: str, ends: tuple[str, str], short: bool, items: list[int], count: int) -> list[int]:
    """Send items through a part under random stalls."""
    source = Source(dut, f"{part}_{ends[0]}", random.choice([1.0, 0.5, 0.1]))
    sink = Sink(dut, f"{part}_{ends[1]}", random.choice([1.0, 0.5, 0.1]))
    source.send(items)
    bench.agents = [source, sink, Wire(dut, f"{part}_short", int(short))]
    await bench.until(sink.has(count), 100_000, f"item {count}")
    for _ in range(20):
        await bench.tick()
    assert source.sent == len(items)
    return sink.items


@cocotb.test()
async def widen(dut: Any) -> None:
    """Random narrow items, long and short ones by turns; what the upper bits of a short one are does not matter."""
    c, count, seed = settings()
    random.seed(seed)
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        short = bool(random.getrandbits(1))
        bits = (min if short else max)(c.word, c.u_beat_bits)
        items = [random.getrandbits(c.axi_bits) for _ in range(random.randint(1, 20) * bits // c.axi_bits)]
        expected = Widen.model(items, c.axi_bits, bits)
        found = await _run(bench, dut, "widen", ("narrow", "wide"), short, items, len(expected))
        assert [x & (1 << bits) - 1 for x in found] == expected, f"case {number} (seed {seed})"


@cocotb.test()
async def narrow(dut: Any) -> None:
    """Random wide items, long and short ones by turns."""
    c, count, seed = settings()
    random.seed(seed)
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        short = bool(random.getrandbits(1))
        bits = (min if short else max)(c.word, c.u_beat_bits)
        items = [random.getrandbits(max(c.word, c.u_beat_bits)) for _ in range(random.randint(1, 20))]
        expected = Narrow.model(items, bits, c.axi_bits)
        found = await _run(bench, dut, "narrow", ("wide", "narrow"), short, items, len(expected))
        assert found == expected, f"case {number} (seed {seed})"
