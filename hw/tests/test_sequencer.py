"""Sequencer and Recorder: the right unit starts, statistics add up, END waits for the last record."""

from __future__ import annotations

import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib.wiring import connect

from golden.spec.config import BASE, SMALL, Config
from golden.spec.descriptor import Opcode
from golden.spec.registers import SLOT_STATES, STATISTICS
from hw.recorder import Recorder
from hw.sequencer import Sequencer
from hw.tests.bench import new_rng, receive, simulate


class WithRecorder(Elaboratable):
    """Sequencer and recorder."""

    def __init__(self, sequencer: Sequencer, recorder: Recorder) -> None:
        self.sequencer, self.recorder = sequencer, recorder

    def elaborate(self, platform: object) -> Module:
        """Join them."""
        m = Module()
        m.submodules.sequencer, m.submodules.recorder = self.sequencer, self.recorder
        connect(m, self.sequencer.records, self.recorder.records)
        return m


@pytest.mark.parametrize("config", [SMALL, BASE], ids=lambda c: c.name)
@pytest.mark.parametrize("latency", [1, 90])
def test_program(config: Config, latency: int) -> None:
    """Random descriptors on random units for random times; the record's write is fast, or slower than the next descriptor."""
    rng = new_rng()
    dut, recorder = Sequencer(config), Recorder(config)
    units = {Opcode.LINEAR: dut.linear, Opcode.HAMMING: dut.hamming, Opcode.LOAD: dut.mover, Opcode.STORE: dut.mover}
    program = [rng.choice(list(units)) for _ in range(12)]
    expected: list[dict[str, int]] = []
    got: list[dict[str, int]] = []
    finished = 0

    async def run(ctx):
        nonlocal finished
        ctx.set(recorder.segment, 0x5000)
        for index, opcode in enumerate(program):
            assert not finished
            ctx.set(dut.descriptors.payload.opcode, opcode)
            ctx.set(dut.descriptors.payload.count, 1000 + index)
            ctx.set(dut.descriptors.valid, 1)
            await ctx.tick().until(dut.descriptors.ready)
            ctx.set(dut.descriptors.payload.count, 0)
            ctx.set(dut.descriptors.valid, 0)
            sums = dict.fromkeys((name for name, _ in dut.counts.shape()), 0)
            cycles = rng.randrange(1, 40)
            for cycle in range(cycles + 2):  # the start, the unit's cycles up to done, and one after it
                if cycle <= cycles:
                    assert ctx.get(dut.descriptor.count) == 1000 + index and not ctx.get(dut.idle)
                    assert [ctx.get(u.start) for u in (dut.linear, dut.hamming, dut.mover)] == [
                        int(cycle == 0 and u is units[opcode]) for u in (dut.linear, dut.hamming, dut.mover)]
                    assert ctx.get(dut.locked) == (opcode == Opcode.HAMMING)
                ctx.set(units[opcode].done, cycle == cycles)
                for name in sums:
                    value = rng.randrange(2 if name == "results" else config.cores * config.issue + 1)
                    ctx.set(getattr(dut.counts, name), value)
                    sums[name] += value if cycle <= cycles or name not in SLOT_STATES else 0
                await ctx.tick()
            expected.append({"layer": index, "cycles": cycles + 1, **sums})
            for name in sums:
                ctx.set(getattr(dut.counts, name), 1)  # nobody counts this
        ctx.set(dut.descriptors.payload.opcode, Opcode.END)
        ctx.set(dut.descriptors.valid, 1)
        await ctx.tick().until(dut.descriptors.ready)
        ctx.set(dut.descriptors.valid, 0)
        while not ctx.get(dut.finished):
            await ctx.tick()
        finished = 1
        assert len(got) == len(program)

    async def memory(ctx):
        for index in range(len(program)):
            (job,) = await receive(ctx, recorder.jobs, 1, rng, 0.3)
            assert (job.addr, job.beats) == (0x5000 + 64 * index, 64 // config.axi_bytes)
            beats = await receive(ctx, recorder.data, job.beats, rng, 0.3)
            data = b"".join(b.to_bytes(config.axi_bytes, "little") for b in beats)
            words = [int.from_bytes(data[i:i + 4], "little") for i in range(0, 64, 4)]
            assert not any(words[len(STATISTICS):])
            await ctx.tick().repeat(latency)
            got.append(dict(zip(STATISTICS, words, strict=False)))
            ctx.set(recorder.written, 1)
            await ctx.tick()
            ctx.set(recorder.written, 0)

    simulate(WithRecorder(dut, recorder), run, memory)
    assert [{k: v for k, v in r.items() if k != "wait"} for r in got] == expected
    assert all(r["wait"] >= 3 for r in got[1:])
