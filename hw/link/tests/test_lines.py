"""A serial line and a network in front of one link: each answer goes to who asked, whatever the other one does."""

from __future__ import annotations

import random
from typing import Any

import pytest

from golden.spec.link import DELIMITER
from hw.link.lines import FrameQueue, Lines
from hw.tests.bench import new_rng, receive, send, simulate


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_frames_come_whole(stall: float) -> None:
    """What is on offer goes on to the end of its frame without anything more from the line; what is no frame is cut."""
    rng = new_rng()
    dut = FrameQueue(16)
    sizes = [0, 1, 2, 14, 15, 16, 17, 31, 32, 33, 40, *(rng.randrange(50) for _ in range(20))]
    rng.shuffle(sizes)
    line = b"".join(bytes(rng.randrange(1, 256) for _ in range(x)) + bytes([DELIMITER]) for x in sizes)
    expected = FrameQueue.model(line, 16)
    inside = False  # a frame has begun

    async def give(ctx: Any) -> None:
        for byte in line:
            if rng.random() < 0.1:
                await ctx.tick().repeat(200)  # nothing comes, while all that is whole is taken
                assert not inside
            await send(ctx, dut.line, [byte], rng)

    async def take(ctx: Any) -> None:
        assert bytes(await receive(ctx, dut.frames, len(expected), rng, stall)) == expected

    async def watch(ctx: Any) -> None:
        nonlocal inside
        while True:
            _, _, valid, ready, byte = await ctx.tick().sample(dut.frames.valid, dut.frames.ready, dut.frames.payload)
            if valid and ready:
                inside = byte != DELIMITER

    simulate(dut, give, take, background=[watch])


class FakeLink:
    """Answers each frame after a while, but for those that begin with 1; takes the first two bytes of the next one early."""

    def __init__(self, dut: Lines, rng: random.Random) -> None:
        self.dut, self.rng = dut, rng

    async def run(self, ctx: Any) -> None:
        """A background testbench: what a frame says is sent back, twice."""
        dut, rng = self.dut, self.rng
        frame = bytearray()
        while True:
            ctx.set(dut.requests.ready, rng.random() < 0.7)
            _, _, valid, ready, byte = await ctx.tick().sample(dut.requests.valid, dut.requests.ready, dut.requests.payload)
            if not (valid and ready):
                continue
            if byte != DELIMITER:
                frame.append(byte)
                continue
            if not frame:
                continue
            ctx.set(dut.active, 1)
            ctx.set(dut.requests.ready, 0)
            early = bytearray()
            for _ in range(rng.randrange(30)):
                ctx.set(dut.requests.ready, len(early) < 2)
                _, _, valid, ready, byte = await ctx.tick().sample(dut.requests.valid, dut.requests.ready, dut.requests.payload)
                if valid and ready:
                    early.append(byte)
            ctx.set(dut.requests.ready, 0)
            if frame[0] != 1:
                await send(ctx, dut.answers, [*frame, *frame, DELIMITER], rng, 0.2)
            ctx.set(dut.active, 0)
            frame = bytearray(x for x in early if x != DELIMITER)


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_lines(stall: float) -> None:
    rng = new_rng()
    dut = Lines()
    frames: dict[str, list[bytes]] = {
        name: [bytes(rng.randrange(1, 256) for _ in range(rng.choice([0, 2, 3, rng.randrange(2, 40)]))) for _ in range(25)]
        for name in ("serial", "network")}
    askers = [(rng.getrandbits(32), rng.getrandbits(16)) for _ in frames["network"]]
    expected = {name: [x for x in frames[name] if x and x[0] != 1] for name in frames}
    whom = [asker for asker, x in zip(askers, frames["network"], strict=True) if x and x[0] != 1]

    async def give_serial(ctx: Any) -> None:
        for x in frames["serial"]:
            await ctx.tick().repeat(rng.randrange(1, 40))
            await send(ctx, dut.serial, [*x, DELIMITER], rng, 0.0)

    async def give_network(ctx: Any) -> None:
        for x, (address, port) in zip(frames["network"], askers, strict=True):
            await ctx.tick().repeat(rng.randrange(1, 40))
            ctx.set(dut.asker, {"address": address, "port": port})
            await send(ctx, dut.network, [*x, DELIMITER], rng, 0.0)

    async def take_serial(ctx: Any) -> None:
        for x in expected["serial"]:
            assert bytes(await receive(ctx, dut.serial_answers, 2 * len(x) + 1, rng, stall)) == x + x + bytes([DELIMITER])

    async def take_network(ctx: Any) -> None:
        for x, asker in zip(expected["network"], whom, strict=True):
            assert bytes(await receive(ctx, dut.network_answers, 2 * len(x) + 1, rng, stall)) == x + x + bytes([DELIMITER])
            assert (ctx.get(dut.asked.address), ctx.get(dut.asked.port)) == asker

    simulate(dut, give_serial, give_network, take_serial, take_network, background=[FakeLink(dut, rng).run])
