"""The serial line against its twins, with noise, other speeds and bytes that nobody takes."""

from __future__ import annotations

import pytest

from hw.link.uart import UartReceiver, UartTransmitter
from hw.tests.bench import new_rng, receive, send, simulate


@pytest.mark.parametrize("divisor", [4, 5, 8, 13])
@pytest.mark.parametrize("stall", [0.0, 0.9])
def test_transmitter(divisor: int, stall: float) -> None:
    rng = new_rng()
    dut = UartTransmitter(divisor)
    data = [0, 255, 0x55, *rng.randbytes(8)]
    levels: list[int] = []

    async def test(ctx):
        await send(ctx, dut.send, data, rng, stall)
        await ctx.tick().repeat(11 * divisor)

    async def watch(ctx):
        while True:
            levels.append(ctx.get(dut.tx))
            await ctx.tick()

    simulate(dut, test, background=[watch])
    assert UartReceiver.model(divisor, levels) == data
    if not stall:
        assert levels[levels.index(0):][:10 * divisor * len(data)] == UartTransmitter.model(divisor, data)


@pytest.mark.parametrize("divisor", [4, 5, 8, 13])
def test_receiver(divisor: int) -> None:
    """Pauses of any length, bytes without a stop bit, spikes of one cycle anywhere."""
    rng = new_rng()
    levels = [1] * 4
    good = 0
    for _ in range(40):
        byte = UartTransmitter.model(divisor, [rng.randrange(256)])
        kind = rng.choice(["good", "good", "spike", "break"])
        if kind == "spike":  # anywhere behind the start bit: the vote hides it
            byte[rng.randrange(divisor, len(byte))] ^= 1
        if kind == "break":
            byte[-divisor:] = [0] * divisor * rng.randrange(1, 30)
        good += kind != "break"
        levels += byte + [1] * rng.choice([0, 1, divisor, 3 * divisor]) + [1] * divisor * (kind != "good")
    levels += [1] * 12 * divisor
    expected = UartReceiver.model(divisor, levels)
    assert len(expected) == good
    dut = UartReceiver(divisor)
    found: list[int] = []

    async def drive(ctx):
        for level in levels:
            ctx.set(dut.rx, level)
            await ctx.tick()

    async def take(ctx):
        ctx.set(dut.received.ready, 1)
        while True:
            _, _, valid, byte = await ctx.tick().sample(dut.received.valid, dut.received.payload)
            if valid:
                found.append(byte)

    simulate(dut, drive, background=[take])
    assert found == expected


@pytest.mark.parametrize("error", [-0.03, 0.03])
def test_another_speed(error: float) -> None:
    """A sender whose clock is 3 % off is understood."""
    rng = new_rng()
    dut = UartReceiver(16)
    data = list(rng.randbytes(20))
    exact = UartTransmitter.model(100, data)
    levels = [exact[int(i * 100 / 16 * (1 + error))] for i in range(int(len(exact) * 16 / 100 / (1 + error)))] + [1] * 40

    async def drive(ctx):
        for level in levels:
            ctx.set(dut.rx, level)
            await ctx.tick()

    async def take(ctx):
        assert await receive(ctx, dut.received, len(data), rng) == data

    simulate(dut, drive, take)


def test_overrun() -> None:
    """What is not taken stays; what comes meanwhile is dropped."""
    dut = UartReceiver(4)

    async def test(ctx):
        for byte in (1, 2, 3):
            for level in UartTransmitter.model(4, [byte]):
                ctx.set(dut.rx, level)
                await ctx.tick()
        await ctx.tick().repeat(4)
        assert ctx.get(dut.received.valid) and ctx.get(dut.received.payload) == 1
        ctx.set(dut.received.ready, 1)
        await ctx.tick()
        assert not ctx.get(dut.received.valid)

    simulate(dut, test)
