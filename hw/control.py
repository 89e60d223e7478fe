"""The memory side of the machine: wiring only."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from golden.spec.registers import ADDRESS_BITS, AT_WORK, HANDSHAKES, kept
from hw.axi import AxiLite, AxiRead, AxiWrite
from hw.beat_dma import BeatDma
from hw.bus import SpikeRead, SpikeWrite, Unit, WeightWrite, counts_layout, mover_waits, param_write, u_read, u_write
from hw.loader import Loader
from hw.mover import Mover
from hw.near import near
from hw.read_dma import ReadDma
from hw.recorder import Recorder
from hw.registers import RegisterBank
from hw.relay import Relay
from hw.sequencer import Sequencer
from hw.supervisor import Supervisor
from hw.write_dma import WriteDma
from hw.write_share import WriteShare


class Control(wiring.Component):
    """Registers, DMA engines, loader, mover and sequencer: everything but the compute units and their memories.

    While ``flush`` is high (whenever no program runs) the compute units are to be held in reset. The loader may write
    weights and parameters while units run (the compiler sees to it that they are others).

    Ports
    -----
    axil : AxiLite, in
    axi_read, axi_write : AxiRead, AxiWrite, out
    irq : Signal(), out
    linear, hamming : Unit, out
    flush : Signal(), out
        The compute units are to be reset, at most two cycles later.
    weight_write : WeightWrite, out
    param_write : MemoryWrite, out
    write_waits : Signal(), in
        See `Loader`.
    spike_read, spike_write, u_read, u_write : out
        The mover's ports of the scratchpad.
    waits : Signal(mover_waits), in
    counts : Signal(counts_layout), in
        What the statistics count in this cycle; may come one cycle after ``done``.
    saturations : Signal(), in
        Residual values that saturated in this cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "axil": In(AxiLite(ADDRESS_BITS)), "axi_read": Out(AxiRead(config.axi_bits)),
            "axi_write": Out(AxiWrite(config.axi_bits)), "irq": Out(1),
            "linear": Out(Unit()), "hamming": Out(Unit()), "flush": Out(1), "weight_write": Out(WeightWrite(config)),
            "param_write": Out(param_write(config)), "write_waits": In(1), "spike_read": Out(SpikeRead(config)),
            "spike_write": Out(SpikeWrite(config)), "u_read": Out(u_read(config)), "u_write": Out(u_write(config)),
            "waits": In(mover_waits(config)),
            "counts": In(counts_layout(config)), "saturations": In(range(config.neuron_lanes + 1)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        m.submodules.registers = registers = RegisterBank(c)
        m.submodules.supervisor = supervisor = Supervisor(len(kept("WATCHDOG", c)))
        reset_by_flush = {"sequencer": (sequencer := Sequencer(c)), "loader": (loader := Loader(c)), "mover": (mover := Mover(c))}
        for name, block in reset_by_flush.items():
            m.submodules[name] = ResetInserter(near(m, supervisor.flush, 1, f"flush_{name}")[0])(block)

        # Outside.
        connect(m, flipped(self.axil), registers.axil)
        connect(m, sequencer.linear, flipped(self.linear))
        connect(m, sequencer.hamming, flipped(self.hamming))
        connect(m, loader.weight_write, flipped(self.weight_write))
        connect(m, loader.param_write, flipped(self.param_write))
        for name in ("spike_read", "spike_write", "u_read", "u_write"):
            connect(m, getattr(mover, name), flipped(getattr(self, name)))
        m.d.comb += [
            self.irq.eq(registers.irq), self.flush.eq(supervisor.flush), mover.waits.eq(self.waits),
            loader.waits.eq(self.write_waits),
        ]

        # Descriptors and their units.
        connect(m, loader.descriptors, sequencer.descriptors)
        connect(m, sequencer.mover, mover.unit)
        m.d.comb += [
            loader.start.eq(supervisor.go), loader.program.eq(registers.program), loader.segment.eq(registers.segments[0]),
            loader.settled.eq(sequencer.settled), mover.segments.eq(registers.segments),
            sequencer.counts.eq(self.counts),
        ]

        step = m.d.sync if c.far else m.d.comb
        step += [
            loader.idle.eq(sequencer.idle), supervisor.finished.eq(sequencer.finished), supervisor.illegal.eq(loader.error),
            supervisor.loader_layer.eq(loader.layer),
        ]

        # Run control.
        if c.lean:
            self._beats(m, supervisor, loader, mover)
        else:
            self._bursts(m, registers, supervisor, sequencer, loader, mover)
        read, write = self.axi_read, self.axi_write
        m.d.sync += [
            supervisor.progress.eq(
                sequencer.progress | (read.arvalid & read.arready) | read.rvalid | (write.awvalid & write.awready)
                | (write.wvalid & write.wready) | write.bvalid),
            registers.read_beat.eq(read.rvalid & read.rready), registers.write_beat.eq(write.wvalid & write.wready),
            registers.saturations.eq(self.saturations),
        ]
        m.d.comb += [
            supervisor.start.eq(registers.start), supervisor.abort.eq(registers.abort),
            supervisor.watchdog.eq(registers.watchdog), supervisor.layer.eq(loader.layer if c.lean else sequencer.error_layer),
            registers.busy.eq(supervisor.busy),
            registers.finished.eq(supervisor.well), registers.error.eq(supervisor.error), registers.code.eq(supervisor.code),
            registers.error_layer.eq(supervisor.error_layer), registers.layer.eq(loader.layer if c.lean else sequencer.layer),
        ]
        return m

    def _beats(self, m: Module, supervisor: Supervisor, loader: Loader, mover: Mover) -> None:
        """Memory, of a lean machine: one engine for all; nothing is recorded."""
        dma = BeatDma(self.config)
        m.submodules.dma = ResetInserter(supervisor.kill)(dma)
        connect(m, dma.axi_read, flipped(self.axi_read))
        connect(m, dma.axi_write, flipped(self.axi_write))
        connect(m, mover.read_jobs, dma.jobs0)
        connect(m, loader.jobs, dma.jobs1)
        connect(m, mover.write_jobs, dma.write_jobs)
        connect(m, dma.data0, mover.read_data)
        connect(m, dma.data1, loader.data)
        connect(m, mover.write_data, dma.write_data)
        m.d.comb += [
            mover.written.eq(dma.written), dma.stop.eq(supervisor.stop), supervisor.read_error.eq(dma.read_error),
            supervisor.write_error.eq(dma.write_error), supervisor.loader_reads.eq(dma.error_user),
            supervisor.drained.eq(dma.idle),
        ]

    def _bursts(self, m: Module, registers: RegisterBank, supervisor: Supervisor, sequencer: Sequencer, loader: Loader,
                mover: Mover) -> None:
        """Memory, and what is told of it: two engines, the one that writes shared with the recorder."""
        c = self.config
        recorder, write_share, read_dma, write_dma = Recorder(c), WriteShare(c), ReadDma(c), WriteDma(c)
        blocks: dict[str, wiring.Component] = {"recorder": recorder, "write_share": write_share}
        ways = {"moved": (mover.write_data, write_share.data0), "recorded": (recorder.data, write_share.data1),
                "read": (read_dma.data0, mover.read_data), "loaded": (read_dma.data1, loader.data)}
        for name, (source, sink) in ways.items():
            if c.far:
                blocks[name] = relay = Relay(source.payload.shape())
                connect(m, source, relay.before)
                connect(m, relay.after, sink)
            else:
                connect(m, source, sink)
        for name, block in blocks.items():
            m.submodules[name] = ResetInserter(near(m, supervisor.flush, 1, f"flush_{name}")[0])(block)
        m.submodules.read_dma = ResetInserter(supervisor.kill)(read_dma)
        m.submodules.write_dma = ResetInserter(supervisor.kill)(write_dma)
        read, write = self.axi_read, self.axi_write
        connect(m, read_dma.axi, flipped(read))
        connect(m, write_dma.axi, flipped(write))
        connect(m, mover.read_jobs, read_dma.jobs0)
        connect(m, loader.jobs, read_dma.jobs1)
        connect(m, sequencer.records, recorder.records)
        connect(m, mover.write_jobs, write_share.jobs0)
        connect(m, recorder.jobs, write_share.jobs1)
        connect(m, write_share.jobs, write_dma.jobs)
        connect(m, write_share.data, write_dma.data)
        m.d.comb += [
            recorder.segment.eq(registers.segments[3]), write_share.written.eq(write_dma.done),
            mover.written.eq(write_share.written0), recorder.written.eq(write_share.written1),
            read_dma.stop.eq(supervisor.stop), write_dma.stop.eq(supervisor.stop),
            supervisor.read_error.eq(read_dma.error), supervisor.write_error.eq(write_dma.error),
            supervisor.loader_reads.eq(read_dma.error_user), supervisor.drained.eq(read_dma.idle & write_dma.idle),
        ]
        units = {"LINEAR": sequencer.linear, "HAMMING": sequencer.hamming, "mover": sequencer.mover}
        at_work: dict[str, Value] = {"reads": ~read_dma.idle, "writes": ~write_dma.idle}
        for name, unit in units.items():
            at_work[name] = running = Signal(name=f"{name}_runs")
            with m.If(unit.start):
                m.d.sync += running.eq(1)
            with m.If(unit.done | supervisor.flush):
                m.d.sync += running.eq(0)
        channels = {
            "AR": (read.arvalid, read.arready), "R": (read.rvalid, read.rready), "AW": (write.awvalid, write.awready),
            "W": (write.wvalid, write.wready), "B": (write.bvalid, write.bready),
            "descriptor": (loader.descriptors.valid, loader.descriptors.ready),
            "record": (sequencer.records.valid, sequencer.records.ready),
        }
        m.d.comb += registers.handshakes.eq(Cat(*(Cat(channels[x]) for x in HANDSHAKES), *(at_work[x] for x in AT_WORK)))
