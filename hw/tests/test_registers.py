"""RegisterBank while a program runs; the register map is checked by sim.bench."""

from __future__ import annotations

from golden.spec.config import SMALL
from golden.spec.registers import ABORT, REGISTERS, START, ErrorCode
from hw.registers import RegisterBank
from hw.tests.bench import new_rng, simulate


def test_run() -> None:
    """Orders, status, counters, interrupt."""
    rng = new_rng()
    dut = RegisterBank(SMALL)
    bus = dut.axil
    orders: list[str] = []

    async def pause(ctx):
        while rng.random() < 0.4:
            await ctx.tick()

    async def read(ctx, address):
        await pause(ctx)
        ctx.set(bus.araddr, address)
        ctx.set(bus.arvalid, 1)
        await ctx.tick().until(bus.arready)
        ctx.set(bus.arvalid, 0)
        await pause(ctx)
        ctx.set(bus.rready, 1)
        result = await ctx.tick().sample(bus.rdata, bus.rresp).until(bus.rvalid)
        ctx.set(bus.rready, 0)
        return tuple(result)

    async def write(ctx, address, value, strobe=15):
        names = ["aw", "w"]
        rng.shuffle(names)
        ctx.set(bus.awaddr, address)
        ctx.set(bus.wdata, value)
        ctx.set(bus.wstrb, strobe)
        ctx.set(getattr(bus, names[0] + "valid"), 1)
        await pause(ctx)  # one channel may come long before the other
        ctx.set(getattr(bus, names[1] + "valid"), 1)
        await ctx.tick().until(bus.awready & bus.wready)
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        await pause(ctx)
        ctx.set(bus.bready, 1)
        (response,) = await ctx.tick().sample(bus.bresp).until(bus.bvalid)
        ctx.set(bus.bready, 0)
        return response

    async def watch(ctx):
        while True:
            _, _, start, abort = await ctx.tick().sample(dut.start, dut.abort)
            orders.extend(["start"] * start + ["abort"] * abort)

    async def test(ctx):
        address = {name: r.address for name, r in REGISTERS.items()}
        await write(ctx, address["IRQ_ENABLE"], 1)
        await write(ctx, address["CONTROL"], START, strobe=14)
        assert orders == []
        await write(ctx, address["CONTROL"], START)
        assert orders == ["start"]
        ctx.set(dut.busy, 1)
        ctx.set(dut.saturations, 5)
        ctx.set(dut.read_beat, 1)
        await ctx.tick().repeat(10)
        ctx.set(dut.saturations, 0)
        ctx.set(dut.read_beat, 0)
        assert await read(ctx, address["STATUS"]) == (1, 0)
        await write(ctx, address["CONTROL"], START)
        assert orders == ["start"] and not ctx.get(dut.irq)
        ctx.set(dut.busy, 0)
        ctx.set(dut.error, 1)
        ctx.set(dut.code, ErrorCode.WRITE)
        ctx.set(dut.error_layer, 77)
        await ctx.tick()
        ctx.set(dut.error, 0)
        assert await read(ctx, address["STATUS"]) == (4, 0)
        assert await read(ctx, address["ERROR"]) == (77 << 16 | 3, 0)
        assert (await read(ctx, address["SATURATIONS"]))[0] == 50 and (await read(ctx, address["READ_BEATS"]))[0] == 10
        assert (await read(ctx, address["CYCLES_LO"]))[0] >= 10 and (await read(ctx, address["WRITE_BEATS"]))[0] == 0
        assert ctx.get(dut.irq)
        await write(ctx, address["CONTROL"], START | ABORT)  # abort wins
        assert orders == ["start", "abort"]
        assert await read(ctx, address["STATUS"]) == (0, 0) and await read(ctx, address["ERROR"]) == (0, 0)
        assert not ctx.get(dut.irq)
        await write(ctx, address["CONTROL"], START)
        ctx.set(dut.finished, 1)
        await ctx.tick()
        ctx.set(dut.finished, 0)
        assert await read(ctx, address["STATUS"]) == (2, 0)
        assert (await read(ctx, address["CYCLES_LO"]))[0] == 0

    simulate(dut, test, background=[watch])
