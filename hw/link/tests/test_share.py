"""Two users of one memory against the twin: everyone's bursts, to and from the right side, in turn where both ask."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from hw.link.memory_port import MemoryPort
from hw.link.share import OUTSTANDING, MemoryShare
from hw.tests.bench import Memory, new_rng, simulate

BITS = 32


class User:
    """A manager with up to four bursts on the way, whose data may come before their addresses."""

    def __init__(self, axi: Any, base: int, count: int, rng: random.Random, stall: float) -> None:
        self.axi, self.rng, self.stall = axi, rng, stall
        beats = [rng.choice([0, 0, 1, 3, 15]) + 1 for _ in range(2 * count)]
        self.reads = [(base + 64 * i, n) for i, n in enumerate(beats[:count])]
        self.writes = [(base + 64 * (i + 100), n) for i, n in enumerate(beats[count:])]
        self.words = [rng.getrandbits(BITS) for _, n in self.writes for _ in range(n)]
        self.lasts = [i == n - 1 for _, n in self.writes for i in range(n)]
        self.found: list[int] = []
        self.answered = 0

    def done(self) -> bool:
        return len(self.found) == sum(n for _, n in self.reads) and self.answered == len(self.writes)

    async def channel(self, ctx: Any, name: str, payloads: list[dict[str, int]], allowed: Any) -> None:
        """Offer payloads one behind the other, each once `allowed` says so."""
        valid, ready = getattr(self.axi, f"{name}valid"), getattr(self.axi, f"{name}ready")
        for i, payload in enumerate(payloads):
            while self.rng.random() < self.stall or not allowed(i):
                await ctx.tick()
            for key, value in payload.items():
                ctx.set(getattr(self.axi, name + key), value)
            ctx.set(valid, 1)
            await ctx.tick().until(ready)
            ctx.set(valid, 0)

    async def ask_reads(self, ctx: Any) -> None:
        ends = [sum(n for _, n in self.reads[:i + 1]) for i in range(len(self.reads))]
        await self.channel(ctx, "ar", [{"addr": a, "len": n - 1} for a, n in self.reads],
                           lambda i: i < 4 or len(self.found) >= ends[i - 4])

    async def ask_writes(self, ctx: Any) -> None:
        await self.channel(ctx, "aw", [{"addr": a, "len": n - 1} for a, n in self.writes], lambda i: i < 4 + self.answered)

    async def give(self, ctx: Any) -> None:
        beats = [{"data": word, "last": last} for word, last in zip(self.words, self.lasts, strict=True)]
        await self.channel(ctx, "w", beats, lambda i: True)

    async def take(self, ctx: Any) -> None:
        axi = self.axi
        while not self.done():
            ready = [self.rng.random() >= self.stall for _ in range(2)]
            ctx.set(axi.rready, ready[0])
            ctx.set(axi.bready, ready[1])
            _, _, r, data, b = await ctx.tick().sample(axi.rvalid, axi.rdata, axi.bvalid)
            if r and ready[0]:
                self.found.append(data)
            self.answered += b and ready[1]


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("slow", [0.0, 0.5])
@pytest.mark.parametrize("outstanding", [1, OUTSTANDING])
def test_share(stall: float, slow: float, outstanding: int) -> None:
    rng = new_rng()
    dut = MemoryShare(BITS, outstanding)
    memory = Memory(dut.axi, dut.axi, BITS, rng, slow)
    memory.words = {i: rng.getrandbits(BITS) for i in range(1 << 14)}
    first = dict(memory.words)
    users = [User(port, base, 25, rng, stall) for port, base in ((dut.user0, 0), (dut.user1, 1 << 15))]
    turns: dict[str, list[tuple[int, int]]] = {"ar": [], "aw": []}
    written: list[int] = []
    waiting = {name: [0, 0] for name in turns}
    axi = dut.axi

    async def watch(ctx: Any) -> None:
        """Notes whose bursts go through, and that nobody waits for more than one burst of the other."""
        while True:
            values = await ctx.tick().sample(
                axi.arvalid & axi.arready, axi.araddr, axi.arlen, axi.awvalid & axi.awready, axi.awaddr, axi.awlen,
                axi.wvalid & axi.wready, axi.wdata, *(getattr(u.axi, f"{n}valid") for n in turns for u in users))
            ar, araddr, arlen, aw, awaddr, awlen, w, wdata, *asks = values[2:]
            for name, taken, address, length in (("ar", ar, araddr, arlen), ("aw", aw, awaddr, awlen)):
                if taken:
                    owner = address >> 15
                    turns[name].append((owner, length + 1))
                    waiting[name][owner] = 0
                    waiting[name][1 - owner] += asks[2 * (name == "aw") + 1 - owner]
                    assert max(waiting[name]) <= 2, f"{name}: user {1 - owner} waits"
            if w:
                written.append(wdata)

    tests = [getattr(u, name) for u in users for name in ("ask_reads", "ask_writes", "give", "take")]
    simulate(dut, *tests, background=[memory.read, memory.write, watch])
    order = [deque(u.reads) for u in users]
    data = [first[address // 4 + i] for owner, _ in turns["ar"] for address, n in [order[owner].popleft()] for i in range(n)]
    sides, words = MemoryShare.model(turns["ar"], data, turns["aw"], [u.words for u in users])
    assert [u.found for u in users] == sides and written == words
    for user in users:
        places = [address // 4 + i for address, n in user.writes for i in range(n)]
        assert [memory.words[x] for x in places] == user.words


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_memory_port(stall: float) -> None:
    rng = new_rng()
    dut = MemoryPort(BITS)
    memory = Memory(dut.axi, dut.axi, BITS, rng, stall)
    memory.bad = {3, 17}
    accesses = [(rng.randrange(2), 4 * rng.randrange(20), rng.getrandbits(BITS)) for _ in range(80)]
    words: dict[int, int] = {}
    expected = MemoryPort.model(accesses, words, lambda address: address // 4 in memory.bad)
    found: list[tuple[int, int]] = []

    async def give(ctx: Any) -> None:
        for write, address, word in accesses:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(dut.accesses.payload, {"write": write, "address": address, "data": word})
            ctx.set(dut.accesses.valid, 1)
            await ctx.tick().until(dut.accesses.ready)
            ctx.set(dut.accesses.valid, 0)
        while len(found) < len(accesses):
            await ctx.tick()

    async def take(ctx: Any) -> None:
        while True:
            _, _, valid, outcome = await ctx.tick().sample(dut.outcomes.valid, dut.outcomes.payload)
            if valid:
                write = accesses[len(found)][0]
                found.append((0 if write else outcome.data, outcome.error))

    simulate(dut, give, background=[memory.read, memory.write, take])
    assert found == expected and memory.words == {address // 4: word for address, word in words.items()}
