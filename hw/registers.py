"""The register bank on AXI4-Lite."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config
from golden.spec.registers import (
    ABORT,
    ADDRESS_BITS,
    AT_WORK,
    HANDSHAKES,
    ID_VALUE,
    REGISTERS,
    START,
    VERSION,
    ErrorCode,
    kept,
)
from hw.axi import OKAY, AxiLite

SLVERR = 2  #: response to an unmapped address and to a write of a read-only register


class RegisterBank(wiring.Component):
    """All registers of `golden.spec.registers`; one read and one write at a time, answered in the cycle after they are taken.

    ``start`` and ``abort`` pulse in the cycle of the write response. Counters run here, while ``busy``.

    Ports
    -----
    axil : AxiLite, in
    start, abort : Signal(), out
        CONTROL was written: ``start`` only while not busy, and not where both are written.
    program, watchdog, segments : out
        The registers of these names.
    busy : Signal(), in
    finished : Signal(), in
        Pulses at a good end.
    error : Signal(), in
        Pulses at a bad end, together with ``code`` and ``error_layer``.
    layer : Signal(16), in
        Descriptor being executed.
    read_beat, write_beat : Signal(), in
        A beat has been read or written.
    saturations : Signal(), in
        Increment of the register of that name.
    handshakes : Signal(), in
        Bits of the register of that name, which keeps those of the last busy cycle.
    irq : Signal(), out
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "axil": In(AxiLite(ADDRESS_BITS)), "start": Out(1), "abort": Out(1), "program": Out(32), "watchdog": Out(32),
            "segments": Out(data.ArrayLayout(32, 4)), "busy": In(1), "finished": In(1), "error": In(1),
            "code": In(ErrorCode), "error_layer": In(16), "layer": In(16), "read_beat": In(1), "write_beat": In(1),
            "saturations": In(range(config.neuron_lanes + 1)), "irq": Out(1),
            "handshakes": In(2 * len(HANDSHAKES) + len(AT_WORK)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axil = self.axil
        done, failed, irq_enable = Signal(), Signal(), Signal()
        code, error_layer = Signal(8), Signal(16)
        lean = self.config.lean
        cycles, saturations = Signal(32 if lean else 64), Signal(16 if lean else 32)
        beats_read, beats_written = Signal(32), Signal(32)
        handshakes = Signal.like(self.handshakes, name="kept")
        digest = self.config.digest
        contents = {
            "ID": Const(ID_VALUE, 32), "VERSION": Const(VERSION, 32),
            **{f"DIGEST{i}": Const(int(digest[8 * i:8 * i + 8], 16), 32) for i in range(4)},
            "CONTROL": Const(0, 32), "STATUS": Cat(self.busy, done, failed), "ERROR": Cat(code, Const(0, 8), error_layer),
            "IRQ_ENABLE": irq_enable, "WATCHDOG": self.watchdog, "PROGRAM": self.program,
            **{f"SEGMENT{i}": self.segments[i] for i in range(4)}, "LAYER": self.layer,
            "CYCLES_LO": cycles[:32], "CYCLES_HI": Const(0) if lean else cycles[32:],
            "READ_BEATS": beats_read, "WRITE_BEATS": beats_written, "SATURATIONS": saturations,
            "HANDSHAKES": handshakes,
        }
        assert contents.keys() == REGISTERS.keys()

        # Reads.
        m.d.comb += axil.arready.eq(~axil.rvalid)
        with m.If(axil.rready):
            m.d.sync += axil.rvalid.eq(0)
        with m.If(axil.arvalid & axil.arready):
            m.d.sync += [axil.rvalid.eq(1), axil.rdata.eq(0), axil.rresp.eq(SLVERR)]
            with m.Switch(axil.araddr[2:]):
                for name, register in REGISTERS.items():
                    with m.Case(register.address // 4):
                        m.d.sync += [axil.rdata.eq(contents[name]), axil.rresp.eq(OKAY)]

        # Writes: address and data are taken together.
        take = Signal()
        m.d.comb += [
            take.eq(axil.awvalid & axil.wvalid & ~axil.bvalid), axil.awready.eq(take), axil.wready.eq(take),
        ]
        m.d.sync += [self.start.eq(0), self.abort.eq(0)]
        with m.If(axil.bready):
            m.d.sync += axil.bvalid.eq(0)
        with m.If(take):
            m.d.sync += [axil.bvalid.eq(1), axil.bresp.eq(SLVERR)]
            with m.Switch(axil.awaddr[2:]):
                for name, register in REGISTERS.items():
                    if register.access == "ro":
                        continue
                    with m.Case(register.address // 4):
                        m.d.sync += axil.bresp.eq(OKAY)
                        if name == "CONTROL":
                            orders = axil.wdata[:8] & axil.wstrb[0].replicate(8)
                            starts, aborts = (orders & START).any(), (orders & ABORT).any()
                            m.d.sync += [self.start.eq(starts & ~aborts & ~self.busy), self.abort.eq(aborts)]
                            continue
                        bits = kept(name, self.config)
                        for low in range(bits.start // 8 * 8, bits.stop, 8):
                            first, end = max(low, bits.start), min(low + 8, bits.stop)
                            with m.If(axil.wstrb[low // 8]):
                                m.d.sync += contents[name][first:end].eq(axil.wdata[first:end])

        # Status and counters.
        m.d.comb += self.irq.eq(irq_enable & (done | failed))
        with m.If(self.finished):
            m.d.sync += done.eq(1)
        with m.If(self.error):
            m.d.sync += [failed.eq(1), code.eq(self.code), error_layer.eq(self.error_layer)]
        with m.If(self.busy):
            m.d.sync += [cycles.eq(cycles + 1), saturations.eq(saturations + self.saturations)]
            if not lean:
                m.d.sync += [beats_read.eq(beats_read + self.read_beat), beats_written.eq(beats_written + self.write_beat),
                             handshakes.eq(self.handshakes)]
        with m.If(self.start | self.abort):
            m.d.sync += [done.eq(0), failed.eq(0), code.eq(0), error_layer.eq(0)]
        with m.If(self.start):
            m.d.sync += [x.eq(0) for x in (cycles, beats_read, beats_written, saturations)]
        return m

    @staticmethod
    def model(config: Config, accesses: Iterable[tuple[int, int | None, int]]) -> tuple[list[tuple[int, int]], list[str]]:
        """Twin at rest: data and response of each access (address, value or None to read, strobe), and the orders given."""
        digest = {f"DIGEST{i}": int(config.digest[8 * i:8 * i + 8], 16) for i in range(4)}
        values = {**dict.fromkeys(REGISTERS, 0), "ID": ID_VALUE, "VERSION": VERSION, **digest}
        names = {register.address: name for name, register in REGISTERS.items()}
        answers, orders = [], []
        for address, value, strobe in accesses:
            name = names.get(address & ~3)
            if name is None or (value is not None and REGISTERS[name].access == "ro"):
                answers.append((0, SLVERR))
                continue
            answers.append((values[name] if value is None else 0, OKAY))
            if value is not None:
                mask = sum(0xFF << (8 * i) for i in range(4) if strobe >> i & 1)
                if name != "CONTROL":
                    mask &= sum(1 << i for i in kept(name, config))
                    values[name] = values[name] & ~mask | value & mask
                elif value & mask & (START | ABORT):
                    orders.append("abort" if value & mask & ABORT else "start")
        return answers, orders
