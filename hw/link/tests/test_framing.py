"""CRC and COBS against their twins, and the twins against zlib and the cobs package."""

from __future__ import annotations

import binascii
import random

import pytest
from cobs import cobs

from golden.spec.link import CRC_RESIDUE
from hw.link.cobs import CobsDecoder, CobsEncoder
from hw.link.crc import Crc32
from hw.tests.bench import new_rng, receive, send, simulate


def frame(rng: random.Random) -> bytes:
    """A frame of any length around the block's, with no, few or many zeros."""
    length = rng.choice([1, 2, rng.randrange(1, 40), rng.randrange(250, 260), rng.randrange(505, 515)])
    zeros = rng.choice([0.0, 0.004, 0.3, 1.0])
    return bytes(0 if rng.random() < zeros else rng.randrange(1, 256) for _ in range(length))


def test_crc() -> None:
    rng = new_rng()
    dut = Crc32()
    data = rng.randbytes(60)
    expected = [Crc32.model(data[:i]) for i in range(len(data) + 1)]
    assert [x ^ 0xFFFFFFFF for x in expected] == [binascii.crc32(data[:i]) for i in range(len(data) + 1)]
    assert Crc32.model(data + binascii.crc32(data).to_bytes(4, "little")) == CRC_RESIDUE

    async def test(ctx):
        for _ in range(2):
            for i, byte in enumerate(data):
                assert ctx.get(dut.state) == expected[i]
                while rng.random() < 0.3:
                    ctx.set(dut.en, 0)
                    ctx.set(dut.byte, rng.randrange(256))
                    await ctx.tick()
                ctx.set(dut.en, 1)
                ctx.set(dut.byte, byte)
                await ctx.tick()
            assert ctx.get(dut.state) == expected[-1]
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)

    simulate(dut, test)


def test_cobs_twins() -> None:
    rng = new_rng()
    for _ in range(200):
        data = frame(rng)
        line = CobsEncoder.model(data)
        assert line == cobs.encode(data) + b"\0" and CobsDecoder.model(b"\0" + line + b"\0") == [(data, False)]
    for _ in range(500):  # any bytes: as the package reads them
        line = bytes(rng.choice([0, 1, 2, 3, 4, 255, rng.randrange(256)]) for _ in range(rng.randrange(40)))
        for (data, broken), part in zip(CobsDecoder.model(line), filter(None, line.split(b"\0")), strict=False):
            try:
                assert (cobs.decode(part), False) == (data, broken)
            except cobs.DecodeError:
                assert broken


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_encoder(stall: float) -> None:
    rng = new_rng()
    dut = CobsEncoder()
    frames = [frame(rng) for _ in range(12)] + [rng.randbytes(254).replace(b"\0", b"1"), b"\1" * 508, b"\0"]
    items = [{"data": x & 0xFF, "end": x >> 8, "broken": 0} for data in frames for x in (*data, 0x107)]
    line = b"".join(CobsEncoder.model(data) for data in frames)

    async def give(ctx):
        await send(ctx, dut.frames, items, rng, stall)

    async def take(ctx):
        assert bytes(await receive(ctx, dut.line, len(line), rng, stall)) == line

    simulate(dut, give, take)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_decoder(stall: float) -> None:
    rng = new_rng()
    dut = CobsDecoder()
    line = b"".join(CobsEncoder.model(frame(rng)) for _ in range(6))
    line += bytes(rng.choice([0, 0, 1, 2, 3, 255, rng.randrange(256)]) for _ in range(1500)) + b"\0"
    frames = CobsDecoder.model(line)
    assert any(broken for _, broken in frames)
    expected = [x for data, broken in frames for x in [*((b, 0, 0) for b in data), (None, 1, int(broken))]]

    async def give(ctx):
        await send(ctx, dut.line, list(line), rng, stall)

    async def take(ctx):
        found = await receive(ctx, dut.frames, len(expected), rng, stall)
        assert [(None if x.end else x.data, x.end, x.broken) for x in found] == expected

    simulate(dut, give, take)
