"""`hw.neuron.Neuron` against its twin."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from golden.spec.config import Config
from golden.spec.descriptor import FIELDS
from hw.bus import descriptor_layout
from hw.collector import Collector
from hw.core import Sums, sum_layout, wrap
from hw.neuron import Neuron
from sim.lib.clock import Bench, Port, Probe, Wire
from sim.lib.memory import Memory, spike_writes
from sim.lib.pack import join, pack
from sim.lib.runner import settings
from sim.lib.stream import Source


class SpikeWrites:
    """Notes spike writes as (bank, address, beat, bits)."""

    def __init__(self, dut: Any, config: Config) -> None:
        self.config = config
        self.ports = [Port(dut, f"write_{x}") for x in ("mask", "addr", "data")]
        self.writing = Port(dut, "writing")
        self.writes: list[tuple[int, int, int, int]] = []

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        masks, parts = self.ports[0].get(), self.config.word // self.config.neuron_lanes
        assert self.writing.get() == sum((masks >> i * parts & (1 << parts) - 1 != 0) << i for i in range(self.config.cores))
        if not masks:
            return
        for bank, addr, mask, data in spike_writes(self.config, *(x.get() for x in self.ports)):
            c = self.config
            assert mask.bit_count() == (c.beats if c.levels_max == 1 else 1)  # a result at once, or a beat
            self.writes += [(bank, addr, beat, data >> (beat * c.neuron_lanes) & ((1 << c.neuron_lanes) - 1))
                            for beat in range(c.word // c.neuron_lanes) if mask >> beat & 1]


class Residual(Memory):
    """The residual memory, which notes its writes."""

    def __init__(self, dut: Any, words: list[int], bits: int) -> None:
        super().__init__(dut, words, bits, read="u_read", write="u_write")
        self.log: list[tuple[int, int]] = []

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        super().sample()
        assert self.write
        if self.write[0].get():
            self.log.append((self.write[1].get(), self.write[2].get()))


class Moves:
    """The mover: writes into the residual memory what is there already, at the addresses ``free``, whenever it may."""

    def __init__(self, dut: Any, memory: Memory, free: list[int], rate: float) -> None:
        self.memory, self.free, self.rate = memory, free, rate
        self.ports, self.busy = [Port(dut, f"u_move_{x}") for x in ("en", "addr", "data")], Port(dut, "u_busy")
        self.next: tuple[int, int] | None = None
        self.made: list[tuple[int, int]] = []
        self.waits = 0

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        if self.next is None and self.free and random.random() < self.rate:
            addr = random.choice(self.free)
            self.next = addr, self.memory.words[addr]
        for port, value in zip(self.ports, (1, *self.next) if self.next else (0, 0, 0), strict=True):
            port.set(value)

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        if self.next and not self.waits:
            self.made.append(self.next)
            self.next = None
        self.waits = self.busy.get()


def random_descriptor(c: Config) -> dict[str, int]:
    """Fields that the neuron unit reads."""
    d = dict.fromkeys(FIELDS, 0)
    d["out_h"], d["out_w"], d["groups"], d["steps"] = (random.randint(1, 3) for _ in range(4))
    d["first_group"] = random.randint(0, 5)
    d["integrate"] = int(random.random() < 0.2)
    if d["integrate"]:
        d["out_h"] = d["out_w"] = 1
    else:
        d["residual"], d["partial"], _ = random.choice([(0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 0, 0), (0, 1, 0)])
        d["u_write"], d["fire"] = (int(random.random() < p) for p in (0.5, 0.8))
    total = d["first_group"] + d["groups"] + random.randint(0, 1)
    d["u_step"] = total * c.beats
    d["u_pos_stride"] = d["steps"] * c.cores * d["u_step"]
    size = d["out_h"] * d["out_w"] * d["u_pos_stride"]
    d["u_src"] = random.randint(0, 9)
    d["u_dst"] = d["u_src"] if random.getrandbits(1) else d["u_src"] + size + random.randint(0, 9)
    d["levels"] = random.randint(1, c.levels_max) if random.getrandbits(1) else 1
    d["out_planes"] = random.randint(d["levels"].bit_length(), c.levels_max.bit_length())
    d["step_shift"] = random.choice([random.randint(0, c.x_bits - 2), random.randint(0, 31)])
    d["leak"] = random.choice([0, 8, 8, 16, random.randint(0, 16) if c.any_neuron else 8])
    d["soft"] = random.getrandbits(1) if d["levels"] == 1 or c.any_neuron else 0
    d["bank_mask"] = (1 << c.cores) - 1 if random.getrandbits(1) or c.lean else random.getrandbits(16)
    d["idle"] = random.choice([0, random.randrange(c.cores)])
    d["dst_plane_stride"] = -(-total * c.lanes // c.word)
    d["dst_words"] = d["out_planes"] * d["dst_plane_stride"]
    d["dst_pos_stride"] = d["steps"] * d["dst_words"]
    d["dst_row_skip"] = random.choice([0, random.randint(0, 50)])
    d["spike_dst"] = random.randint(0, 99)
    d["param_base"] = random.randint(0, c.param_beats - d["groups"] * c.beats)
    d["theta"] = random.randint(-(1 << random.randint(1, c.x_bits - 1)), (1 << random.randint(1, c.x_bits - 1)) - 1)
    return d


def random_results(c: Config, count: int, bits: int, single: bool) -> list[list[Sums]]:
    """What each core's passes make of ``count`` results: the same passes for all of a time step, sums of up to ``bits`` bits."""
    cores: list[list[Sums]] = [[] for _ in range(c.cores)]
    bits = min(bits, c.sum_bits - 1)
    for _ in range(count):
        shifts = [] if single else random.choices([0, 1, 2, 3, 4], k=random.choice([0, 0, 1, 2, 5]))
        for shift, end in [*((x, False) for x in shifts), (random.randrange(5), True)]:
            for core in cores:
                sums = [[random.randint(-(1 << bits), (1 << bits) - 1) >> random.randint(0, 8) for _ in range(c.lanes)]
                        for _ in range(c.issue // c.sharing)]
                core.append(Sums(sums, shift, end))
    return cores


def payload(c: Config, x: Sums) -> int:
    """The bits of `hw.core.sum_layout`."""
    return pack(sum_layout(c), {"sums": join((v for part in x.sums for v in part), c.sum_bits), "shift": x.shift, "end": x.end})


def quickest(c: Config, d: dict[str, int], passes: list[Sums]) -> int:
    """Cycles in which the beats can be taken, where neither planes nor slow membranes delay any."""
    rounds = sum(1 if x.end else max(1, x.shift if x.shift < 4 else 1) for x in passes)
    logits = c.beats * d["groups"] if d["integrate"] else 0  # of the last core take a beat more
    alone = sum(x.end or x.shift not in (2, 3) for x in passes[:-1]) if c.cores == 1 else 0  # see `FromCore`; zeros need nobody
    return rounds * c.cores * c.beats + logits + alone


class FromCore(Source):
    """A core's results. Unless all is far, what was taken stays for a cycle more, in which nothing is valid."""

    def __init__(self, dut: Any, name: str, config: Config, rate: float) -> None:
        super().__init__(dut, name, rate, gate=lambda: config.far or self.sent == self.before)
        self.before = 0

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        super().drive()
        self.before = self.sent


@cocotb.test()
async def writes_of_random_descriptors(dut: Any) -> None:
    """Spike and residual writes are the twin's, in order, however the sums come; ``done`` comes once, after all, and as soon as
    it can.
    """
    config, count, seed = settings()
    random.seed(seed)
    u = Residual(dut, [], config.u_beat_bits)
    params = Memory(dut, [], config.param_beat_bits, read="params")
    start, descriptor = Wire(dut, "start"), Wire(dut, "descriptor")
    done, taken, saturations = (Probe(dut, x) for x in ("done", "taken", "saturations"))
    neuron = Neuron(config)
    bench = Bench(dut)
    await bench.reset()
    number = timed = 0
    while number < count:
        d = random_descriptor(config)
        if d["u_dst"] + d["out_h"] * d["out_w"] * d["u_pos_stride"] + 2 * d["u_step"] > config.u_beats:
            continue
        number += 1
        rates = random.choice([[1.0], [1.0], [0.1], [0.02], [1.0, 0.1, 0.5]])
        sources = [FromCore(dut, f"results_{i}", config, random.choice(rates)) for i in range(config.cores)]
        spikes = SpikeWrites(dut, config)
        bench.agents = [start, descriptor, *sources, params, u, spikes, done, taken, saturations]
        shift = random.randint(0, 31)
        bits = max(8, min(config.acc_bits - 2, config.x_bits - 10 + shift))  # |y| does not always overflow
        results = random_results(config, d["out_h"] * d["out_w"] * d["groups"] * d["steps"], bits, bool(random.getrandbits(1)))
        params.words = [join((random.randint(-(1 << bits), (1 << bits) - 1) & 0xFFFFFF | max(shift, random.randint(0, 31)) << 24
                              for _ in range(config.neuron_lanes)), 32) for _ in range(config.param_beats)]
        if random.getrandbits(1):  # a threshold that some neuron without a residual reaches exactly
            param = params.words[d["param_base"]]
            acc = Collector.model(config, d, results)[0][0] + wrap(param, config.acc_bits)
            d["theta"] = wrap((acc << 8) >> (param >> 24 & 31), config.x_bits)
        u.words, u.log = [random.getrandbits(config.u_beat_bits) for _ in range(config.u_beats)], []
        expected = Neuron.model(config, d, results, params.words, u.words)
        written = {addr for addr, _ in expected.u}
        moves = Moves(dut, u, [x for x in range(config.u_beats) if x not in written], random.choice([0.0, 0.2, 1.0]))
        bench.agents.append(moves)
        for source, items in zip(sources, results, strict=True):
            source.send(payload(config, x) for x in items)
        descriptor.value = pack(descriptor_layout(), d)
        start.pulse()
        before, begin = [x.total for x in (done, taken, saturations)], bench.cycle
        await bench.until(lambda: bool(done.value), 100_000, "done")
        cycles = bench.cycle - begin
        what = f"case {number} (seed {seed}): { {k: v for k, v in d.items() if v} }"
        for bank in range(config.cores):
            found, wanted = ([x for x in writes if x[0] == bank] for writes in (spikes.writes, expected.spikes))
            assert found == wanted, f"{what}: spikes of bank {bank}"
        log = [x for x in u.log if x[0] in written]
        assert log == expected.u, f"{what}: residual {log[:3]} {expected.u[:3]}"
        moves.rate = 0.0
        for _ in range(12):
            await bench.tick()
        assert [x for x in u.log if x[0] not in written] == moves.made, f"{what}: what others write"
        counts = [b - a for a, b in zip(before, (x.total for x in (done, taken, saturations)), strict=True)]
        complete = sum(x.end for core in results for x in core)
        assert counts == [1, complete, expected.saturations], f"{what}: done, taken, saturations {counts}"
        late = len(spikes.writes) - len(expected.spikes), len(u.log) - len(expected.u) - len(moves.made)
        assert late == (0, 0), f"{what}: writes after done"
        fast = d["leak"] in (0, 8, 16) and not (d["soft"] and d["levels"] > 1) and (d["out_planes"] == 1 or not d["fire"])
        if fast and rates == [1.0] and not config.lean:
            timed += 1
            limit = quickest(config, d, results[0]) + neuron.latency + 1
            assert cycles == limit, f"{what}: {cycles} cycles, not {limit}"
    assert timed or count < 16 or config.lean
