"""The contract of the engine that two users read memory by."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Assert, Assume, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.data import StructLayout

from golden.spec.config import Config, clog2
from hw.jobs import MAX_OUTSTANDING
from hw.read_dma import ReadDma
from sim.formal.contracts import channels, free_inputs, hold

JOBS = 8  #: jobs of a user between their acceptance and their last beat; the proof says that there are no more
BEATS = 4  #: of the longest job, in one burst or two


class _Line:
    """Entries in order, the oldest one first: a shift register, at most ``depth`` of them."""

    def __init__(self, m: Module, layout: StructLayout, depth: int, put: Value, entry: data.View, over: Value, name: str) -> None:
        self.entries = [Signal(layout, name=f"{name}{i}") for i in range(depth + 1)]
        self.level = Signal(range(depth + 2), name=f"{name}_level")
        after = Signal.like(self.level, name=f"{name}_after")
        m.d.comb += [after.eq(self.level - over), Assert(self.level <= depth)]
        m.d.sync += self.level.eq(after + put)
        with m.If(over):
            m.d.sync += [a.eq(b) for a, b in pairwise(self.entries)]
        for i, kept in enumerate(self.entries):
            with m.If(put & (after == i)):
                m.d.sync += kept.eq(entry)


class ReadContract(wiring.Component):
    """Every job of either user is served: exactly its beats, in its order, and the last one marked.

    Memory answers bursts in the order in which it took them, whenever it likes, with the number of each beat.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({})
        self.ports: list[Signal] = []

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = ReadDma(self.config)
        free = free_inputs(m, dut, "in")
        self.ports += free.values()
        low, axi = clog2(self.config.axi_bytes), dut.axi
        m.d.comb += Assume(~dut.stop)

        # Memory.
        burst = StructLayout({"position": 32 - low, "left": 8})
        asked, answered, over = Signal(burst), Signal(), Signal()
        m.d.comb += [asked.position.eq(axi.araddr >> low), asked.left.eq(axi.arlen), answered.eq(axi.rvalid & axi.rready),
                     over.eq(answered & axi.rlast)]
        bursts = _Line(m, burst, MAX_OUTSTANDING, axi.arvalid & axi.arready, asked, over, "burst")
        beat = Signal(8)
        with m.If(answered):
            m.d.sync += beat.eq(beat + 1)
            with m.If(axi.rlast):
                m.d.sync += beat.eq(0)
        oldest = bursts.entries[0]
        with m.If(axi.rvalid):
            m.d.comb += [Assume(bursts.level != 0), Assume(axi.rdata == (oldest.position + beat)[:32 - low]),
                         Assume(axi.rlast == (beat == oldest.left))]
        for channel in channels(dut):
            hold(m, channel, Assert if channel.sends else Assume)

        # Users.
        job = StructLayout({"position": 32 - low, "beats": 24})
        for i, (jobs, beats) in enumerate(((dut.jobs0, dut.data0), (dut.jobs1, dut.data1))):
            taken, got, last = (Signal(name=f"{name}{i}") for name in ("taken", "got", "last"))
            entry, number = Signal(job, name=f"entry{i}"), Signal(24, name=f"number{i}")
            m.d.comb += [
                Assume((jobs.payload.beats != 0) & (jobs.payload.beats <= BEATS)), Assume(jobs.payload.addr[:low] == 0),
                entry.position.eq(jobs.payload.addr >> low), entry.beats.eq(jobs.payload.beats),
                taken.eq(jobs.valid & jobs.ready), got.eq(beats.valid & beats.ready),
            ]
            line = _Line(m, job, JOBS, taken, entry, got & last, f"job{i}_")
            mine = line.entries[0]
            m.d.comb += last.eq(number == mine.beats - 1)
            with m.If(got):
                m.d.sync += number.eq(number + 1)
                with m.If(last):
                    m.d.sync += number.eq(0)
            with m.If(beats.valid):
                m.d.comb += [Assert(line.level != 0), Assert(beats.payload.last == last),
                             Assert(beats.payload.data == (mine.position + number)[:32 - low])]
        return m
