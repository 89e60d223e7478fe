"""Speed of the Mover; what it moves is checked by sim.bench."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module
from amaranth.lib.wiring import connect

from golden.spec.config import SMALL
from golden.spec.descriptor import Opcode
from hw.mover import Mover
from hw.scratchpad import Scratchpad
from hw.tests.bench import new_rng, receive, simulate


class WithScratchpad(Elaboratable):
    """Mover and scratchpad."""

    def __init__(self, mover: Mover, scratchpad: Scratchpad) -> None:
        self.mover, self.scratchpad = mover, scratchpad

    def elaborate(self, platform: object) -> Module:
        """Join them."""
        m = Module()
        m.submodules.mover, m.submodules.scratchpad = self.mover, self.scratchpad
        for ours, theirs in (("spike_read", "read"), ("spike_write", "write"), ("u_read", "u_read"), ("u_write", "u_write")):
            connect(m, getattr(self.mover, ours), getattr(self.scratchpad, theirs))
        return m


def test_store_throughput() -> None:
    """A STORE delivers a spike word of one beat each cycle."""
    dut = Mover(SMALL)
    rng = new_rng()

    async def test(ctx):
        ctx.set(dut.unit.descriptor.count, 100)
        ctx.set(dut.unit.descriptor.step_stride, 1)
        ctx.set(dut.unit.descriptor.opcode, Opcode.STORE)
        ctx.set(dut.unit.start, 1)
        await ctx.tick()
        ctx.set(dut.unit.start, 0)
        assert [(x.addr, x.beats) for x in await receive(ctx, dut.write_jobs, 1, rng)] == [(0, 64)]
        ctx.set(dut.write_data.ready, 1)
        beats = 0
        for _ in range(64 + 4):
            beats += (await ctx.tick().sample(dut.write_data.valid))[2]
        assert beats >= 64
        ctx.set(dut.written, 1)
        await ctx.tick()
        ctx.set(dut.written, 0)
        assert not ctx.get(dut.write_jobs.valid)  # others' turn
        assert [(x.addr, x.beats) for x in await receive(ctx, dut.write_jobs, 1, rng)] == [(64 * SMALL.axi_bytes, 36)]

    simulate(WithScratchpad(dut, Scratchpad(SMALL)), test)
