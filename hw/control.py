"""The memory side of the machine: wiring only."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from golden.spec.registers import ADDRESS_BITS
from hw.arbiter import JobArbiter
from hw.axi import AxiLite, AxiRead, AxiWrite
from hw.bus import SpikeRead, SpikeWrite, Unit, WeightWrite, descriptor_layout, param_write, u_read, u_write
from hw.loader import Loader
from hw.mover import Mover
from hw.read_dma import ReadDma
from hw.registers import RegisterBank
from hw.sequencer import Sequencer
from hw.write_dma import WriteDma


class Control(wiring.Component):
    """Registers, sequencer, loader, mover and DMA engines.

    Ports
    -----
    axil : AxiLite, in
    axi_read, axi_write : AxiRead, AxiWrite, out
    irq : Signal(), out
    descriptor : Signal(descriptor_layout()), out
        Stable from a unit's ``start`` to its ``done``.
    linear, hamming : Unit, out
    flush : Signal(), out
        The compute units are to be reset.
    weight_write : WeightWrite, out
    param_write : MemoryWrite, out
    spike_read, spike_write, u_read, u_write : out
        The mover's ports of the scratchpad.
    adds, results, busy, starved, blocked : Signal(), in
        What the statistics count in this cycle; may come one cycle after ``done``.
    saturations : Signal(), in
        Residual values that saturated in this cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "axil": In(AxiLite(ADDRESS_BITS)), "axi_read": Out(AxiRead(config.axi_bits)),
            "axi_write": Out(AxiWrite(config.axi_bits)), "irq": Out(1), "descriptor": Out(descriptor_layout()),
            "linear": Out(Unit()), "hamming": Out(Unit()), "flush": Out(1), "weight_write": Out(WeightWrite(config)),
            "param_write": Out(param_write(config)), "spike_read": Out(SpikeRead(config)),
            "spike_write": Out(SpikeWrite(config)), "u_read": Out(u_read(config)), "u_write": Out(u_write(config)),
            "adds": In(range(config.cores * config.issue * config.lanes + 1)), "results": In(1), "busy": In(1),
            "starved": In(1), "blocked": In(1), "saturations": In(range(config.neuron_lanes + 1)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        m.submodules.registers = registers = RegisterBank(c)
        m.submodules.sequencer = sequencer = Sequencer(c)
        m.submodules.read_dma = read_dma = ReadDma(c)
        m.submodules.write_dma = write_dma = WriteDma(c)
        loader, mover, arbiter = Loader(c), Mover(c), JobArbiter(c)
        m.submodules.loader = ResetInserter(sequencer.flush)(loader)
        m.submodules.mover = ResetInserter(sequencer.flush)(mover)
        m.submodules.arbiter = ResetInserter(sequencer.flush)(arbiter)

        connect(m, flipped(self.axil), registers.axil)
        connect(m, read_dma.axi, flipped(self.axi_read))
        connect(m, write_dma.axi, flipped(self.axi_write))
        connect(m, arbiter.jobs, read_dma.jobs)
        connect(m, read_dma.data, arbiter.data)
        for i, user in enumerate((("jobs", "data", loader), ("read_jobs", "read_data", mover))):
            jobs, beats, unit = user
            connect(m, getattr(unit, jobs), arbiter.user_jobs[i])
            connect(m, arbiter.user_data[i], getattr(unit, beats))
        connect(m, loader.descriptors, sequencer.descriptors)
        connect(m, loader.weights, flipped(self.weight_write))
        connect(m, loader.params, flipped(self.param_write))
        connect(m, sequencer.linear, flipped(self.linear))
        connect(m, sequencer.hamming, flipped(self.hamming))
        connect(m, sequencer.mover, mover.unit)
        for name in ("spike_read", "spike_write", "u_read", "u_write"):
            connect(m, getattr(mover, name), flipped(getattr(self, name)))

        # The write DMA serves the mover while it runs and the sequencer between descriptors, never both.
        for port in ("write_jobs", "write_data"):
            sink = write_dma.jobs if port == "write_jobs" else write_dma.data
            for user in (mover, sequencer):
                source = getattr(user, port)
                m.d.comb += source.ready.eq(sink.ready)
                with m.If(source.valid):
                    m.d.comb += [sink.valid.eq(1), sink.payload.eq(source.payload)]

        m.d.comb += [
            self.irq.eq(registers.irq), self.descriptor.eq(sequencer.descriptor), self.flush.eq(sequencer.flush),
            mover.descriptor.eq(sequencer.descriptor), mover.segments.eq(registers.segments),
            mover.write_idle.eq(write_dma.idle),
            loader.start.eq(sequencer.begin), loader.program.eq(registers.segments[0] + registers.program),
            loader.segment.eq(registers.segments[0]), loader.executing.eq(sequencer.executing),
            read_dma.flush.eq(sequencer.flush), write_dma.flush.eq(sequencer.flush),
            sequencer.start.eq(registers.start), sequencer.abort.eq(registers.abort),
            sequencer.watchdog.eq(registers.watchdog), sequencer.statistics.eq(registers.segments[3]),
            sequencer.dma_idle.eq(read_dma.idle & write_dma.idle), sequencer.write_idle.eq(write_dma.idle),
            sequencer.progress.eq(read_dma.beat | write_dma.beat), sequencer.read_error.eq(read_dma.error),
            sequencer.write_error.eq(write_dma.error), sequencer.illegal.eq(loader.illegal),
            sequencer.adds.eq(self.adds), sequencer.results.eq(self.results), sequencer.counting.eq(self.busy),
            sequencer.starved.eq(self.starved), sequencer.blocked.eq(self.blocked),
            registers.busy.eq(sequencer.busy), registers.finished.eq(sequencer.finished),
            registers.failed.eq(sequencer.failed), registers.code.eq(sequencer.code), registers.layer.eq(sequencer.layer),
            registers.read_beat.eq(read_dma.beat), registers.write_beat.eq(write_dma.beat),
            registers.saturations.eq(self.saturations),
        ]
        return m
