"""Sequencer and Recorder: units start when they may, statistics add up, END waits for the last record."""

from __future__ import annotations

import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib.wiring import connect

from golden.spec.config import BASE, SMALL, Config
from golden.spec.descriptor import Opcode
from golden.spec.registers import SLOT_STATES, STATISTICS
from hw.recorder import Recorder
from hw.sequencer import UNITS, Sequencer
from hw.tests.bench import new_rng, receive, simulate

OF: dict[int, str] = {Opcode.LINEAR: "linear", Opcode.HAMMING: "hamming", Opcode.LOAD: "mover", Opcode.STORE: "mover"}


class WithRecorder(Elaboratable):
    """Sequencer and recorder."""

    def __init__(self, sequencer: Sequencer, recorder: Recorder) -> None:
        self.sequencer, self.recorder = sequencer, recorder

    def elaborate(self, platform: object) -> Module:
        """Join them."""
        m = Module()
        m.submodules.sequencer, m.submodules.recorder = self.sequencer, self.recorder
        connect(m, self.sequencer.records, self.recorder.records)
        return m


@pytest.mark.parametrize("config", [SMALL, BASE], ids=lambda c: c.name)
@pytest.mark.parametrize("latency", [1, 90])
def test_program(config: Config, latency: int) -> None:
    """Random descriptors, flags and times; a record's write is fast, or slower than the next descriptor."""
    rng = new_rng()
    dut, recorder = Sequencer(config), Recorder(config)
    program = [{"opcode": rng.choice(list(OF)), "count": 1000 + i, **{x: rng.randrange(2) for x in (
        "beside", "after_hamming", "after_move")}} for i in range(30)]
    program[0] |= {"opcode": Opcode.LINEAR, "beside": 1}  # takes long, so that the second certainly runs beside it
    program[1] |= {"opcode": Opcode.LOAD, "after_hamming": 0, "after_move": 0}
    expected: dict[int, dict[str, int]] = {}
    got: list[dict[str, int]] = []
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}

    async def offer(ctx):
        for d in [*program, {"opcode": Opcode.END}]:
            for _ in range(rng.choice([0, 0, 20])):
                await ctx.tick()
            ctx.set(dut.descriptors.payload, d)
            ctx.set(dut.descriptors.valid, 1)
            await ctx.tick().until(dut.descriptors.ready)
            ctx.set(dut.descriptors.payload, {})
            ctx.set(dut.descriptors.valid, 0)

    async def units(ctx):
        ctx.set(recorder.segment, 0x5000)
        running: dict[str, tuple[int, int]] = {}  # by unit: number, cycles left
        cycle, wait_from = 0, 0
        tail: int | None = None
        while not ctx.get(dut.finished):
            assert ctx.get(dut.idle) <= (not running.keys() & {"linear", "hamming"})
            assert ctx.get(dut.settled) <= (not running)
            for name in UNITS:
                if ctx.get(getattr(dut, name).start):
                    number, d = len(starts), program[len(starts)]
                    assert OF[d["opcode"]] == name and name not in running
                    assert not (d["after_hamming"] and "hamming" in running) and not (d["after_move"] and "mover" in running)
                    assert not number or program[number - 1]["beside"] or number - 1 in ends, f"{number} starts early"
                    assert not ctx.get(dut.idle) or name == "mover"
                    running[name], starts[number] = (number, rng.choice([1, 5, rng.randrange(1, 150)]) if number else 150), cycle
                    expected[number] = {"layer": number, "wait": cycle - wait_from, "cycles": 0, **dict.fromkeys(
                        (x for x, _ in dut.counts.shape()), 0)}
                    if program[number]["beside"]:
                        wait_from = cycle
                    assert ctx.get(dut.layer) == number or program[number]["beside"]
                    assert name != "mover" or ctx.get(dut.error_layer) == number
            for name, (number, left) in running.items():
                assert ctx.get(getattr(dut, name).descriptor.count) == 1000 + number, "the descriptor changed"
                ctx.set(getattr(dut, name).done, left == 0)
            counted = {name: rng.randrange(2 if name == "results" else config.cores * config.issue + 1)
                       for name, _ in dut.counts.shape()}
            for name, value in counted.items():
                ctx.set(getattr(dut.counts, name), value)
            if "linear" in running or tail is not None:
                counts = expected[running["linear"][0] if tail is None else tail]
                for name, value in counted.items():
                    if "linear" in running or name not in SLOT_STATES:
                        counts[name] += value
            tail = None
            await ctx.tick()
            for name, (number, left) in list(running.items()):
                expected[number]["cycles"] += 1
                running[name] = number, left - 1
                if left == 0:
                    del running[name]
                    ctx.set(getattr(dut, name).done, 0)
                    ends[number] = cycle
                    if not program[number]["beside"]:
                        wait_from = cycle + 1
                    tail = number if name == "linear" else tail
            cycle += 1
        assert len(starts) == len(ends) == len(got) == len(program)

    async def memory(ctx):
        for _ in program:
            (job,) = await receive(ctx, recorder.jobs, 1, rng, 0.3)
            assert job.beats == 64 // config.axi_bytes
            beats = await receive(ctx, recorder.data, job.beats, rng, 0.3)
            data = b"".join(b.to_bytes(config.axi_bytes, "little") for b in beats)
            words = [int.from_bytes(data[i:i + 4], "little") for i in range(0, 64, 4)]
            assert not any(words[len(STATISTICS):]) and job.addr == 0x5000 + 64 * words[0]
            await ctx.tick().repeat(latency)
            got.append(dict(zip(STATISTICS, words, strict=False)))
            ctx.set(recorder.written, 1)
            await ctx.tick()
            ctx.set(recorder.written, 0)

    simulate(WithRecorder(dut, recorder), offer, units, memory)
    for number, d in enumerate(program):
        if d["opcode"] != Opcode.LINEAR:
            expected[number] |= dict.fromkeys((x for x, _ in dut.counts.shape()), 0)
    assert sorted(got, key=lambda x: x["layer"]) == [expected[i] for i in range(len(program))]
    assert starts[1] < ends[0], "nothing ran beside anything"


@pytest.mark.parametrize("flags,gap", [({}, 4), ({"beside": 1}, 1)])
def test_overhead(flags: dict[str, int], gap: int) -> None:
    """A HAMMING that is there starts so many cycles after a LINEAR is done, or after its start where that is beside."""
    dut = Sequencer(SMALL)
    found = 0

    async def test(ctx):
        nonlocal found
        ctx.set(dut.records.ready, 1)
        ctx.set(dut.descriptors.payload, {"opcode": Opcode.LINEAR, **flags})
        ctx.set(dut.descriptors.valid, 1)
        await ctx.tick().until(dut.descriptors.ready)
        ctx.set(dut.descriptors.payload, {"opcode": Opcode.HAMMING})
        assert ctx.get(dut.linear.start)
        if not flags:
            await ctx.tick().repeat(10)
            ctx.set(dut.linear.done, 1)
        while not ctx.get(dut.hamming.start):
            await ctx.tick()
            ctx.set(dut.linear.done, 0)
            found += 1

    simulate(dut, test)
    assert found == gap
