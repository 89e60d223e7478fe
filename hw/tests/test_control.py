"""Control as a whole: programs from an AXI memory, fake compute units, real on-chip memories, and every way to fail."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from golden.spec.config import BASE, MICRO, PICO, SMALL, Config
from golden.spec.descriptor import Opcode, encode
from golden.spec.registers import ABORT, BUSY, DONE, FAILED, REGISTERS, START, STATISTICS, ErrorCode
from hw.control import Control
from hw.scratchpad import Scratchpad
from hw.tests.bench import Memory, new_rng, simulate

SEGMENTS = (0x1000, 0xC000, 0x13000, 0x1D000)  #: within the 128 KB of `pico`
PROGRAM = 0x400
WEIGHTS, PARAMS = 0x2000, 0x8000


class System(wiring.Component):
    """Control with its memories; the weight banks are recorded by the test."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.control = Control(config)
        self.scratchpad = Scratchpad(config)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.control, m.submodules.scratchpad = self.control, self.scratchpad
        for ours, theirs in (("spike_read", "read"), ("spike_write", "write"), ("u_read", "u_read"), ("u_write", "u_write")):
            wiring.connect(m, getattr(self.control, ours), getattr(self.scratchpad, theirs))
        return m


class Bench:
    """One system, its memory and what a host does."""

    def __init__(self, config: Config, rng: random.Random, stall: float) -> None:
        self.config, self.rng, self.stall = config, rng, stall
        self.system = System(config)
        self.dut = self.system.control
        self.memory = Memory(self.dut.axi_read, self.dut.axi_write, config.axi_bits, rng, stall)
        self.weights: dict[tuple[int, int], int] = {}
        self.params: dict[int, int] = {}
        self.linear_cycles = 150  #: longer than a descriptor takes to load, so that the loader waits for the executor
        self.starts: list[int] = []  #: cycle numbers of LINEAR and HAMMING
        self.ends: list[int] = []
        self.names: list[str] = []
        self.cycle = 0
        self.loaded_during: set[int] = set()  #: runs of LINEAR and HAMMING during which weights or parameters came

    async def access(self, ctx: Any, name: str | int, value: int | None = None, strobe: int = 15) -> tuple[int, int]:
        """Read or write a register over AXI4-Lite; gives data and response."""
        bus = self.dut.axil
        address = name if isinstance(name, int) else REGISTERS[name].address
        if value is None:
            ctx.set(bus.araddr, address)
            ctx.set(bus.arvalid, 1)
            await ctx.tick().until(bus.arready)
            ctx.set(bus.arvalid, 0)
            ctx.set(bus.rready, 1)
            data, response = await ctx.tick().sample(bus.rdata, bus.rresp).until(bus.rvalid)
            ctx.set(bus.rready, 0)
            return data, response
        ctx.set(bus.awaddr, address)
        ctx.set(bus.wdata, value)
        ctx.set(bus.wstrb, strobe)
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.wvalid, 1)
        await ctx.tick().until(bus.awready & bus.wready)
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        ctx.set(bus.bready, 1)
        (response,) = await ctx.tick().sample(bus.bresp).until(bus.bvalid)
        ctx.set(bus.bready, 0)
        return 0, response

    async def read(self, ctx: Any, name: str) -> int:
        """Value of a register."""
        data, response = await self.access(ctx, name)
        assert response == 0
        return data

    async def set_up(self, ctx: Any, watchdog: int = 0) -> None:
        """Program, segments, interrupt, watchdog."""
        for name, value in {"PROGRAM": PROGRAM, "WATCHDOG": watchdog, "IRQ_ENABLE": 1,
                            **{f"SEGMENT{i}": s for i, s in enumerate(SEGMENTS)}}.items():
            assert (await self.access(ctx, name, value))[1] == 0
            assert await self.read(ctx, name) == value

    async def run(self, ctx: Any) -> int:
        """Start, wait for the end, give STATUS."""
        await self.access(ctx, "CONTROL", START)
        while (status := await self.read(ctx, "STATUS")) & BUSY:
            assert status == BUSY
        assert ctx.get(self.dut.irq)
        return status

    def write_program(self, descriptors: list[list[int]]) -> None:
        """Put descriptors where the machine looks for them."""
        data = b"".join(w.to_bytes(4, "little") for d in descriptors for w in d)
        self.memory.put(SEGMENTS[0] + PROGRAM, data)

    def records(self, count: int) -> list[dict[str, int]]:
        """Statistics records."""
        data = self.memory.get(SEGMENTS[3], 64 * count)
        words = [int.from_bytes(data[i:i + 4], "little") for i in range(0, len(data), 4)]
        for i in range(count):
            assert not any(words[16 * i + len(STATISTICS):16 * i + 16])
        return [dict(zip(STATISTICS, words[16 * i:], strict=False)) for i in range(count)]

    async def units(self, ctx: Any) -> None:
        """LINEAR and HAMMING as stubs that count a little."""
        dut = self.dut
        left, unit = 0, None
        while True:
            for port in (dut.linear, dut.hamming):
                ctx.set(port.done, unit is port and left == 1)
                ctx.set(port.progress, unit is port)
            ctx.set(dut.counts.adds, 3 if unit is dut.linear else 0)
            for name in ("results", "busy", "queue"):
                ctx.set(getattr(dut.counts, name), unit is dut.linear)
            ctx.set(dut.saturations, 1 if unit is dut.linear else 0)
            if unit is not None and left == 1:
                self.ends.append(self.cycle)
            _, _, flush, linear, hamming, weight, param = await ctx.tick().sample(
                dut.flush, dut.linear.start, dut.hamming.start, dut.weight_write.en, dut.param_write.en)
            self.cycle += 1
            if unit is not None and (weight or param):
                self.loaded_during.add(len(self.starts) - 1)
            left -= unit is not None
            if left == 0:
                unit = None
            if flush:
                unit, left = None, 0
            elif linear or hamming:
                assert unit is None
                unit, left = (dut.linear if linear else dut.hamming), self.linear_cycles
                self.starts.append(self.cycle)
                self.names.append("linear" if linear else "hamming")

    async def loads(self, ctx: Any) -> None:
        """Weight and parameter memories."""
        w, p = self.dut.weight_write, self.dut.param_write
        while True:
            _, _, en, bank, row, data, p_en, p_addr, p_data = await ctx.tick().sample(
                w.en, w.bank, w.row, w.data, p.en, p.addr, p.data)
            if en:
                self.weights[bank, row] = data
            if p_en:
                self.params[p_addr] = p_data

    def simulate(self, test: Any, cycles: int = 60_000) -> None:
        """Run ``test`` with everything around it."""
        simulate(self.system, test, background=[self.memory.read, self.memory.write, self.units, self.loads], cycles=cycles)


def fill(bench: Bench, address: int, count: int) -> bytes:
    """``count`` random bytes in memory."""
    data = bench.rng.randbytes(count)
    bench.memory.put(address, data)
    return data


class Job:
    """A program with every opcode, and what it must leave behind."""

    def __init__(self, bench: Bench) -> None:
        c, rng = bench.config, bench.rng
        self.bench = bench
        self.rows, self.params = c.issue * rng.randrange(1, 12), rng.randrange(1, 6)
        self.base, self.param_base = c.rows_per_word * rng.randrange(4), rng.randrange(8)
        self.run = rng.randrange(1, 4)
        self.words = self.run * c.cores * rng.randrange(1, 10)
        self.beats = rng.randrange(1, 40)
        self.count = 7
        linear = {
            "out_h": 1, "out_w": 1, "kernel_h": 1, "kernel_w": 1, "groups": 1, "steps": 1, "words": 1, "planes": 1, "slices": 1,
            "weight_addr": WEIGHTS, "weight_rows": self.rows, "weight_base": self.base,
            "param_addr": PARAMS, "param_beats": self.params, "param_base": self.param_base,
        }
        spikes = {"count": self.words, "step_stride": self.run, "base": rng.randrange(20), "beside": rng.randrange(2)}
        residual = {"count": self.beats, "space": 1, "step_stride": 1, "base": rng.randrange(20), "beside": rng.randrange(2)}
        descriptors = [
            (Opcode.LOAD, {**spikes, "segment": 1, "offset": 0x40}),
            (Opcode.LOAD, {**residual, "segment": 1, "offset": 0x4000}),
            (Opcode.HAMMING, {"width": c.lanes, "bank_tokens": 1, "slices": 1}),
            (Opcode.LINEAR, {**linear, "prefetch": 1}),
            (Opcode.LINEAR, {**linear, "prefetch": 0, "weight_rows": 0}),
            (Opcode.STORE, {**spikes, "segment": 2, "offset": 0x80}),
            (Opcode.STORE, {**residual, "segment": 2, "offset": 0x8000}),
            (Opcode.END, {}),
        ]
        self.encoded = [encode(op, {**values, "layer": i}) for i, (op, values) in enumerate(descriptors)]

    def prepare(self) -> None:
        """Fill memory."""
        b, c = self.bench, self.bench.config
        self.bench.write_program(self.encoded)
        self.weight_image = fill(b, SEGMENTS[0] + WEIGHTS, self.rows * c.row_bits // 8)
        self.param_image = fill(b, SEGMENTS[0] + PARAMS, self.params * c.param_beat_bits // 8)
        self.spikes = fill(b, SEGMENTS[1] + 0x40, self.words * c.word // 8)
        self.residual = fill(b, SEGMENTS[1] + 0x4000, self.beats * c.u_beat_bits // 8)
        b.memory.put(SEGMENTS[2] + 0x80, bytes(len(self.spikes)))
        b.memory.put(SEGMENTS[2] + 0x8000, bytes(len(self.residual)))
        b.memory.put(SEGMENTS[3], bytes(64 * (self.count + 1)))
        b.weights.clear()
        b.params.clear()

    def check(self, ctx: Any) -> None:
        """Memories and statistics are as they must be."""
        b, c = self.bench, self.bench.config
        row_bytes, param_bytes = c.row_bits // 8, c.axi_bytes
        expected = {(n % c.issue, self.base + n // c.issue): int.from_bytes(
            self.weight_image[n * row_bytes:(n + 1) * row_bytes], "little") for n in range(self.rows)}
        assert b.weights == expected
        assert b.params == {self.param_base * c.param_parts + n: int.from_bytes(
            self.param_image[n * param_bytes:(n + 1) * param_bytes], "little") for n in range(self.params * c.param_parts)}
        assert b.memory.get(SEGMENTS[2] + 0x80, len(self.spikes)) == self.spikes
        assert b.memory.get(SEGMENTS[2] + 0x8000, len(self.residual)) == self.residual
        assert {b.names[i] for i in b.loaded_during} <= {"hamming"}  # for the LINEAR behind; the last one does not prefetch
        records = b.records(self.count + 1)
        if c.lean:
            assert not any(x for record in records for x in record.values()) and not b.loaded_during
            return
        assert not any(records[self.count].values())  # END has none
        for i, record in enumerate(records[:self.count]):
            assert record["layer"] == i
        for i in (3, 4):
            cycles = b.linear_cycles
            assert records[i]["adds"] == 3 * cycles and records[i]["results"] == cycles and records[i]["drain"] == 0
            assert records[i]["busy"] == records[i]["queue"] == cycles
            assert records[i]["cycles"] == cycles + 1

    async def run_well(self, ctx: Any) -> None:
        """A run without errors."""
        self.prepare()
        assert await self.bench.run(ctx) == DONE
        assert await self.bench.read(ctx, "ERROR") == 0
        self.check(ctx)


@pytest.mark.parametrize("prefetch", [0, 1])
def test_overhead(prefetch: int) -> None:
    """Cycles between one descriptor's end and the next one's start, on a fast bus."""
    bench = Bench(SMALL, new_rng(), 0.0)

    async def test(ctx: Any) -> None:
        await bench.set_up(ctx)
        linear = {**dict.fromkeys(("out_h", "out_w", "kernel_h", "kernel_w", "groups", "steps", "words", "planes", "slices"), 1),
                  "weight_addr": WEIGHTS, "weight_rows": 16 if prefetch else 0, "prefetch": prefetch}
        bench.write_program([encode(Opcode.LINEAR, linear)] * 4 + [encode(Opcode.END, {})])
        assert await bench.run(ctx) == DONE
        gaps = [start - end for start, end in zip(bench.starts[1:], bench.ends, strict=False)]
        print("gaps:", gaps, "waits:", [r["wait"] for r in bench.records(4)])
        assert max(gaps) < 8
        assert bench.loaded_during == ({0, 1, 2} if prefetch else set())

    bench.simulate(test)


@pytest.mark.parametrize("what", ["descriptor", "weights", "params", "load", "store", "record"])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("config", [SMALL, PICO], ids=lambda c: c.name)
def test_error_response(config: Config, what: str, stall: float) -> None:
    """An error response ends the run with code 2 or 3 and the right layer; then a good run."""
    if config.lean and what == "record":
        pytest.skip("a lean machine writes none")
    bench = Bench(config, new_rng(), stall)

    async def test(ctx: Any) -> None:
        await bench.set_up(ctx)
        for _ in range(3):
            job = Job(bench)
            job.prepare()
            address, layers, code = {
                "descriptor": (SEGMENTS[0] + PROGRAM + 5 * 128 + 12, {5}, ErrorCode.READ),
                "weights": (SEGMENTS[0] + WEIGHTS, {3}, ErrorCode.READ), "params": (SEGMENTS[0] + PARAMS, {3}, ErrorCode.READ),
                "load": (SEGMENTS[1] + 0x4000, {1}, ErrorCode.READ), "store": (SEGMENTS[2] + 0x80, {5}, ErrorCode.WRITE),
                "record": (SEGMENTS[3] + 2 * 64 + 60, {1, 2, 3}, ErrorCode.WRITE),
            }[what]
            bench.memory.bad = {address // bench.config.axi_bytes}
            if code == ErrorCode.WRITE:  # the response is the burst's: that of its last beat
                bench.memory.bad = {address // bench.config.axi_bytes + i for i in range(64)}
            assert await bench.run(ctx) == FAILED
            error = await bench.read(ctx, "ERROR")
            assert error & 0xFF == code and error >> 16 in layers, hex(error)
            bench.memory.bad = set()
            await job.run_well(ctx)

    bench.simulate(test)


@pytest.mark.parametrize("trial", range(12))
def test_silent_memory(trial: int) -> None:
    """Memory that stops answering: error 4 within the limit. Then it answers again, or it has forgotten and an abort helps."""
    bench = Bench((BASE, MICRO, PICO)[trial % 3], new_rng(), 0.3)

    async def test(ctx: Any) -> None:
        await bench.set_up(ctx, watchdog=200)
        job = Job(bench)
        job.prepare()
        await bench.access(ctx, "CONTROL", START)
        await ctx.tick().repeat(bench.rng.randrange(10, 300))
        bench.memory.silent = True
        while (status := await bench.read(ctx, "STATUS")) & BUSY:
            pass
        assert status == FAILED
        assert await bench.read(ctx, "ERROR") & 0xFF == ErrorCode.WATCHDOG
        assert await bench.run(ctx) == FAILED  # still silent: no hang
        assert await bench.read(ctx, "ERROR") & 0xFF == ErrorCode.WATCHDOG
        if trial % 4 < 2:
            bench.memory.silent = False
        else:
            bench.memory.forget()
            await bench.access(ctx, "CONTROL", ABORT)
            assert await bench.read(ctx, "STATUS") == 0
            assert await bench.read(ctx, "ERROR") == 0
            await ctx.tick().repeat(4)
            bench.memory.silent = False
        await job.run_well(ctx)

    bench.simulate(test)


@pytest.mark.parametrize("trial", range(12))
def test_abort(trial: int) -> None:
    """An abort at any moment ends the run at once; the next one is good, even if started at once."""
    bench = Bench(PICO if trial % 3 == 2 else SMALL, new_rng(), 0.3)

    async def test(ctx: Any) -> None:
        await bench.set_up(ctx)
        job = Job(bench)
        for _ in range(3):
            job.prepare()
            await bench.access(ctx, "CONTROL", START)
            await ctx.tick().repeat(bench.rng.randrange(1, 500))
            await bench.access(ctx, "CONTROL", ABORT)
            assert await bench.read(ctx, "STATUS") == 0
        # Its data may be half written by the run before: a fresh copy.
        while bench.memory.reads or bench.memory.writes or bench.memory.answers:
            await ctx.tick()
        await ctx.tick().repeat(200)
        await job.run_well(ctx)

    bench.simulate(test)


def test_start_while_busy() -> None:
    """A second start changes nothing."""
    bench = Bench(SMALL, new_rng(), 0.3)

    async def test(ctx: Any) -> None:
        await bench.set_up(ctx)
        job = Job(bench)
        job.prepare()
        for _ in range(5):
            await bench.access(ctx, "CONTROL", START)
            await ctx.tick().repeat(10)
        while await bench.read(ctx, "STATUS") & BUSY:
            pass
        job.check(ctx)

    bench.simulate(test)
