"""Mover against the rule where words lie; real scratchpad, random stalls."""

from __future__ import annotations

import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib.wiring import connect

from golden.spec.config import PRESETS, Config
from golden.spec.descriptor import Opcode
from hw.mover import Mover
from hw.scratchpad import Scratchpad
from hw.tests.bench import new_rng, receive, send, simulate


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


@pytest.mark.parametrize("config", PRESETS.values(), ids=lambda c: c.name)
@pytest.mark.parametrize("space", [0, 1])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_there_and_back(config: Config, space: int, stall: float) -> None:
    """LOAD puts every word where it belongs, STORE brings it back; jobs have the right address and size."""
    rng = new_rng()
    dut = Mover(config)
    bits = config.u_beat_bits if space else config.word
    ratio = bits // config.axi_bits
    port = dut.u_write if space else dut.spike_write
    written: dict[tuple[int, int], int] = {}

    async def watch(ctx):
        enable = port.en if space else port.mask
        while True:
            _, _, en, addr, data, bank = await ctx.tick().sample(enable, port.addr, port.data, dut.spike_write.bank)
            if en:
                written[0 if space else bank, addr] = data

    async def test(ctx):
        for i in range(4):
            ctx.set(dut.segments[i], 0x1000 * (i + 1))
        for _ in range(4):
            run, count, base = rng.randrange(1, 5), rng.randrange(1, 60), rng.randrange(30)
            segment, offset = rng.randrange(4), 64 * rng.randrange(9)
            words = [rng.getrandbits(bits) for _ in range(count)]
            beats = [w >> i & (1 << config.axi_bits) - 1 for w in words for i in range(0, bits, config.axi_bits)]
            for name, value in {"count": count, "step_stride": run, "base": base, "space": space, "segment": segment,
                                "offset": offset}.items():
                ctx.set(dut.descriptor[name], value)
            written.clear()

            async def begin(opcode, jobs, size, where):
                ctx.set(dut.descriptor.opcode, opcode)
                ctx.set(dut.unit.start, 1)
                await ctx.tick()
                ctx.set(dut.unit.start, 0)
                (job,) = await receive(ctx, jobs, 1, rng, stall)
                assert (job.addr, job.beats) == (where, size)

            await begin(Opcode.LOAD, dut.read_jobs, count * ratio, 0x1000 * (segment + 1) + offset)
            await send(ctx, dut.read_data, [{"data": b, "last": i == len(beats) - 1} for i, b in enumerate(beats)], rng, stall)
            for _ in range(3):
                if ctx.get(dut.unit.done):
                    break
                await ctx.tick()
            assert ctx.get(dut.unit.done)
            cores = config.cores
            expected = {(0, base + i) if space else (i // run % cores, base + i // (run * cores) * run + i % run): w
                        for i, w in enumerate(words)}
            assert written == expected
            await ctx.tick()

            await begin(Opcode.STORE, dut.write_jobs, count * ratio, 0x1000 * (segment + 1) + offset)
            assert await receive(ctx, dut.write_data, len(beats), rng, stall) == beats
            for _ in range(rng.randrange(5)):
                assert not ctx.get(dut.unit.done)
                await ctx.tick()
            ctx.set(dut.written, 1)
            assert ctx.get(dut.unit.done)
            await ctx.tick()
            ctx.set(dut.written, 0)

    simulate(WithScratchpad(dut, Scratchpad(config)), test, background=[watch])


def test_store_throughput() -> None:
    """A STORE delivers one beat per cycle."""
    dut = Mover(PRESETS["small"])
    rng = new_rng()

    async def test(ctx):
        ctx.set(dut.descriptor.count, 100)
        ctx.set(dut.descriptor.step_stride, 1)
        ctx.set(dut.descriptor.opcode, Opcode.STORE)
        ctx.set(dut.unit.start, 1)
        await ctx.tick()
        ctx.set(dut.unit.start, 0)
        await receive(ctx, dut.write_jobs, 1, rng)
        ctx.set(dut.write_data.ready, 1)
        beats = 0
        for _ in range(104):
            beats += (await ctx.tick().sample(dut.write_data.valid))[2]
        assert beats >= 99

    simulate(WithScratchpad(dut, Scratchpad(PRESETS["small"])), test)
