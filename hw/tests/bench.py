"""What the tests in Amaranth's simulator share: seeds, streams with random stalls, an AXI4 memory that checks its manager."""

from __future__ import annotations

import os
import random
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.sim import Simulator

from hw.axi import MAX_BURST


def new_rng() -> random.Random:
    """Random numbers whose seed is printed; ``TANDEM_SEED`` sets it."""
    seed = int(os.environ.get("TANDEM_SEED") or random.randrange(1 << 32))
    print(f"TANDEM_SEED={seed}")
    return random.Random(seed)


def simulate(dut: Elaboratable, *testbenches: Callable, background: Sequence[Callable] = (), cycles: int = 50_000) -> None:
    """Run until all ``testbenches`` are done; fails after ``cycles``."""
    top = Module()
    top.submodules.dut = dut
    top.d.sync += Signal(name="clocked").eq(1)  # also where the device is wires only
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    done = 0
    failures: list[str] = []

    def guarded(testbench: Callable) -> Callable:
        async def run(ctx: Any) -> None:
            nonlocal done
            try:
                await testbench(ctx)
            except Exception:  # raised below: pytest cannot print what comes out of the simulator's coroutines
                failures.append(traceback.format_exc(limit=-3))
            else:
                done += 1
        return run

    for testbench in background:  # first, so that at each clock edge they have seen what the tests ask them about
        simulator.add_testbench(guarded(testbench), background=True)
    for testbench in testbenches:
        simulator.add_testbench(guarded(testbench))
    for _ in range(cycles):
        simulator.advance()
        if failures:
            raise AssertionError(failures[0])
        if done == len(testbenches):
            return
    raise AssertionError(f"{len(testbenches) - done} of {len(testbenches)} testbenches not done after {cycles} cycles")


class Clock:
    """A background testbench that counts cycles."""

    def __init__(self) -> None:
        self.cycles = 0

    async def __call__(self, ctx: Any) -> None:
        """See `simulate`."""
        while True:
            await ctx.tick()
            self.cycles += 1


async def send(ctx: Any, stream: Any, items: Sequence[Any], rng: random.Random, stall: float = 0.0) -> None:
    """Send ``items`` with a pause before an item with probability ``stall``."""
    for item in items:
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(stream.payload, item)
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


async def receive(ctx: Any, stream: Any, count: int, rng: random.Random, stall: float = 0.0) -> list[Any]:
    """Take ``count`` items; checks that a payload on offer stays until it is taken."""
    items: list[Any] = []
    held = None
    while len(items) < count:
        ready = rng.random() >= stall
        ctx.set(stream.ready, ready)
        _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if held is not None:
            assert valid and payload == held, f"item {len(items)} was not held"
        held = payload if valid and not ready else None
        if valid and ready:
            items.append(payload)
    ctx.set(stream.ready, 0)
    return items


class Memory:
    """An AXI4 memory with random stalls. `read` and `write` are background testbenches.

    Parameters
    ----------
    axi_read, axi_write : AxiRead, AxiWrite
        Ports of the device under test.
    bits : int
        Data width.
    words : dict
        Beats by number (address / beat bytes).
    stall : float
        Probability that a channel does not move in a cycle.
    """

    def __init__(self, axi_read: Any, axi_write: Any, bits: int, rng: random.Random, stall: float = 0.0) -> None:
        self.axi_read, self.axi_write, self.bits, self.rng, self.stall = axi_read, axi_write, bits, rng, stall
        self.words: dict[int, int] = {}
        self.bad: set[int] = set()  #: beats that answer with an error response
        self.silent = False  #: answers nothing
        self.bursts: list[tuple[int, int]] = []  #: (beat, length) of each burst
        self.reads: deque[tuple[int, bool]] = deque()
        self.writes: deque[tuple[int, bool]] = deque()
        self.answers: deque[int] = deque()
        self.most_outstanding = 0

    def put(self, address: int, data: bytes) -> None:
        """Store bytes from ``address`` up."""
        size = self.bits // 8
        assert address % size == 0 and len(data) % size == 0
        for i in range(0, len(data), size):
            self.words[(address + i) // size] = int.from_bytes(data[i:i + size], "little")

    def get(self, address: int, count: int) -> bytes:
        """``count`` bytes from ``address`` up; what was never written is 0."""
        size = self.bits // 8
        return b"".join(self.words.get((address + i) // size, 0).to_bytes(size, "little") for i in range(0, count, size))

    def forget(self) -> None:
        """Drop everything that is on the way."""
        for queue in (self.reads, self.writes, self.answers):
            queue.clear()

    def moves(self) -> bool:
        """Whether a channel moves in this cycle."""
        return not self.silent and self.rng.random() >= self.stall

    def burst(self, address: int, length: int) -> list[tuple[int, bool]]:
        """Beats of a burst, after the checks that the bus rules demand."""
        size = self.bits // 8
        assert address % size == 0, f"address {address:#x} is not aligned"
        first = address // size
        assert first // MAX_BURST == (first + length) // MAX_BURST, f"burst at {address:#x} of {length + 1} beats crosses"
        self.bursts.append((first, length + 1))
        return [(first + i, i == length) for i in range(length + 1)]

    async def read(self, ctx: Any) -> None:
        """The read channels."""
        axi = self.axi_read
        valid, held = False, None
        while True:
            ready = self.moves()
            if not valid and self.reads and self.moves():
                valid = True
                beat, last = self.reads[0]
                ctx.set(axi.rdata, self.words.get(beat, 0))
                ctx.set(axi.rresp, 2 if beat in self.bad else 0)
                ctx.set(axi.rlast, last)
            ctx.set(axi.rvalid, valid)
            ctx.set(axi.arready, ready)
            _, _, arvalid, araddr, arlen, rready = await ctx.tick().sample(axi.arvalid, axi.araddr, axi.arlen, axi.rready)
            if valid and rready:
                valid = False
                if self.reads:
                    self.reads.popleft()
            if held:
                assert (arvalid, araddr, arlen) == held, "read address was not held"
            held = (arvalid, araddr, arlen) if arvalid and not ready and not self.silent else None
            if arvalid and ready:
                self.reads.extend(self.burst(araddr, arlen))
                self.most_outstanding = max(self.most_outstanding, sum(last for _, last in self.reads))

    async def write(self, ctx: Any) -> None:
        """The write channels."""
        axi = self.axi_write
        data: deque[tuple[int, bool]] = deque()
        valid, held_aw, held_w = False, None, None
        while True:
            aw_ready, w_ready = self.moves(), self.moves()
            if not valid and self.answers and self.moves():
                valid = True
                ctx.set(axi.bresp, self.answers[0])
            ctx.set(axi.bvalid, valid)
            ctx.set(axi.awready, aw_ready)
            ctx.set(axi.wready, w_ready)
            _, _, awvalid, awaddr, awlen, wvalid, wdata, wlast, bready = await ctx.tick().sample(
                axi.awvalid, axi.awaddr, axi.awlen, axi.wvalid, axi.wdata, axi.wlast, axi.bready)
            if valid and bready:
                valid = False
                if self.answers:
                    self.answers.popleft()
            aw, w = (awvalid, awaddr, awlen), (wvalid, wdata, wlast)
            assert not held_aw or aw == held_aw, "write address was not held"
            assert not held_w or w == held_w, "write data was not held"
            held_aw = aw if awvalid and not aw_ready and not self.silent else None
            held_w = w if wvalid and not w_ready and not self.silent else None
            if awvalid and aw_ready:
                self.writes.extend(self.burst(awaddr, awlen))
            if wvalid and w_ready:
                data.append((wdata, bool(wlast)))
            if not self.writes and self.silent:
                data.clear()
            while data and self.writes:
                (beat, last), (value, has_last) = self.writes.popleft(), data.popleft()
                assert last == has_last, f"wlast is {has_last} in beat {beat}"
                self.words[beat] = value
                if last:
                    self.answers.append(2 if beat in self.bad else 0)
