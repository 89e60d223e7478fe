"""`hw.control.Control` against the twins of its parts: random programs, good and damaged; stand-ins as compute units."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import cocotb
from amaranth.hdl import Shape

from golden.spec.config import Config
from golden.spec.descriptor import Opcode, encode
from golden.spec.registers import BUSY, DONE, FAILED, REGISTERS, SLOT_STATES, START, STATISTICS, STATISTICS_BYTES, ErrorCode
from hw.bus import counts_layout, descriptor_layout
from hw.loader import Load, Loader, rows_until
from hw.mover import Mover
from sim.bench.loader_bench import damaged, may_come_early, random_fields
from sim.bench.mover_bench import mover_users, random_move
from sim.bench.waits import Waits
from sim.lib.axi import AxiMemory, Host, Rules
from sim.lib.clock import Bench, Port, Probe
from sim.lib.memory import Memory, SpikeBanks
from sim.lib.pack import pack, unpack
from sim.lib.runner import settings
from sw.results import spans

RATES = (1.0, 0.5, 0.2)


class Units:
    """Stand-ins for LINEAR and HAMMING, which take a random time, count random events and write weights at random times.

    Each checks that it may start, that its weights and parameters are in place, and that nothing is loaded that must wait.
    """

    NAMES = ("linear", "hamming")

    def __init__(self, dut: Any, config: Config) -> None:
        self.layout = counts_layout(config)
        self.high = {name: (1 << Shape.cast(field.shape).width) - 1 for name, field in self.layout}
        self.most_saturations = config.neuron_lanes
        self.port = {name: Port(dut, name) for name in ("counts", "saturations", "flush", "write_waits")}
        self.unit = {(name, x): Port(dut, f"{name}_{x}") for name in self.NAMES
                     for x in ("start", "descriptor", "done", "progress")}
        self.row = [Port(dut, f"weight_write_{x}") for x in ("en", "every", "bank", "row", "data")]
        self.param = [Port(dut, f"param_write_{x}") for x in ("en", "addr", "data")]
        self.cycle = 0
        self.writes = self.will_write = False  # in this cycle, in the next one
        self.begin([])

    def begin(self, loads: list[Load]) -> None:
        """Expect a program."""
        self.loads = loads
        self.order = [i for i, load in enumerate(loads) if load.descriptor["opcode"] in (Opcode.LINEAR, Opcode.HAMMING)]
        self.rows: list[tuple[int, ...]] = []
        self.params: list[tuple[int, ...]] = []
        self.records: dict[int, dict[str, int]] = {}  #: what is counted, by number of the descriptor
        self.started: dict[int, int] = {}  #: cycle, likewise
        self.running: dict[str, tuple[int, int, int]] = {}  #: by unit: number, descriptor, cycles left
        self.counts: dict[str, int] = {}  #: of this cycle
        self.saturations = 0
        self.tail: int | None = None  #: LINEAR descriptor that this cycle after its ``done`` counts for

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        self.cycle += 1
        for name in self.NAMES:
            self.unit[name, "done"].set(int(name in self.running and self.running[name][2] == 0))
            self.unit[name, "progress"].set(int(name in self.running))
        self.writes = self.will_write
        self.will_write = "hamming" in self.running and random.random() < 0.5
        self.port["write_waits"].set(int(self.will_write))
        counts = self.counts = {name: random.randint(0, high) for name, high in self.high.items()}
        number = self.running["linear"][0] if "linear" in self.running else self.tail
        saturations = 0 if number is None else random.randint(0, self.most_saturations)
        self.port["counts"].set(pack(self.layout, counts))
        self.port["saturations"].set(saturations)
        self.saturations += saturations
        for name, value in counts.items():
            # adds and results come a cycle after ``done``, too; states are those of as many cycles as the descriptor runs
            if number is not None and ("linear" in self.running or name not in SLOT_STATES):
                self.records[number][name] += value
        self.tail = None

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        for ports, log, kind in ((self.row, self.rows, "rows"), (self.param, self.params, "params")):
            if ports[0].get() and not self.writes:
                assert not self.running or may_come_early(self.loads, kind, len(log)), "a load that has to wait"
                log.append(tuple(x.get() for x in ports[1:]))
        for name, (number, descriptor, left) in list(self.running.items()):
            assert self.unit[name, "descriptor"].get() == descriptor, f"the descriptor of {name} changed"
            self.running[name] = number, descriptor, left - 1
            if left == 0:
                self.records[number]["cycles"] = self.cycle - self.started[number] + 1
                del self.running[name]
                self.tail = number if name == "linear" else self.tail
        for name in self.NAMES:
            if self.unit[name, "start"].get():
                self._start(name)
        assert not (self.running and self.port["flush"].get()), "reset while a unit runs"

    def _start(self, name: str) -> None:
        number, descriptor = self.order.pop(0), self.unit[name, "descriptor"].get()
        done = self.loads[:number + 1]
        d = done[-1].descriptor
        assert unpack(descriptor_layout(), descriptor) == d, f"descriptor {number}"
        assert name == Opcode(d["opcode"]).name.lower()
        assert name not in self.running, f"{name} starts twice"
        assert not (d["after_hamming"] and "hamming" in self.running), f"descriptor {number} starts beside HAMMING"
        before = [x for x, _, _ in self.running.values()]
        assert not number or self.loads[number - 1].descriptor["beside"] or number - 1 not in before, f"{number} starts early"
        assert self.rows == rows_until(done), f"weight rows of descriptor {number}"
        assert self.params == [x for load in done for x in load.params], f"parameters of descriptor {number}"
        self.running[name] = number, descriptor, random.choice([0, 5, random.randint(0, 400)])
        self.started[number] = self.cycle
        self.records[number] = dict(self.counts)


async def _program(dut: Any, bench: Bench, c: Config, host: Host, units: Units, spikes: SpikeBanks, u: Memory, waits: Waits,
                   case: str) -> None:
    irq = Probe(dut, "irq")
    read = AxiMemory(dut, "axi_read", c.axi_bits, random.choice(RATES))
    write = AxiMemory(dut, "axi_write", c.axi_bits, random.choice(RATES), read.words)
    rules = [Rules(dut, x, c.axi_bits) for x in ("axi_read", "axi_write")]
    bases = [0x1000000 * k + 4096 * random.randint(0, 200) for k in range(4)]
    program = 0x10000 + 128 * random.randint(0, 99)  # behind what any STORE writes

    opcodes = [random.choice([x for x in Opcode if x]) for _ in range(random.randint(0, 8))] + [Opcode.END]
    descriptors = []
    for opcode in opcodes:
        d = random_fields(c, opcode)
        if opcode in (Opcode.LOAD, Opcode.STORE):
            d |= random_move(c) | {"opcode": opcode}
            d["offset"] += 1024  # behind the records
            bits = c.u_beat_bits if d["space"] else c.word
            read.put(bases[d["segment"]] + d["offset"], (random.getrandbits(bits) for _ in range(d["count"])), bits)
        for address, items, bits in (("weight_addr", 40, c.row_bits), ("param_addr", 6, c.param_beat_bits),
                                     ("offset", 40, c.row_bits)):
            read.put(bases[0] + d[address], (random.getrandbits(bits) for _ in range(items)), bits)
        descriptors.append(encode(opcode, {name: value for name, value in d.items() if name != "opcode"}))
    if random.random() < 0.3:
        at = random.randrange(len(descriptors))
        descriptors[at] = damaged(descriptors[at])
    read.put(bases[0] + program, (word for words in descriptors for word in words), 32)

    loads, well = Loader.model(c, program, bases[0], read.words)
    memory, banks, beats = dict(read.words), [list(x) for x in spikes.banks], list(u.words)
    for load in loads:
        if load.descriptor["opcode"] in (Opcode.LOAD, Opcode.STORE):
            moves = Mover.model(c, load.descriptor, bases, memory, banks, beats)
            memory.update(moves.memory)
            for bank, addr, word in moves.spikes:
                banks[bank][addr] = word
            for addr, word in moves.u:
                beats[addr] = word
    count = len(loads) - well  # END has no record
    first = bases[3] // c.axi_bytes
    size = STATISTICS_BYTES // c.axi_bytes
    what = f"{case}: {[x.name for x in opcodes]}, {len(loads)} good"

    units.begin(loads)
    bench.agents = [host, read, write, *rules, spikes, u, waits, units, irq]
    waits.rate = random.choice([0.0, 0.5])
    for name, value in {"PROGRAM": program, "WATCHDOG": random.choice([0, 2000]), "IRQ_ENABLE": 1,
                        **{f"SEGMENT{i}": base for i, base in enumerate(bases)}}.items():
        assert await host.write(REGISTERS[name].address, value) == 0

    async def value_of(name: str) -> int:
        value, response = await host.read(REGISTERS[name].address)
        assert response == 0
        return value

    assert await host.write(REGISTERS["CONTROL"].address, START) == 0
    await bench.tick()  # the interrupt of the run before goes
    await bench.until(lambda: bool(irq.value), 200_000, f"{what}: the end")
    assert await value_of("STATUS") == (DONE if well else FAILED), what
    assert await value_of("ERROR") == (0 if well else ErrorCode.DESCRIPTOR | len(loads) << 16), what
    assert all(x.settled() for x in rules), what

    records = []
    for i in range(count):
        record = sum(read.words[first + i * size + k] << (k * c.axi_bits) for k in range(size))
        words = [record >> (32 * k) & 0xFFFFFFFF for k in range(STATISTICS_BYTES // 4)]
        assert not any(words[len(STATISTICS):]), f"{what}: record {i} is not padded with zeros"
        records.append(dict(zip(STATISTICS, words, strict=False)))
        counted = units.records.get(i, {})
        if loads[i].descriptor["opcode"] != Opcode.LINEAR:
            counted = dict.fromkeys(units.high, 0) | {name: counted[name] for name in counted.keys() & {"cycles"}}
        expected = {"layer": i, **counted}
        assert {name: records[i][name] for name in expected} == expected, f"{what}: record {i}"
    memory.update({x: read.words[x] for x in range(first, first + count * size)})
    assert read.words == memory and spikes.banks == banks and u.words == beats, f"{what}: memories"
    assert not units.order and units.rows == [row for x in loads for row in (*x.rows, *x.late)], f"{what}: weight rows"
    assert units.params == [param for load in loads for param in load.params], f"{what}: parameters"
    found = spans(records, [x.descriptor["beside"] for x in loads[:count]])
    assert max((end for _, end in found), default=0) <= await value_of("CYCLES_LO"), what
    for earlier, later in pairwise(units.started):
        assert found[later][0] - found[earlier][0] == units.started[later] - units.started[earlier], f"{what}: waits"
    assert await value_of("READ_BEATS") == sum(n for _, n in rules[0].bursts), what
    assert await value_of("WRITE_BEATS") == sum(n for _, n in rules[1].bursts) == len(write.log), what
    assert await value_of("SATURATIONS") == units.saturations, what
    assert await host.write(REGISTERS["IRQ_ENABLE"].address, 0) == 0
    assert not irq.value and not await value_of("STATUS") & BUSY


@cocotb.test()
async def programs(dut: Any) -> None:
    """Memories, registers, statistics and the order of all that happens are the twins'."""
    c, count, seed = settings()
    random.seed(seed)
    spikes = SpikeBanks(dut, c, "spike_read", "spike_write")
    spikes.banks = [[random.getrandbits(c.word) for _ in bank] for bank in spikes.banks]
    u = Memory(dut, [random.getrandbits(c.u_beat_bits) for _ in range(c.u_beats)], c.u_beat_bits, "u_read", "u_write")
    units, waits = Units(dut, c), mover_users(dut, c, spikes, u)
    bench = Bench(dut)
    host = Host(dut, bench, rate=0.5)
    await bench.reset()
    for number in range(count):
        await _program(dut, bench, c, host, units, spikes, u, waits, f"case {number} (seed {seed})")
