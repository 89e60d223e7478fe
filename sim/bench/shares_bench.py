"""`hw.write_share.WriteShare` against its twin: whole jobs, from the right side."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from golden.spec.config import Config
from hw.jobs import job_layout
from hw.write_share import WriteShare
from sim.lib.clock import Bench, Port, Probe, Wire
from sim.lib.pack import pack, unpack
from sim.lib.runner import settings
from sim.lib.stream import Sink, Source

RATES = (1.0, 0.5, 0.1, 0.02)


class Priority:
    """Fails if a job is granted to side 1 though side 0 asked when that was decided, or the other way round."""

    def __init__(self, dut: Any, part: str) -> None:
        self.asks, self.valid, self.payload = (Port(dut, f"{part}_{x}") for x in ("jobs0_valid", "jobs_valid", "jobs_payload"))
        self.asked = self.offered = 0

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        if (valid := self.valid.get()) and not self.offered:
            assert side(self.payload.get()) == (not self.asked), "the other side's turn"
        self.asked, self.offered = self.asks.get(), valid


def random_jobs(number: int) -> list[dict[str, int]]:
    """Jobs whose address shows whose they are."""
    return [{"addr": number << 31 | random.getrandbits(20), "beats": random.choice([1, 2, random.randint(1, 30)])}
            for _ in range(random.randint(0, 12))]


def side(job: int) -> int:
    """Whose job it is."""
    return unpack(job_layout(), job)["addr"] >> 31


async def _writes(dut: Any, bench: Bench, c: Config, case: str) -> None:
    written, ends = Wire(dut, "write_written"), [Probe(dut, f"write_written{i}") for i in range(2)]
    jobs = [random_jobs(i) for i in range(2)]
    words = [[random.getrandbits(c.axi_bits) for job in items for _ in range(job["beats"])] for items in jobs]
    sources = [Source(dut, f"write_jobs{i}", random.choice(RATES)) for i in range(2)]
    feeds = [Source(dut, f"write_data{i}", random.choice(RATES)) for i in range(2)]
    taken, sink = Sink(dut, "write_jobs", random.choice(RATES)), Sink(dut, "write_data", random.choice(RATES))
    for i in range(2):
        sources[i].send(pack(job_layout(), job) for job in jobs[i])
        feeds[i].send(words[i][:jobs[i][0]["beats"]] if jobs[i] else [])
    bench.agents = [*sources, *feeds, taken, sink, written, *ends, Priority(dut, "write")]
    what, turns = f"{case}: {jobs}", list[tuple[int, int]]()
    for n in range(sum(map(len, jobs))):
        await bench.until(taken.has(n + 1), 5000, f"{what}: job {n}")
        turns.append((side(taken.items[n]), unpack(job_layout(), taken.items[n])["beats"]))
        size = sum(beats for _, beats in turns)
        sink.rate = random.choice(RATES)
        await bench.until(sink.has(size), 20_000, f"{what}: the words of job {n}")
        for _ in range(random.randint(0, 9)):
            await bench.tick()
        before = [x.total for x in ends]
        written.pulse()
        await bench.tick()
        assert [x.total - b for x, b in zip(ends, before, strict=True)] == [1 - turns[-1][0], turns[-1][0]], what
        owner = turns[-1][0]
        begin, number = (f([beats for side_, beats in turns if side_ == owner]) for f in (sum, len))
        feeds[owner].send(words[owner][begin:begin + jobs[owner][number]["beats"]] if number < len(jobs[owner]) else [])
    assert sink.items == WriteShare.model(turns, words), what
    assert [sum(owner == i for owner, _ in turns) for i in range(2)] == [len(items) for items in jobs], what


@cocotb.test()
async def writes(dut: Any) -> None:
    """The engine gets the words of the side whose job it is, though both offer some; that side is told of the end."""
    c, count, seed = settings()
    random.seed(seed)
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        await _writes(dut, bench, c, f"case {number} (seed {seed})")
