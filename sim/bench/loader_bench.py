"""`hw.loader.Loader` on its engine against its twin: random programs, good and damaged."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any

import cocotb

from golden.spec.config import Config
from golden.spec.descriptor import FIELDS, LIMITS, MAGIC, WORDS, Opcode, encode
from hw.bus import descriptor_layout
from hw.loader import Load, Loader, rows_until
from sim.lib.axi import AxiMemory, Rules
from sim.lib.clock import Bench, Port, Wire
from sim.lib.pack import unpack
from sim.lib.runner import settings

RATES = (1.0, 0.5, 0.1)


class Executor:
    """Takes descriptors as the sequencer would, and checks all that has been loaded each time.

    It executes each for a random time, in which only what may be loaded ahead is written, and at times writes itself.
    """

    def __init__(self, dut: Any, loads: list[Load], patience: int) -> None:
        self.loads, self.patience = loads, patience
        self.ready, self.valid, self.payload = (Port(dut, f"descriptors_{x}") for x in ("ready", "valid", "payload"))
        self.idle, self.settled, self.waits = (Port(dut, x) for x in ("idle", "settled", "waits"))
        self.error, self.layer = Port(dut, "error"), Port(dut, "layer")
        self.row = [Port(dut, f"weight_write_{x}") for x in ("en", "every", "bank", "row", "data")]
        self.param = [Port(dut, f"param_write_{x}") for x in ("en", "addr", "data")]
        self.rows: list[tuple[int, ...]] = []
        self.params: list[tuple[int, ...]] = []
        self.taken: list[dict[str, int]] = []
        self.errors: list[int] = []
        self.left = self.recording = 0
        self.writes = self.will_write = False  # in this cycle, in the next one

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        rest = self.left == 0
        self.ready.set(int(rest))
        self.idle.set(int(rest))
        self.settled.set(int(rest and self.recording == 0))
        self.writes = self.will_write
        self.will_write = not rest and self.taken[-1]["opcode"] == Opcode.HAMMING and random.random() < 0.8
        self.waits.set(int(self.will_write))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        for ports, log, kind in ((self.row, self.rows, "rows"), (self.param, self.params, "params")):
            if ports[0].get() and not self.writes:
                assert self.idle.last or may_come_early(self.loads, kind, len(log)), f"{len(self.taken)} is loaded ahead"
                log.append(tuple(x.get() for x in ports[1:]))
        if self.error.get():
            assert self.settled.last, "an error before the last record is in memory"
            self.errors.append(self.layer.get())
        if self.left:
            self.left -= 1
        elif self.recording:
            self.recording -= 1
        if self.valid.get() and self.ready.last:
            self.taken.append(unpack(descriptor_layout(), self.payload.get()))
            done = self.loads[:len(self.taken)]
            what = f"descriptor {len(self.taken) - 1}"
            assert self.taken[-1] == done[-1].descriptor, what
            assert self.rows == rows_until(done), f"{what}: weight rows"
            assert self.params == [param for load in done for param in load.params], f"{what}: parameters"
            self.left, self.recording = random.randint(1, self.patience), random.randint(0, self.patience)


def may_come_early(loads: list[Load], kind: str, number: int) -> bool:
    """Whether that one of all ``rows`` or ``params`` of a program may be written while descriptors run that read others."""
    pieces = [(len(piece), early) for x in loads for piece, early in (
        (x.rows if kind == "rows" else x.params, x.descriptor["prefetch"]), (x.late if kind == "rows" else [], 1))]
    ends = accumulate(size for size, _ in pieces)
    return bool(next(early for (_, early), end in zip(pieces, ends, strict=True) if number < end))


def random_fields(c: Config, opcode: Opcode) -> dict[str, int]:
    """Any value in every field, as far as the limits and the sizes of the memories allow."""
    d = {name: random.randint(f.low, f.high) for name, f in FIELDS.items() if name not in ("opcode", "magic", "checksum")}
    d |= {name: random.randint(low, high) for name, (low, high) in LIMITS[opcode].items()}
    if opcode == Opcode.HAMMING:
        d["width"] = c.lanes * random.randint(1, min(c.head_max, c.word) // c.lanes)
        d["mask_low"] = c.lanes * random.randint(0, (c.word - d["width"]) // c.lanes)
    d["weight_rows"] = random.choice([0, random.randint(1, 40)])
    d["param_beats"] = random.choice([0, random.randint(1, 6)])
    d["weight_base"] = random.randint(0, c.weight_rows - 40)
    d["param_base"] = random.randint(0, c.param_beats - 6)
    d["weight_addr"], d["param_addr"], d["offset"] = (0x10000 * k + 64 * random.randint(0, 900) for k in (1, 2, 3))
    if opcode in (Opcode.LINEAR, Opcode.HAMMING):
        d["count"], d["base"] = random.choice([0, random.randint(1, 40)]), random.randint(0, c.weight_rows - 40)
    return d


def damaged(words: list[int]) -> list[int]:
    """A descriptor that is none: a bit flipped, or a field outside its limits under a good checksum."""
    words = list(words)
    kind = random.choice(["bit", "magic", "opcode", "limit"])
    field, value = FIELDS["opcode"], random.randint(max(Opcode) + 1, 15)
    if kind == "bit":
        words[random.randrange(WORDS)] ^= 1 << random.randrange(32)
        return words
    if kind == "magic":
        field, value = FIELDS["magic"], MAGIC ^ 1 << random.randrange(FIELDS["magic"].bits)
    elif kind == "limit":
        limits = LIMITS[Opcode(words[0] >> FIELDS["opcode"].lsb & 15)]
        outside = [(FIELDS[name], x) for name, (low, high) in limits.items() for x in (low - 1, high + 1)
                   if 0 <= x < 1 << FIELDS[name].bits]
        if outside:
            field, value = random.choice(outside)
    words[field.word] = words[field.word] & ~(((1 << field.bits) - 1) << field.lsb) | value << field.lsb
    words[-1] = -sum(words[:-1]) & 0xFFFFFFFF
    return words


async def _program(dut: Any, bench: Bench, c: Config, case: str) -> None:
    start, program, segment = (Wire(dut, x) for x in ("start", "program", "segment"))
    memory, rules = AxiMemory(dut, "axi_read", c.axi_bits, random.choice(RATES)), Rules(dut, "axi_read", c.axi_bits)
    program.value, segment.value = 128 * random.randint(0, 99), 4096 * random.randint(0, 99)
    opcodes = [random.choice([x for x in Opcode if x]) for _ in range(random.randint(0, 5))] + [Opcode.END]
    fields = [random_fields(c, x) for x in opcodes]
    descriptors = [encode(x, d) for x, d in zip(opcodes, fields, strict=True)]
    broken = random.random() < 0.5
    if broken:
        at = random.randrange(len(descriptors))
        descriptors[at] = damaged(descriptors[at])
    for d in fields:
        for address, items, bits in (("weight_addr", 40, c.row_bits), ("param_addr", 6, c.param_beat_bits),
                                     ("offset", 40, c.row_bits)):
            memory.put(segment.value + d[address], (random.getrandbits(bits) for _ in range(items)), bits)
    memory.put(segment.value + program.value, (word for words in descriptors for word in words), 32)
    loads, well = Loader.model(c, program.value, segment.value, memory.words)
    assert well != broken
    executor = Executor(dut, loads, random.choice([1, 30, 300]))
    bench.agents = [start, program, segment, memory, rules, executor]
    start.pulse()
    what = f"{case}: {opcodes}, well {well}"
    await bench.until(lambda: len(executor.taken) + len(executor.errors) >= len(loads) + (not well), 50_000, f"{what}: the end")
    for _ in range(50):
        await bench.tick()
    assert len(executor.taken) == len(loads) and executor.errors == ([] if well else [len(loads)]), what
    assert rules.settled(), what


@cocotb.test()
async def programs(dut: Any) -> None:
    """Each descriptor comes when its weights and parameters are in place; an illegal one is reported at the right time."""
    c, count, seed = settings()
    random.seed(seed)
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        await _program(dut, bench, c, f"case {number} (seed {seed})")
