"""A decoder behind its gate (`sim.bench.gated_decoder`) against its twin."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import cocotb

from hw.decoder import Decoder, Pass
from hw.walker import entry_layout
from sim.lib.clock import Bench, Port, Wire
from sim.lib.pack import pack
from sim.lib.runner import settings
from sim.lib.stream import Source


class Passes:
    """Holds and opens the barrier at random, and notes the rows of each pass."""

    def __init__(self, dut: Any, hold: float, open_: float) -> None:
        self.inputs = [(Port(dut, "hold"), hold), (Port(dut, "open"), open_)]
        self.outputs = {x: Port(dut, x) for x in ("emit", "row", "gate", "high", "barrier", "released", "shift", "ended")}
        self.rows: list[tuple[int, int, int]] = []
        self.passes: list[Pass] = []

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        for port, rate in self.inputs:
            port.set(int(random.random() < rate))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        out = {name: port.get() for name, port in self.outputs.items()}
        assert not (self.inputs[0][0].last and (out["emit"] or out["barrier"])), "emits while held"
        if out["emit"]:
            self.rows.append((out["row"], out["gate"], out["high"]))
        if out["released"]:
            self.passes.append(Pass(self.rows, out["shift"], bool(out["ended"])))
            self.rows = []

    def reached(self, count: int) -> Callable[[], bool]:
        """Whether so many passes are over."""
        return lambda: len(self.passes) >= count


@cocotb.test()
async def rows_of_random_entries(dut: Any) -> None:
    """Each pass emits its twin's rows in order; at full speed, one row a cycle."""
    config, count, seed = settings()
    random.seed(seed)
    layout = entry_layout(config)
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        lanewise = bool(number % 3 == 2)
        rate, hold, open_ = random.choice([(1.0, 0.0, 1.0), (0.5, 0.2, 0.3), (1.0, 0.5, 0.9), (0.2, 0.0, 1.0)])
        source, passes = Source(dut, "entries", rate), Passes(dut, hold, open_)
        bench.agents = [Wire(dut, "lanewise", lanewise), source, passes]
        entries = []
        for i in range(100):
            last = i == 99 or random.random() < 0.3
            width = config.lanes if lanewise else config.rows_per_word
            step = 1 if lanewise else config.rows_per_word
            bits, row = random.getrandbits(width), random.randrange(config.weight_rows // step) * step
            for _ in range(random.randrange(4)):
                bits &= random.getrandbits(width)
            entries.append({"row": row, "bits": bits if last else bits or 1, "top": random.getrandbits(1), "last": int(last),
                            "shift": random.randrange(5) if last else 0, "end": int(last and random.random() < 0.5)})
        source.send(pack(layout, x) for x in entries)
        expected = Decoder.model(config, entries, lanewise)
        begin = bench.cycle
        await bench.until(passes.reached(len(expected)), 100_000, "the last pass")
        cycles = bench.cycle - begin
        assert passes.passes == expected, f"case {number} (seed {seed})"
        if (rate, hold, open_) == (1.0, 0.0, 1.0):
            least = sum(max(1, 1 if lanewise else x["bits"].bit_count()) for x in entries)
            assert cycles <= least + 2, f"{cycles} cycles for {least} rows"
        for _ in range(3):
            await bench.tick()
        assert len(passes.passes) == len(expected) and not passes.rows, "rows after the end"
