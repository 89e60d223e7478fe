"""JobArbiter and WriteShare: whole jobs, to and from the right side."""

from __future__ import annotations

import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib.wiring import connect

from golden.spec.config import MICRO
from hw.arbiter import JobArbiter
from hw.read_dma import ReadDma
from hw.tests.bench import Memory, new_rng, receive, send, simulate
from hw.write_dma import WriteDma
from hw.write_share import WriteShare


class Joined(Elaboratable):
    """An arbiter on its engine, as one elaboratable."""

    def __init__(self, first, engine, pairs):
        self.parts, self.pairs = (first, engine), pairs

    def elaborate(self, platform):
        """Join the ports."""
        m = Module()
        m.submodules += self.parts
        for a, b in self.pairs:
            connect(m, a, b)
        if hasattr(self.parts[0], "written"):
            m.d.comb += self.parts[0].written.eq(self.parts[1].done)
        return m


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_reads(stall: float) -> None:
    """Each side gets the beats of its own jobs, in order, and both get on."""
    rng = new_rng()
    dut, dma = JobArbiter(MICRO), ReadDma(MICRO)
    memory = Memory(dma.axi, None, 32, rng, stall)
    memory.words = {i: rng.getrandbits(32) for i in range(5000)}
    jobs = [[(rng.randrange(4000), rng.randrange(1, 60)) for _ in range(15)] for _ in range(2)]

    def ask(side):
        async def testbench(ctx):
            port = getattr(dut, f"jobs{side}")
            await send(ctx, port, [{"addr": 4 * a, "beats": n} for a, n in jobs[side]], rng, stall)
        return testbench

    def take(side):
        async def testbench(ctx):
            port = getattr(dut, f"data{side}")
            expected = [(memory.words[a + i], int(i == n - 1)) for a, n in jobs[side] for i in range(n)]
            assert [(x.data, x.last) for x in await receive(ctx, port, len(expected), rng, stall)] == expected
        return testbench

    simulate(Joined(dut, dma, [(dut.jobs, dma.jobs), (dma.data, dut.data)]), ask(0), ask(1), take(0), take(1),
             background=[memory.read])


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_writes(stall: float) -> None:
    """Each side's jobs lie in memory when it is told so."""
    rng = new_rng()
    dut, dma = WriteShare(MICRO), WriteDma(MICRO)
    memory = Memory(None, dma.axi, 32, rng, stall)

    def work(side):
        async def testbench(ctx):
            jobs, words, written = (getattr(dut, f"{n}{side}") for n in ("jobs", "data", "written"))
            for k in range(12):
                first, count = 10000 * side + 200 * k, rng.randrange(1, 60)
                expected = [rng.getrandbits(32) for _ in range(count)]
                await send(ctx, jobs, [{"addr": 4 * first, "beats": count}], rng, stall)
                seen = 0
                for word in expected:
                    seen |= ctx.get(written)
                    await send(ctx, words, [word], rng, stall)
                assert not seen
                while not ctx.get(written):
                    await ctx.tick()
                assert [memory.words[first + i] for i in range(count)] == expected
                await ctx.tick()
        return testbench

    simulate(Joined(dut, dma, [(dut.jobs, dma.jobs), (dut.data, dma.data)]), work(0), work(1), background=[memory.write])
