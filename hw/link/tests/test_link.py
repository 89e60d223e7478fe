"""The link as a whole against its twin: every request, every refusal, repetitions, and lines full of rubbish."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from golden.spec import link as protocol
from golden.spec.config import BASE, PICO, SMALL, Config
from golden.spec.link import ANSWER, DATA_BYTES, FRAME_BYTES, SPARSE_BYTES, Kind, Status
from hw.link.link import Link
from hw.link.tests.bench import BAD_REGISTER, SITE, World, answers, number, request, run
from hw.tests.bench import Memory, new_rng

IDENTIFY = request(Kind.IDENTIFY, 100)


def compare(line: bytes, rng: random.Random, stall: float = 0.0, bad: set[int] | None = None, irq: bool = False,
            config: Config = SMALL) -> list[tuple[int, int, Status, bytes]]:
    """Run a line on the link and on its twin; compare answers, memory, and every access; the answers."""
    twin = World(bad or set(), irq, config.axi_bytes)
    expected = Link.model(config, SITE, line, twin)
    memory, world = run(line, expected, rng, stall=stall, bad=bad, irq=irq, config=config)
    assert memory.bursts == twin.beats and memory.words == twin.words
    assert world.writes == twin.writes
    return answers(expected)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_every_request(stall: float) -> None:
    rng = new_rng()
    words = rng.randbytes(64)
    line = b"".join([
        IDENTIFY, request(Kind.WRITE_MEMORY, 101, number(0x100) + words),
        request(Kind.READ_MEMORY, 102, number(0xFC) + number(72, 2)),
        request(Kind.WRITE_REGISTERS, 103, number(0x2C) + number(0xDEADBEEF)),
        request(Kind.READ_REGISTERS, 104, number(0x2C) + number(4, 2)),
        request(Kind.ECHO, 105, b"\0\1\2"), request(Kind.ECHO, 106), request(Kind.WAIT, 107, number(3, 2)),
        request(Kind.WRITE_MEMORY, 108, number((1 << 16) - DATA_BYTES) + bytes(DATA_BYTES)),
        request(Kind.READ_MEMORY, 109, number((1 << 16) - DATA_BYTES) + number(DATA_BYTES, 2)),
    ])
    found = compare(line, rng, stall, irq=True)
    assert [(x[1], x[2]) for x in found] == [(100 + i, Status.OK) for i in range(10)]
    identity = protocol.unpack(protocol.IDENTITY, found[0][3])
    assert identity == {"protocol": protocol.VERSION, "align": 4, "data_bytes": DATA_BYTES, "clock": 20_000, "memory": 1 << 16,
                        "digest": SMALL.digest, "build": "0123456789abcdef", "board": "bench"}
    assert found[2][3] == bytes(4) + words + bytes(4)
    assert [x[3] for x in found[3:8]] == [b"", number(0xDEADBEEF), b"\0\1\2", b"", b"\1"]
    assert found[9][3] == bytes(DATA_BYTES)


def unfinished(line: bytes) -> bytes:
    """A line whose last block says that it has a byte more than there is; all else of it is right."""
    at = 0
    while at + line[at] < len(line) - 1:
        at += line[at]
    return line[:at] + bytes([line[at] + 1]) + line[at + 1:]


def test_wide_memory() -> None:
    """Beats of eight bytes."""
    rng = new_rng()
    words = rng.randbytes(40)
    line = IDENTIFY + request(Kind.WRITE_MEMORY, 101, number(8) + words)
    line += request(Kind.READ_MEMORY, 102, number(0) + number(56, 2))
    line += request(Kind.WRITE_MEMORY, 103, number(4) + bytes(8)) + request(Kind.READ_MEMORY, 104, number(8) + number(4, 2))
    line += request(Kind.READ_REGISTERS, 105, number(4) + number(8, 2)) + request(Kind.WAIT, 106, number(1, 2))
    found = compare(line, rng, 0.2, config=BASE)
    assert [x[2] for x in found] == [Status.OK] * 3 + [Status.RANGE] * 2 + [Status.OK] * 2
    assert found[5][3] == bytes(8)
    assert found[0][3][1] == 8 and found[2][3] == bytes(8) + words + bytes(8)


@pytest.mark.parametrize("config", [SMALL, BASE, PICO], ids=lambda x: x.name)
def test_sparse_writes(config: Config) -> None:
    """Groups of 8 bytes, the last one shorter; nothing but zeros; too few bytes, and too many; as long as they may be."""
    rng = new_rng()
    words = bytes(rng.choice([0, 0, 0, x]) for x in rng.randbytes(40))
    packed = b"".join(
        bytes([sum((x != 0) << i for i, x in enumerate(part))]) + bytes(x for x in part if x)
        for part in (words[i:i + 8] for i in range(0, len(words), 8)))
    assert protocol.unpack_sparse(packed, 40) == words
    bodies = [
        number(64) + number(40, 2) + packed, number(128) + number(40, 2) + packed + b"more",
        number(192) + number(40, 2) + packed[:-3],
        number(64) + number(24, 2) + packed[:8], number(256) + number(8, 2), number(0) + number(SPARSE_BYTES, 2) + b"\1x\x80y",
        number(512) + number(376, 2) + b"\xff" + (b"12345678\xff" * 49)[:DATA_BYTES - 3],
    ]
    line = IDENTIFY + b"".join(request(Kind.WRITE_SPARSE, 101 + i, body) for i, body in enumerate(bodies))
    line += request(Kind.WRITE_SPARSE, 101 + len(bodies), number(0) + number(8, 2) + b"\x81az")
    line += request(Kind.READ_MEMORY, 102 + len(bodies), number(0) + number(16, 2))
    found = compare(line, rng, 0.2, config=config)
    assert [x[2] for x in found] == [Status.OK] * (len(bodies) + 3)
    assert found[-1][3] == b"a" + bytes(6) + b"z" + bytes(7) + b"y"


def test_refusals() -> None:
    """What the board does not do: nothing is written, and the next request is taken."""
    rng = new_rng()
    size = SITE.memory_bytes
    refused = [
        (b"\2\3\0", Status.DAMAGED), (b"\7\1\0", Status.DAMAGED),  # shorter than any frame, and a broken one
        (unfinished(request(Kind.WRITE_MEMORY, 101, bytes(8))), Status.DAMAGED),
        (request(9, 101), Status.UNKNOWN), (request(0, 101), Status.UNKNOWN), (request(0x7F, 101, b"abc"), Status.UNKNOWN),
        (request(Kind.IDENTIFY, 101, b"x"), Status.LENGTH), (request(Kind.READ_REGISTERS, 101, bytes(5)), Status.LENGTH),
        (request(Kind.WRITE_REGISTERS, 101, bytes(3)), Status.LENGTH), (request(Kind.WRITE_MEMORY, 101, bytes(3)), Status.LENGTH),
        (request(Kind.ECHO, 101, bytes(DATA_BYTES + 1)), Status.LENGTH), (request(Kind.WAIT, 101, bytes(1)), Status.LENGTH),
        (request(Kind.WRITE_SPARSE, 101, bytes(5)), Status.LENGTH),
        (request(Kind.WRITE_MEMORY, 101, bytes(DATA_BYTES + 4 + 1)), Status.DAMAGED),  # too long a frame
        (request(Kind.WRITE_MEMORY, 102, bytes(8)), Status.SEQUENCE), (request(Kind.WRITE_MEMORY, 99, bytes(8)), Status.SEQUENCE),
        (request(Kind.WRITE_MEMORY, 100, bytes(8)), Status.SEQUENCE),  # number of the last one, but not its bytes
    ]
    placed = [
        (Kind.WRITE_MEMORY, number(2) + bytes(4)), (Kind.WRITE_MEMORY, number(0) + bytes(6)), (Kind.WRITE_MEMORY, number(0)),
        (Kind.WRITE_MEMORY, number(size - 4) + bytes(8)), (Kind.WRITE_MEMORY, number(size) + bytes(4)),
        (Kind.WRITE_MEMORY, number((1 << 32) - 4) + bytes(8)), (Kind.READ_MEMORY, number(0) + number(0, 2)),
        (Kind.READ_MEMORY, number(0) + number(DATA_BYTES + 4, 2)), (Kind.READ_MEMORY, number(1) + number(4, 2)),
        (Kind.WRITE_SPARSE, number(0) + number(0, 2)), (Kind.WRITE_SPARSE, number(0) + number(6, 2) + b"\0"),
        (Kind.WRITE_SPARSE, number(2) + number(4, 2) + b"\0"), (Kind.WRITE_SPARSE, number(0) + number(SPARSE_BYTES + 4, 2)),
        (Kind.WRITE_SPARSE, number(size - 4) + number(8, 2)), (Kind.WRITE_SPARSE, number(0) + number((1 << 16) - 4, 2)),
        (Kind.READ_REGISTERS, number(1 << 8) + number(4, 2)), (Kind.WRITE_REGISTERS, number(1 << 31) + number(1)),
        (Kind.READ_REGISTERS, number(0xF8) + number(12, 2)), (Kind.WRITE_REGISTERS, number(0xFC) + bytes(8)),
        (Kind.READ_REGISTERS, number(2) + number(4, 2)), (Kind.READ_REGISTERS, number(0) + number(6, 2)),
        (Kind.READ_REGISTERS, number(0) + number(0, 2)), (Kind.WRITE_REGISTERS, number(8)),
        (Kind.READ_REGISTERS, number(0) + number(DATA_BYTES, 2)), (Kind.READ_REGISTERS, number(0) + number((1 << 16) - 4, 2)),
    ]
    line = IDENTIFY + b"".join(x for x, _ in refused)
    line += b"".join(request(kind, 101 + i, body) for i, (kind, body) in enumerate(placed))
    line += request(Kind.WRITE_REGISTERS, 101 + len(placed), number(BAD_REGISTER) + number(1))
    line += request(Kind.READ_REGISTERS, 102 + len(placed), number(BAD_REGISTER) + number(4, 2))
    line += request(0x81, 5) + request(0xFF, 5, b"abc")
    line += request(Kind.READ_MEMORY, 103 + len(placed), number(0) + number(8, 2))
    found = compare(line, rng)
    expected = [Status.OK, *(status for _, status in refused), *[Status.RANGE] * len(placed), Status.BUS, Status.BUS, Status.OK]
    assert [x[2] for x in found] == expected
    assert found[-1][3] == bytes(8)


@pytest.mark.parametrize("config", [SMALL, BASE, PICO], ids=lambda x: x.name)
def test_several_registers(config: Config) -> None:
    """One behind the other, in order; an error ends it, and what lies before it is done; repeated, nothing is written again."""
    rng = new_rng()
    values = rng.randbytes(20)
    bad = request(Kind.WRITE_REGISTERS, 103, number(BAD_REGISTER - 8) + values[:12])
    line = IDENTIFY + 2 * request(Kind.WRITE_REGISTERS, 101, number(0x20) + values)
    line += request(Kind.READ_REGISTERS, 102, number(0x1C) + number(28, 2)) + 2 * bad
    line += request(Kind.READ_REGISTERS, 104, number(BAD_REGISTER - 8) + number(12, 2))
    line += request(Kind.READ_REGISTERS, 105, number(BAD_REGISTER - 8) + number(8, 2))
    line += request(Kind.READ_REGISTERS, 106, number(0) + number(BAD_REGISTER, 2))
    found = compare(line, rng, 0.4, config=config)
    assert [x[2] for x in found] == [Status.OK] * 4 + [Status.BUS] * 3 + [Status.OK] * 2
    assert found[3][3] == bytes(4) + values + bytes(4) and found[7][3] == values[:8] and len(found[8][3]) == BAD_REGISTER


def test_nothing_before_identify() -> None:
    rng = new_rng()
    line = request(Kind.WRITE_MEMORY, 1, bytes(8)) + request(Kind.WRITE_REGISTERS, 0, bytes(8)) + request(Kind.ECHO, 0)
    assert [x[2] for x in compare(line, rng)] == [Status.SEQUENCE] * 3


def test_repetitions() -> None:
    """A repeated register write is answered, with its own status, and not written again; numbers wrap."""
    rng = new_rng()
    start = request(Kind.WRITE_REGISTERS, 65535, number(0x18) + number(1))
    bad = request(Kind.WRITE_REGISTERS, 0, number(BAD_REGISTER) + number(1))
    other = request(Kind.WRITE_REGISTERS, 65535, number(0x18) + number(2))
    line = request(Kind.IDENTIFY, 65534) + 3 * start + other + start + 2 * bad + start + bad
    line += 2 * request(Kind.WRITE_REGISTERS, 1, number(1 << 20) + number(1))
    line += 2 * request(Kind.WRITE_MEMORY, 2, number(64) + b"abcdefgh")
    line += 2 * request(Kind.READ_MEMORY, 3, number(64) + number(8, 2))
    assert [x[2] for x in compare(line, rng)] == [Status.OK] * 4 + [Status.SEQUENCE, Status.OK] + [Status.BUS] * 2 + [
        Status.SEQUENCE, Status.BUS] + [Status.RANGE] * 2 + [Status.OK] * 4
    twin = World(set(), False)
    Link.model(SMALL, SITE, line, twin)
    assert twin.writes == [(0x18, 1), (BAD_REGISTER, 1)]


def test_memory_errors() -> None:
    """The access with the error is the last one of its request."""
    rng = new_rng()
    line = IDENTIFY + request(Kind.WRITE_MEMORY, 101, number(32) + rng.randbytes(16))
    line += request(Kind.READ_MEMORY, 102, number(32) + number(16, 2)) + request(Kind.READ_MEMORY, 103, number(32) + number(8, 2))
    assert [x[2] for x in compare(line, rng, bad={10})] == [Status.OK, Status.BUS, Status.BUS, Status.OK]


def test_a_silent_memory() -> None:
    """The request is given up, those for registers are still answered, and what comes late belongs to nobody."""
    rng = new_rng()
    dut = Link(SMALL, SITE)
    memory = Memory(dut.axi, dut.axi, SMALL.axi_bits, rng)
    memory.silent = True
    last = request(Kind.READ_MEMORY, 104, number(64) + number(8, 2))

    def line() -> Iterator[int]:
        yield from IDENTIFY + request(Kind.WRITE_MEMORY, 101, number(64) + b"abcdefgh")
        yield from request(Kind.READ_MEMORY, 102, number(0) + number(4, 2))
        yield from request(Kind.READ_REGISTERS, 103, number(4) + number(4, 2))
        yield from last[:4]  # the link takes these once it has answered everything else
        memory.silent = False
        yield from last[4:]

    expected = [
        (Kind.IDENTIFY, 100, Status.OK, SITE.identity(SMALL)), (Kind.WRITE_MEMORY, 101, Status.SILENT, b""),
        (Kind.READ_MEMORY, 102, Status.SILENT, b""), (Kind.READ_REGISTERS, 103, Status.OK, number(0)),
        (Kind.READ_MEMORY, 104, Status.OK, b"abcd" + bytes(4)),
    ]
    run(line(), b"".join(request(kind | ANSWER, seq, bytes([status]) + body) for kind, seq, status, body in expected), rng,
        memory=memory, dut=dut)
    assert memory.bursts == [(16, 1), (16, 1), (17, 1)]


@pytest.mark.parametrize("irq", [False, True])
def test_wait(irq: bool) -> None:
    """Without an interrupt a wait ends at its limit, or when another frame comes."""
    rng = new_rng()
    line = IDENTIFY + request(Kind.WAIT, 101, number(0, 2)) + request(Kind.WAIT, 102, number(60_000, 2))
    line += request(Kind.ECHO, 103, b"x")
    assert [x[3] for x in compare(line, rng, irq=irq)[1:]] == [bytes([irq]), bytes([irq]), b"x"]


def rubbish(rng: random.Random, good: list[bytes]) -> bytes:
    """A frame that is cut, flipped, joined with another one, or no frame at all."""
    frame = bytearray(rng.choice(good))
    kind = rng.choice(["flip", "cut", "join", "random", "zeros", "long", "insert"])
    if kind == "flip":
        for _ in range(rng.choice([1, 1, 2, 5])):
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        frame = frame[rng.randrange(len(frame)):] if rng.random() < 0.5 else frame[:rng.randrange(len(frame))] + b"\0"
    elif kind == "join":
        frame = frame[:-1] + rng.choice(good)
    elif kind == "random":
        frame = bytearray(rng.randbytes(rng.randrange(60)))
    elif kind == "zeros":
        frame = bytearray(rng.randrange(20))
    elif kind == "long":
        frame = bytearray(rng.choice([b"\xff", b"\1", b"\2"]) * rng.randrange(FRAME_BYTES - 5, FRAME_BYTES + 60))
    else:
        frame.insert(rng.randrange(len(frame)), rng.randrange(256))
    return bytes(frame)


def fuzzed(rng: random.Random) -> bytes:
    """A line of good requests, repetitions, old ones and rubbish."""
    good, line, sequence = [IDENTIFY], bytearray(IDENTIFY), 100
    for _ in range(60):
        if rng.random() < 0.5:
            sequence += 1
            address = number(4 * rng.randrange(1 << 14))
            good.append(rng.choice([
                request(Kind.WRITE_MEMORY, sequence, address + rng.randbytes(4 * rng.randrange(12))),
                request(Kind.READ_MEMORY, sequence, address + number(4 * rng.randrange(12), 2)),
                request(Kind.WRITE_REGISTERS, sequence, number(4 * rng.randrange(66)) + rng.randbytes(4 * rng.randrange(5))),
                request(Kind.READ_REGISTERS, sequence, number(4 * rng.randrange(66)) + number(4 * rng.randrange(9), 2)),
                request(Kind.ECHO, sequence, rng.randbytes(rng.randrange(30))),
                request(Kind.WRITE_SPARSE, sequence,
                        address + number(4 * rng.randrange(24), 2) + rng.randbytes(rng.randrange(70))),
                request(Kind.IDENTIFY, sequence), request(Kind.WAIT, sequence, number(1, 2)),
                request(rng.randrange(256), sequence, rng.randbytes(rng.randrange(12))),
            ]))
            line += good[-1] * rng.choice([1, 1, 1, 2])
        elif rng.random() < 0.3:
            line += rng.choice(good)
        else:
            line += rubbish(rng, good)
    return bytes(line) + b"\0"


@pytest.mark.parametrize("case", [*range(4), *(pytest.param(i, marks=pytest.mark.slow) for i in range(4, 24))])
def test_fuzz(case: int) -> None:
    """Answers and accesses are the twin's, so that nothing else is written."""
    rng = new_rng()
    line = fuzzed(rng)
    compare(line, rng, stall=rng.choice([0.0, 0.3]), bad={rng.randrange(1 << 14) for _ in range(200)}, irq=case % 2 == 0)
