"""The slow link against the same twin as the fast one, its program on the processor's twin, the processor against its twin."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from golden.spec.config import PICO
from golden.spec.link import REGISTER_BYTES, Kind, Status
from hw.link import processor
from hw.link.firmware import CONDITIONS, DATA, LINE, PORTS, firmware
from hw.link.link import Link
from hw.link.processor import CALL, RETURN, Op, Processor, jump
from hw.link.slow_link import SlowLink
from hw.link.tests.bench import BAD_REGISTER, SITE, World, answers, number, request, run
from hw.link.tests.test_link import IDENTIFY, fuzzed
from hw.tests.bench import new_rng, simulate

NAMES = {number: name for name, number in PORTS.items()}


class Over(Exception):
    """Everything expected has been sent, or the time is over."""


class Ports:
    """What the firmware sees on the processor's twin: a line, memory and registers that answer at once."""

    def __init__(self, line: Iterable[int], world: World, expected: int) -> None:
        self.line, self.world, self.expected = list(line), world, expected
        self.sent = bytearray()
        self.address, self.low, self.word, self.status = 0, 0, b"", Status.OK
        self.strobed = bytearray(REGISTER_BYTES)
        self.patience = 3_000_000

    def condition(self, number: int) -> bool:
        """See `hw.link.processor.Outside`."""
        self.patience -= 1
        if not self.patience or (len(self.sent) >= self.expected and not self.line):
            raise Over
        return {"came": bool(self.line), "sending": False, "answered": True, "error": self.status != Status.OK,
                "irq": self.world.irq}[CONDITIONS[number]]

    def read(self, port: int) -> int:
        """See `hw.link.processor.Outside`."""
        if port == LINE:
            return self.line.pop(0)
        assert port == DATA
        return self.word[self.address % len(self.word)]

    def write(self, port: int, value: int) -> None:
        """See `hw.link.processor.Outside`."""
        at = self.address // self.world.align * self.world.align
        match NAMES[port]:
            case "line":
                self.sent.append(value)
            case "address0" | "address1" | "address2" as name:
                shift = 8 * int(name[-1])
                self.address = self.address & ~(0xFF << shift) | value << shift
            case "low":
                self.low = value
            case "read_register":
                register, self.status = self.world.register(self.address & ~3, None)
                self.word = register.to_bytes(REGISTER_BYTES, "little")
            case "write_register":
                self.strobed[self.address % 4] = value
                if self.address % 4 == 3:
                    _, self.status = self.world.register(self.address & ~3, int.from_bytes(self.strobed, "little"))
            case "read_memory":
                self.word, self.status = self.world.beat(at, None)
            case "write_memory":
                self.word, self.status = self.world.beat(at, bytes([self.low, value]))
            case "done":
                self.status = Status.OK


@pytest.mark.parametrize("case", range(24))
def test_fuzz(case: int) -> None:
    """The program does what the gateware does: good requests, repetitions, old ones, rubbish."""
    rng = new_rng()
    line, bad, irq = fuzzed(rng), {rng.randrange(1 << 14) for _ in range(2000)}, rng.random() < 0.5
    twin, world = (World(bad, irq, PICO.axi_bytes) for _ in range(2))
    expected = Link.model(PICO, SITE, line, twin)
    ports = Ports(line, world, len(expected))
    program, data = firmware(SITE.identity(PICO), SITE.memory_bytes, SITE.clock)
    with pytest.raises(Over):
        Processor.model(program, data, ports)
    assert ports.patience, "no answer"
    assert bytes(ports.sent) == expected, f"found {answers(bytes(ports.sent))}, expected {answers(expected)}"
    assert world.beats == twin.beats and world.words == twin.words and world.writes == twin.writes


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_every_request(stall: float) -> None:
    """In gateware, with a memory and registers that make it wait."""
    rng = new_rng()
    words = rng.randbytes(8)
    line = b"\0" + IDENTIFY + request(Kind.WRITE_MEMORY, 101, number(0x100) + words)
    line += request(Kind.READ_MEMORY, 102, number(0xFE) + number(12, 2))
    line += request(Kind.WRITE_SPARSE, 103, number(0x102) + number(8, 2) + b"\x81az")
    line += 2 * request(Kind.WRITE_REGISTERS, 104, number(BAD_REGISTER - 4) + rng.randbytes(8))
    line += request(Kind.READ_REGISTERS, 105, number(BAD_REGISTER - 8) + number(8, 2))
    line += request(Kind.ECHO, 106, b"\0\1\2") + request(Kind.WAIT, 107, number(1, 2)) + b"\3\1\0"
    line += request(Kind.READ_MEMORY, 108, number(0x102) + number(8, 2))
    line += request(Kind.READ_MEMORY, 109, number(20) + number(4, 2))
    bad = {11}
    twin = World(bad, True, PICO.axi_bytes)
    expected = Link.model(PICO, SITE, line, twin)
    memory, world = run(line, expected, rng, stall=stall, bad=bad, irq=True, config=PICO, dut=SlowLink(PICO, SITE))
    assert memory.bursts == twin.beats and memory.words == twin.words and world.writes == twin.writes
    statuses = [x[2] for x in answers(expected)]
    assert statuses == [Status.OK] * 4 + [Status.BUS] * 2 + [Status.OK] * 3 + [Status.DAMAGED, Status.OK, Status.BUS]


class Script:
    """Levels and bytes from a list, and everything that happens, until ``count`` things have."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self.levels, self.bytes = [rng.getrandbits(5) for _ in range(16)], rng.randbytes(16)
        self.events: list[tuple[int, ...]] = []
        self.count = count

    def note(self, *event: int) -> None:
        """Keep an event."""
        self.events.append(event)
        if len(self.events) == self.count:
            raise Over

    def condition(self, number: int) -> bool:
        """See `hw.link.processor.Outside`."""
        return bool(self.levels[0] >> number & 1)

    def read(self, port: int) -> int:
        """See `hw.link.processor.Outside`."""
        self.note(0, port)
        return self.bytes[port]

    def write(self, port: int, value: int) -> None:
        """See `hw.link.processor.Outside`."""
        self.note(1, port, value)


@pytest.mark.parametrize("case", range(4))
def test_processor(case: int) -> None:
    """Random programs do the same on the processor and on its twin."""
    rng = new_rng()
    size, count = 64, 200
    program = [Op.LD << 12]
    while len(program) < size:
        op = rng.choice([*(x for x in Op if x not in (Op.JIF, Op.JUN, Op.LDX)), Op.LDX, Op.OUT, Op.OUT, "call", "return", "jump"])
        ahead = len(program) + rng.randrange(1, 5)
        if isinstance(op, Op):
            indexed = rng.choice([0, 0x800]) if op != Op.LDX else 0
            program.append(op << 12 | indexed | rng.randrange(16) | rng.choice([0, 0x300]))
        elif op == "call":
            program.append(CALL | ahead)
        elif op == "jump":
            program.append(jump(rng.choice([Op.JIF, Op.JUN]), rng.randrange(1, 8), ahead))
        else:
            program += [Op.OUT << 12 | 7, RETURN]  # so that a loop says something
    program += [Op.OUT << 12 | 5] * 4 + [jump(Op.JIF, 0, 1)]
    data = rng.randbytes(processor.DATA_BYTES)
    script = Script(rng, count)
    with pytest.raises(Over):
        Processor.model(program, data, script)
    dut = Processor(program, data)
    found: list[tuple[int, ...]] = []

    async def test(ctx):
        ctx.set(dut.conditions, script.levels[0])
        while len(found) < count:
            ctx.set(dut.given, script.bytes[ctx.get(dut.port)])
            reads, writes, port, value = ctx.get(dut.reads), ctx.get(dut.writes), ctx.get(dut.port), ctx.get(dut.value)
            if reads:
                found.append((0, port))
            if writes:
                found.append((1, port, value))
            await ctx.tick()

    simulate(dut, test, cycles=200_000)
    assert found == script.events
