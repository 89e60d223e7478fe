"""The register bank on AXI4-Lite."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config
from golden.spec.registers import ADDRESS_BITS, ID_VALUE, REGISTERS, VERSION
from hw.axi import OKAY, AxiLite

SLVERR = 2


class RegisterBank(wiring.Component):
    """All registers of `golden.spec.registers`, one read and one write at a time, answered two cycles after the request.

    An unknown address, or a write to a read-only register, is answered with an error response and changes nothing.

    Ports
    -----
    axil : AxiLite, in
    start, abort : Signal(), out
        One cycle, after a write to CONTROL.
    program, watchdog, segments : out
        The registers of these names.
    busy : Signal(), in
    finished, failed : Signal(), in
        One cycle: the program ended well; it ended with ``code`` at ``layer``.
    code, layer : Signal(), in
    read_beat, write_beat, saturations : Signal(), in
        What the counters of these names add in this cycle.
    irq : Signal(), out
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "axil": In(AxiLite(ADDRESS_BITS)), "start": Out(1), "abort": Out(1), "program": Out(32), "watchdog": Out(32),
            "segments": Out(data.ArrayLayout(32, 4)), "busy": In(1), "finished": In(1), "failed": In(1), "code": In(8),
            "layer": In(16), "read_beat": In(1), "write_beat": In(1), "saturations": In(range(config.neuron_lanes + 1)),
            "irq": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = self.axil
        done, error, code, error_layer, irq_enable = Signal(), Signal(), Signal(8), Signal(16), Signal()
        cycles, read_beats, write_beats, saturations = Signal(64), Signal(32), Signal(32), Signal(32)
        digest = int(self.config.digest, 16)
        values = {
            "ID": ID_VALUE, "VERSION": VERSION, **{f"DIGEST{i}": digest >> 32 * (3 - i) & 0xFFFFFFFF for i in range(4)},
            "CONTROL": 0, "STATUS": Cat(self.busy, done, error), "ERROR": Cat(code, Const(0, 8), error_layer),
            "IRQ_ENABLE": irq_enable, "WATCHDOG": self.watchdog, "PROGRAM": self.program,
            **{f"SEGMENT{i}": self.segments[i] for i in range(4)}, "LAYER": self.layer, "CYCLES_LO": cycles[:32],
            "CYCLES_HI": cycles[32:], "READ_BEATS": read_beats, "WRITE_BEATS": write_beats, "SATURATIONS": saturations,
        }
        assert values.keys() == REGISTERS.keys()

        # Reads.
        m.d.comb += bus.arready.eq(~bus.rvalid)
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0), bus.rresp.eq(SLVERR)]
            with m.Switch(bus.araddr):
                for name, register in REGISTERS.items():
                    with m.Case(register.address):
                        m.d.sync += [bus.rdata.eq(values[name]), bus.rresp.eq(OKAY)]

        # Writes: address and data are taken together.
        write = Signal()
        m.d.comb += [
            write.eq(bus.awvalid & bus.wvalid & ~bus.bvalid), bus.awready.eq(write), bus.wready.eq(write),
        ]
        m.d.sync += [self.start.eq(0), self.abort.eq(0)]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(write):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(SLVERR)]
            with m.Switch(bus.awaddr):
                for name, register in REGISTERS.items():
                    if register.access == "ro":
                        continue
                    with m.Case(register.address):
                        m.d.sync += bus.bresp.eq(OKAY)
                        if register.access == "wo":
                            m.d.sync += [self.start.eq(bus.wdata[0] & bus.wstrb[0] & ~bus.wdata[1]),
                                         self.abort.eq(bus.wdata[1] & bus.wstrb[0])]
                        else:
                            target = values[name]
                            for byte in range((len(target) + 7) // 8):
                                with m.If(bus.wstrb[byte]):
                                    m.d.sync += target[8 * byte:8 * byte + 8].eq(bus.wdata[8 * byte:8 * byte + 8])

        # Status and counters of the run.
        begin = Signal()
        m.d.comb += begin.eq(self.start & ~self.busy)
        with m.If(self.busy):
            m.d.sync += cycles.eq(cycles + 1)
        m.d.sync += [
            read_beats.eq(read_beats + self.read_beat), write_beats.eq(write_beats + self.write_beat),
            saturations.eq(saturations + self.saturations),
        ]
        with m.If(begin):
            m.d.sync += [cycles.eq(0), read_beats.eq(0), write_beats.eq(0), saturations.eq(0)]
        with m.If(self.finished):
            m.d.sync += done.eq(1)
        with m.If(self.failed):
            m.d.sync += [error.eq(1), code.eq(self.code), error_layer.eq(self.layer)]
        with m.If(begin | self.abort):
            m.d.sync += [done.eq(0), error.eq(0), code.eq(0), error_layer.eq(0)]
        m.d.comb += self.irq.eq(irq_enable & (done | error))
        return m


