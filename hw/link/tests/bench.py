"""A link with memory and registers around it, and the same for its twin."""

from __future__ import annotations

import binascii
import random
from collections.abc import Iterable
from typing import Any

from golden.spec import link as protocol
from golden.spec.config import SMALL, Config
from golden.spec.link import ANSWER, Status
from hw.link.cobs import CobsDecoder, CobsEncoder
from hw.link.link import Link, Site
from hw.link.slow_link import SlowLink
from hw.tests.bench import Memory, simulate

SITE = Site(board="bench", clock=20_000, memory_bytes=1 << 16, build="0123456789abcdef")
BAD_REGISTER = 0xF0  #: registers from here on answer with an error


def request(kind: int, sequence: int, body: bytes = b"") -> bytes:
    """A request as it goes over the line."""
    frame = bytes([kind]) + (sequence % protocol.SEQUENCES).to_bytes(2, "little") + body
    return CobsEncoder.model(frame + binascii.crc32(frame).to_bytes(4, "little"))


def number(value: int, size: int = 4) -> bytes:
    """A number as the protocol has it."""
    return value.to_bytes(size, "little")


def answers(line: bytes) -> list[tuple[int, int, Status, bytes]]:
    """Kind, sequence number, status and body of each answer; fails where one is damaged."""
    found = []
    for frame, broken in CobsDecoder.model(line):
        assert not broken and binascii.crc32(frame[:-4]) == int.from_bytes(frame[-4:], "little") and frame[0] & ANSWER
        found.append((frame[0] & ~ANSWER, int.from_bytes(frame[1:3], "little"), Status(frame[3]), frame[4:-4]))
    return found


class World:
    """What the twin's link sees; notes every access."""

    def __init__(self, bad: set[int], irq: bool, align: int = SMALL.axi_bytes) -> None:
        self.align = align
        self.words: dict[int, int] = {}
        self.bad, self.irq = bad, irq
        self.beats: list[tuple[int, int]] = []
        self.registers: dict[int, int] = {}
        self.writes: list[tuple[int, int]] = []

    def register(self, address: int, value: int | None) -> tuple[int, Status]:
        """See `hw.link.machine.Bus`."""
        if value is not None:
            self.writes.append((address, value))
        if address >= BAD_REGISTER:
            return 0, Status.BUS
        if value is not None:
            self.registers[address] = value
        return self.registers.get(address, 0), Status.OK

    def beat(self, address: int, word: bytes | None) -> tuple[bytes, Status]:
        """See `hw.link.machine.Bus`."""
        at = address // self.align
        self.beats.append((at, 1))
        if word is not None:
            self.words[at] = int.from_bytes(word, "little")
        return number(self.words.get(at, 0), self.align), Status.BUS if at in self.bad else Status.OK

    def interrupt(self) -> bool:
        """See `hw.link.machine.Bus`."""
        return self.irq


async def registers(ctx: Any, bus: Any, world: World, rng: random.Random, stall: float) -> None:
    """A background testbench: AXI4-Lite registers that answer at random times and note every write, with its last byte."""
    kept = 0
    while True:
        ready = rng.random() >= stall
        ctx.set(bus.arready, ready)
        ctx.set(bus.awready, ready)
        ctx.set(bus.wready, ready)
        _, _, ar, aw, w, araddr, awaddr, wdata, strobe = await ctx.tick().sample(
            bus.arvalid, bus.awvalid, bus.wvalid, bus.araddr, bus.awaddr, bus.wdata, bus.wstrb)
        if not (ready and (ar or aw)):
            continue
        assert not (ar and aw) and aw == w
        for name in ("arready", "awready", "wready"):
            ctx.set(getattr(bus, name), 0)
        mask = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
        kept = kept & ~mask | wdata & mask
        value, status = 0, Status.OK
        if ar or strobe >> 3:
            value, status = world.register(araddr if ar else awaddr, None if ar else kept)
        while rng.random() < stall:
            await ctx.tick()
        side = "r" if ar else "b"
        ctx.set(bus.rdata, value)
        ctx.set(getattr(bus, f"{side}resp"), 2 if status else 0)
        ctx.set(getattr(bus, f"{side}valid"), 1)
        await ctx.tick().until(getattr(bus, f"{side}ready"))
        ctx.set(getattr(bus, f"{side}valid"), 0)


def run(line: Iterable[int], expected: bytes, rng: random.Random, *, stall: float = 0.0, bad: set[int] | None = None,
        irq: bool = False, config: Config = SMALL, memory: Memory | None = None, dut: Link | SlowLink | None = None,
        ) -> tuple[Memory, World]:
    """Send bytes to a link until as many as expected have come back; check them, and that no more come.

    ``memory`` and ``dut`` go together, for tests that meddle with them while the line is read.
    """
    dut = dut or Link(config, SITE)
    memory = memory or Memory(dut.axi, dut.axi, config.axi_bits, rng, stall)
    memory.bad = bad or set()
    world = World(set(), irq)
    found = bytearray()

    async def give(ctx: Any) -> None:
        ctx.set(dut.irq, irq)
        for byte in line:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(dut.requests.payload, byte)
            ctx.set(dut.requests.valid, 1)
            await ctx.tick().until(dut.requests.ready)
            ctx.set(dut.requests.valid, 0)
        while len(found) < len(expected) or ctx.get(dut.active):
            await ctx.tick()
        await ctx.tick().repeat(60)

    async def take(ctx: Any) -> None:
        while True:
            ready = rng.random() >= stall
            ctx.set(dut.answers.ready, ready)
            _, _, valid, byte = await ctx.tick().sample(dut.answers.valid, dut.answers.payload)
            if valid and ready:
                found.append(byte)

    async def serve(ctx: Any) -> None:
        await registers(ctx, dut.axil, world, rng, stall)

    simulate(dut, give, background=[memory.read, memory.write, serve, take], cycles=300_000)
    if bytes(found) != expected:
        raise AssertionError(f"found {answers(bytes(found))}, expected {answers(expected)}")
    return memory, world
