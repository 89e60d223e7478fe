"""`hw.bursts.Bursts`, `hw.read_dma.ReadDma` and `hw.write_dma.WriteDma` against their twins, under the rules of AXI4."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from golden.spec.config import Config
from hw.bursts import Bursts, burst_layout
from hw.jobs import beat_layout, job_layout
from hw.read_dma import ReadDma
from hw.write_dma import WriteDma
from sim.lib.axi import AxiMemory, Rules
from sim.lib.clock import Bench, Port, Probe
from sim.lib.pack import pack, unpack
from sim.lib.runner import settings
from sim.lib.stream import Sink, Source

RATES = (1.0, 0.5, 0.1)


def random_jobs(c: Config, count: int) -> list[dict[str, int]]:
    """Jobs that end before, at and behind the ends of bursts, some at the end of the address space."""
    jobs = []
    for _ in range(count):
        beats = random.choice([1, 2, 15, 16, 17, random.randint(1, 40), random.randint(1, 300)])
        last = (1 << 32) // c.axi_bytes - beats
        first = random.choice([last, random.randint(0, last), random.randint(0, last) // 16 * 16])
        jobs.append({"addr": first * c.axi_bytes, "beats": beats})
    return jobs


async def _bursts(dut: Any, bench: Bench, c: Config, case: str) -> None:
    jobs = random_jobs(c, 8)
    expected = [burst for job in jobs for burst in Bursts.model(c, job)]
    source, sink = Source(dut, "bursts_jobs", random.choice(RATES)), Sink(dut, "bursts_bursts", random.choice(RATES))
    source.send(pack(job_layout(), job) for job in jobs)
    bench.agents = [source, sink]
    await bench.until(sink.has(len(expected)), 50_000, f"burst {len(expected)}")
    for _ in range(10):
        await bench.tick()
    assert [unpack(burst_layout(), x) for x in sink.items] == expected, f"{case}: {jobs}"


@cocotb.test()
async def bursts(dut: Any) -> None:
    """The bursts of random jobs."""
    c, count, seed = settings()
    random.seed(seed)
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        await _bursts(dut, bench, c, f"case {number} (seed {seed})")


async def _reads(dut: Any, bench: Bench, c: Config, case: str) -> None:
    jobs = [random_jobs(c, random.randint(0, 6)) for _ in range(2)]
    memory, rules = AxiMemory(dut, "read_axi", c.axi_bits, random.choice(RATES)), Rules(dut, "read_axi", c.axi_bits)
    beats = [[job["addr"] // c.axi_bytes + i for job in mine for i in range(job["beats"])] for mine in jobs]
    memory.words = {beat: random.getrandbits(c.axi_bits) for mine in beats for beat in mine}
    memory.bad = set(random.sample(sorted(memory.words), min(len(memory.words), random.randint(0, 3))))
    expected = [ReadDma.model(c, mine, memory.words) for mine in jobs]
    sources = [Source(dut, f"read_jobs{i}", random.choice(RATES)) for i in range(2)]
    sinks = [Sink(dut, f"read_data{i}", random.choice(RATES)) for i in range(2)]
    for source, mine in zip(sources, jobs, strict=True):
        source.send(pack(job_layout(), job) for job in mine)
    errors, idle = Errors(dut), Probe(dut, "read_idle")
    bench.agents = [*sources, *sinks, memory, rules, errors, idle]
    what = f"{case}: {jobs}"
    for sink, wanted in zip(sinks, expected, strict=True):
        await bench.until(sink.reached(len(wanted)), 200_000, f"{what}: beat {len(wanted)}")
    for _ in range(10):
        await bench.tick()
    for i, sink in enumerate(sinks):
        found = [unpack(beat_layout(c.axi_bits), x) for x in sink.items]
        assert [(x["data"], x["last"]) for x in found] == expected[i], f"{what}: user {i}"
        assert errors.users[i] == sum(beat in memory.bad for beat in beats[i]), f"{what}: errors of user {i}"
    bursts = [[(b["addr"], b["len"] + 1) for job in mine for b in Bursts.model(c, job)] for mine in jobs]
    assert sorted(rules.bursts) == sorted(x for mine in bursts for x in mine), what
    assert rules.settled() and idle.value, what


class Errors:
    """Counts the errors of each user."""

    def __init__(self, dut: Any) -> None:
        self.error, self.user = Port(dut, "read_error"), Port(dut, "read_error_user")
        self.users = [0, 0]

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        if self.error.get():
            self.users[self.user.get()] += 1


@cocotb.test()
async def reads(dut: Any) -> None:
    """Each user gets the beats of its jobs, and one ``error`` for each bad one, which flows on; ``idle`` when all is over."""
    c, count, seed = settings()
    random.seed(seed)
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        await _reads(dut, bench, c, f"case {number} (seed {seed})")


async def _writes(dut: Any, bench: Bench, c: Config, case: str) -> None:
    jobs = random_jobs(c, 6)
    memory, rules = AxiMemory(dut, "write_axi", c.axi_bits, random.choice(RATES)), Rules(dut, "write_axi", c.axi_bits)
    words = [random.getrandbits(c.axi_bits) for job in jobs for _ in range(job["beats"])]
    expected = WriteDma.model(c, jobs, words)
    job_source, word_source = (Source(dut, f"write_{x}", random.choice(RATES)) for x in ("jobs", "data"))
    word_source.send(words)
    done, errors, idle = (Probe(dut, f"write_{x}") for x in ("done", "error", "idle"))
    bench.agents = [job_source, word_source, memory, rules, done, errors, idle]
    what, end = f"{case}: {jobs}", 0
    for n, job in enumerate(jobs):
        end += job["beats"]
        last = job["addr"] // c.axi_bytes + job["beats"] - 1  # a burst answers as its last beat
        memory.bad = {last} if random.random() < 0.3 else set()
        before = errors.total
        job_source.send([pack(job_layout(), job)])
        await bench.tick()
        await bench.until(lambda: bool(done.value), 50_000, f"done of job {n}")
        assert memory.log == expected[:end], f"{what}: job {n}"
        assert errors.total - before == len(memory.bad), f"{what}: job {n}"
    for _ in range(10):
        await bench.tick()
    assert done.total == len(jobs) and rules.settled() and idle.value, what
    assert rules.bursts == [(b["addr"], b["len"] + 1) for job in jobs for b in Bursts.model(c, job)], what


@cocotb.test()
async def writes(dut: Any) -> None:
    """Random jobs are in memory, all of each at its ``done``; an error response is reported by then."""
    c, count, seed = settings()
    random.seed(seed)
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        await _writes(dut, bench, c, f"case {number} (seed {seed})")
