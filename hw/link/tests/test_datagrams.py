"""Datagrams in and out against their twins: any sizes, lies about them, damage, no room, a core that takes nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from golden.spec.link import DELIMITER
from hw.link.datagrams import ANSWER_WORDS, LEAST_WORDS, WORD_BYTES, Datagram, DatagramReceiver, DatagramSender
from hw.tests.bench import new_rng, receive, simulate


def words(datagram: Datagram, rng: random.Random) -> list[dict[str, Any]]:
    """A datagram as the core gives it; what lies behind its bytes in the last word is rubbish."""
    count = -(-len(datagram.data) // WORD_BYTES)
    data = datagram.data + rng.randbytes(count * WORD_BYTES - len(datagram.data))
    return [{
        "data": int.from_bytes(data[i * WORD_BYTES:][:WORD_BYTES], "little"), "last": i == count - 1, "length": datagram.length,
        "peer": {"address": datagram.address, "port": datagram.port}, "error": datagram.error and i == count - 1,
    } for i in range(count)]


def some(rng: random.Random, most: int) -> Datagram:
    """A datagram, of whomever; its header may be wrong."""
    size = rng.choice([1, 2, 3, 4, 5, rng.randrange(1, most + 1), most])
    kind = rng.choice(["good"] * 5 + ["short", "long", "empty", "damaged"])
    length = {"short": rng.randrange(1, size + 1), "long": rng.randrange(size, 1 << 16), "empty": 0}.get(kind, size)
    if kind == "long":
        size = -(-size // WORD_BYTES) * WORD_BYTES  # then the last word is taken whole
    return Datagram(rng.getrandbits(32), rng.getrandbits(16), rng.randbytes(size), length, kind == "damaged")


async def give(ctx: Any, stream: Any, items: list[dict[str, Any]], rng: random.Random, stall: float) -> int:
    """Send words; the most cycles that one of them waited."""
    longest = 0
    for item in items:
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(stream.payload, item)
        ctx.set(stream.valid, 1)
        waited = -1
        ready = False
        while not ready:
            _, _, ready = await ctx.tick().sample(stream.ready)
            waited += 1
        longest = max(longest, waited)
        ctx.set(stream.valid, 0)
    return longest


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_receiver(stall: float) -> None:
    """With room for all; who sent a byte is known as long as it is on offer."""
    rng = new_rng()
    dut = DatagramReceiver(1024)
    datagrams = [some(rng, 90) for _ in range(40)]
    expected = DatagramReceiver.model(datagrams)
    assert 10 < len(expected) < len(datagrams)
    done = False

    async def send(ctx: Any) -> None:
        nonlocal done
        longest = 0
        for x in datagrams:
            longest = max(longest, await give(ctx, dut.received, words(x, rng), rng, stall))
        assert longest <= 2
        done = True

    async def take(ctx: Any) -> None:
        for address, port, data in expected:
            got = bytearray()
            while len(got) < len(data):
                ready = rng.random() >= stall
                ctx.set(dut.requests.ready, ready)
                _, _, valid, byte, asker = await ctx.tick().sample(dut.requests.valid, dut.requests.payload, dut.asker)
                if valid:
                    assert (asker.address, asker.port) == (address, port)
                if valid and ready:
                    got.append(byte)
            assert got == data
        ctx.set(dut.requests.ready, 0)
        while not done:
            await ctx.tick()
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.requests.valid)

    simulate(dut, send, take)


@pytest.mark.parametrize("size", [32, 64])
def test_no_room(size: int) -> None:
    """What does not fit is lost whole, nobody waits for the link, and what comes later is right."""
    rng = new_rng()
    dut = DatagramReceiver(size)
    datagrams = [some(rng, 6 * size) for _ in range(120)]
    expected = DatagramReceiver.model(datagrams)
    found: list[tuple[int, int, bytes]] = []
    sent = False

    async def send(ctx: Any) -> None:
        nonlocal sent
        for x in datagrams:
            assert await give(ctx, dut.received, words(x, rng), rng, 0.1) <= 2
        sent = True
        last = Datagram(1, 2, b"last", 4)
        await ctx.tick().repeat(60 * size)
        await give(ctx, dut.received, words(last, rng), rng, 0.0)
        await ctx.tick().repeat(60)
        assert found[-1] == DatagramReceiver.model([last])[0]

    async def take(ctx: Any) -> None:
        got = bytearray()
        left = 0
        while True:
            ready = sent or rng.random() < 0.3
            ctx.set(dut.requests.ready, ready)
            _, _, valid, byte, asker = await ctx.tick().sample(dut.requests.valid, dut.requests.payload, dut.asker)
            if valid and ready:
                got.append(byte)
                candidates = [x for x in expected if x[:2] == (asker.address, asker.port)] + [(1, 2, b"last\0")]
                left = len(candidates[0][2]) - len(got)
                if not left:
                    found.append((asker.address, asker.port, bytes(got)))
                    got.clear()

    simulate(dut, send, background=[take], cycles=100_000)
    remaining = iter(expected)
    assert all(x in remaining for x in found[:-1]) and 5 < len(found) - 1 < len(expected)


def answers(rng: random.Random, count: int) -> bytes:
    """Frames as the link sends them, some empty, and one too long for a datagram."""
    most = ANSWER_WORDS * WORD_BYTES - 1
    sizes = [0, 1, 2, 3, 4, most, most + 1, 1000, *(rng.randrange(200) for _ in range(count))]
    rng.shuffle(sizes)
    return b"".join(bytes(rng.randrange(1, 256) for _ in range(x)) + bytes([DELIMITER]) for x in sizes)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_sender(stall: float) -> None:
    """Each datagram has its length and its asker before its first byte, and goes to who asked as the answer ended."""
    rng = new_rng()
    dut = DatagramSender()
    line = answers(rng, 10)
    expected = DatagramSender.model(line)
    askers: list[tuple[int, int]] = []

    async def give(ctx: Any) -> None:
        size = 0
        for byte in line:
            while rng.random() < stall:
                await ctx.tick()
            asker = {"address": rng.getrandbits(32), "port": rng.getrandbits(16)}
            ctx.set(dut.asker, asker)
            ctx.set(dut.answers.payload, byte)
            ctx.set(dut.answers.valid, 1)
            await ctx.tick().until(dut.answers.ready)
            ctx.set(dut.answers.valid, 0)
            size += 1
            if byte == DELIMITER:
                if size <= ANSWER_WORDS * WORD_BYTES:
                    askers.append((asker["address"], asker["port"]))
                size = 0

    async def take(ctx: Any) -> None:
        for number, data in enumerate(expected):
            found = await receive(ctx, dut.sent, len(data) // WORD_BYTES, rng, stall)
            assert b"".join(x.data.to_bytes(WORD_BYTES, "little") for x in found) == data
            assert [x.last for x in found] == [0] * (len(found) - 1) + [1] and {x.length for x in found} == {len(data)}
            assert {(x.peer.address, x.peer.port) for x in found} == {askers[number]}

    simulate(dut, give, take)


def test_a_core_that_takes_nothing() -> None:
    """Whoever answers waits for a while only, and loses whole answers; later everything goes on."""
    rng = new_rng()
    dut = DatagramSender(patience=50)
    first, lost, cut, good = b"\1\2\3\0", b"\4" * 70 + b"\0", b"\5" * 30, b"\6\7\0"

    async def give(ctx: Any) -> None:
        for part, least, most in ((first, 0, 0), (lost, 40, 60), (cut, 0, 0)):
            waited = 0
            for byte in part:
                ctx.set(dut.answers.payload, byte)
                ctx.set(dut.answers.valid, 1)
                ready = False
                while not ready:
                    _, _, ready = await ctx.tick().sample(dut.answers.ready)
                    waited += not ready
            assert least <= waited <= most
        ctx.set(dut.answers.valid, 0)
        assert await receive(ctx, dut.sent, LEAST_WORDS, rng)
        for byte in cut + b"\0" + good:
            ctx.set(dut.answers.payload, byte)
            ctx.set(dut.answers.valid, 1)
            await ctx.tick().until(dut.answers.ready)
        ctx.set(dut.answers.valid, 0)
        found = await receive(ctx, dut.sent, LEAST_WORDS, rng)
        assert [b"".join(x.data.to_bytes(WORD_BYTES, "little") for x in found)] == DatagramSender.model(good)

    simulate(dut, give)
