"""Memory on chip behind AXI4, for boards without another one."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from golden.spec.config import clog2
from hw.axi import DECODE_ERROR, MAX_BURST, OKAY, Axi
from hw.memory.twin import answers


class AxiBlockRam(wiring.Component):
    """Block RAM as a subordinate of AXI4: a burst at a time in each direction, a beat a cycle.

    The first beat of a read comes two cycles after its address, a write is answered in the cycle after its last beat. Bursts
    cross no multiple of 16 beats, and the size is one, so the first address tells of all whether they are in memory.

    Parameters
    ----------
    bits : int
        Width of a beat.
    memory_bytes : int
        Size, a multiple of 16 beats. What lies behind it is answered with an error.

    Ports
    -----
    axi : Axi, in
    """

    def __init__(self, bits: int, memory_bytes: int) -> None:
        assert memory_bytes % (MAX_BURST * bits // 8) == 0, f"{memory_bytes} bytes are no whole bursts of {bits} bits"
        self.bits, self.memory_bytes = bits, memory_bytes
        super().__init__({"axi": In(Axi(bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, low, depth = self.axi, clog2(self.bits // 8), self.memory_bytes // (self.bits // 8)
        m.submodules.memory = memory = Memory(shape=self.bits, depth=depth, init=[])
        read, write = memory.read_port(), memory.write_port()

        at, left, outside = Signal(range(depth)), Signal.like(axi.arlen), Signal()
        goes = Signal()  # the beat on offer is taken, or there is none
        m.d.comb += [goes.eq(~axi.rvalid | axi.rready), read.addr.eq(at), axi.rdata.eq(read.data), read.en.eq(0)]
        with m.If(goes):
            m.d.sync += axi.rvalid.eq(0)
        with m.FSM(name="reads"):
            with m.State("IDLE"):
                m.d.comb += axi.arready.eq(1)
                m.d.sync += [at.eq(axi.araddr >> low), left.eq(axi.arlen), outside.eq(axi.araddr >= self.memory_bytes)]
                with m.If(axi.arvalid):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += read.en.eq(goes)
                with m.If(goes):
                    m.d.sync += [
                        axi.rvalid.eq(1), axi.rlast.eq(left == 0), axi.rresp.eq(Mux(outside, DECODE_ERROR, OKAY)),
                        at.eq(at + 1), left.eq(left - 1),
                    ]
                    with m.If(left == 0):
                        m.next = "IDLE"

        to, refused = Signal(range(depth)), Signal()
        m.d.comb += [
            write.addr.eq(to), write.data.eq(axi.wdata), write.en.eq(axi.wvalid & axi.wready & ~refused),
            axi.bresp.eq(Mux(refused, DECODE_ERROR, OKAY)),
        ]
        with m.FSM(name="writes"):
            with m.State("IDLE"):
                m.d.comb += axi.awready.eq(1)
                m.d.sync += [to.eq(axi.awaddr >> low), refused.eq(axi.awaddr >= self.memory_bytes)]
                with m.If(axi.awvalid):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += axi.wready.eq(1)
                with m.If(axi.wvalid):
                    m.d.sync += to.eq(to + 1)
                    with m.If(axi.wlast):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += axi.bvalid.eq(1)
                with m.If(axi.bready):
                    m.next = "IDLE"
        return m

    model = staticmethod(answers)
