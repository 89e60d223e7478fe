"""The large memories of an iCE40 UltraPlus behind AXI4."""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from golden.spec.config import clog2
from hw.axi import DECODE_ERROR, OKAY, Axi
from hw.memory.twin import answers

WORDS = 1 << 14  #: of 16 bits, in one SB_SPRAM256KA
BITS = 16


class AxiSpram(wiring.Component):
    """SB_SPRAM256KA, which have one port, as a subordinate of AXI4: a burst at a time, writes first, two cycles a beat that is
    read and one that is written. Elsewhere than on its chip it is a plain memory with the same timing.

    Parameters
    ----------
    memory_bytes : int
        Size, whole memories of 32 KB. What lies behind it is answered with an error.

    Ports
    -----
    axi : Axi, in
    """

    def __init__(self, memory_bytes: int) -> None:
        assert memory_bytes % (2 * WORDS) == 0, f"{memory_bytes} bytes are no whole memories of {2 * WORDS}"
        self.memory_bytes = memory_bytes
        super().__init__({"axi": In(Axi(BITS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, depth = self.axi, self.memory_bytes // 2
        at, left, outside = Signal(range(depth)), Signal.like(axi.arlen), Signal()
        reads, writes, found, address = Signal(), Signal(), Signal(BITS), Signal.like(axi.araddr)
        response = Mux(outside, DECODE_ERROR, OKAY)
        m.d.comb += [axi.rdata.eq(found), axi.rlast.eq(left == 0), axi.rresp.eq(response), axi.bresp.eq(response)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [axi.awready.eq(1), axi.arready.eq(~axi.awvalid)]
                m.d.comb += address.eq(Mux(axi.awvalid, axi.awaddr, axi.araddr))
                m.d.sync += [at.eq(address >> 1), outside.eq(address >= self.memory_bytes), left.eq(axi.arlen)]
                with m.If(axi.awvalid):
                    m.next = "WRITE"
                with m.Elif(axi.arvalid):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += reads.eq(1)
                m.next = "BEAT"
            with m.State("BEAT"):  # read again, so that it stays
                m.d.comb += [reads.eq(1), axi.rvalid.eq(1)]
                with m.If(axi.rready):
                    m.d.sync += [at.eq(at + 1), left.eq(left - 1)]
                    m.next = "READ"
                    with m.If(left == 0):
                        m.next = "IDLE"
            with m.State("WRITE"):
                m.d.comb += [axi.wready.eq(1), writes.eq(axi.wvalid & ~outside)]
                with m.If(axi.wvalid):
                    m.d.sync += at.eq(at + 1)
                    with m.If(axi.wlast):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += axi.bvalid.eq(1)
                with m.If(axi.bready):
                    m.next = "IDLE"

        if not getattr(platform, "device", "").startswith("iCE40UP"):
            m.submodules.memory = memory = Memory(shape=BITS, depth=depth, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [write.addr.eq(at), write.data.eq(axi.wdata), write.en.eq(writes), read.addr.eq(at), read.en.eq(reads),
                         found.eq(read.data)]
            return m
        low = clog2(WORDS)
        bank, shown = at[low:], Signal(len(at) - low)
        m.d.sync += shown.eq(bank)
        words = [Signal(BITS, name=f"word{i}") for i in range(depth // WORDS)]
        with m.Switch(shown):
            for i, word in enumerate(words):
                with m.Case(i):
                    m.d.comb += found.eq(word)
                m.submodules[f"spram{i}"] = Instance(
                    "SB_SPRAM256KA", i_CLOCK=ClockSignal(), i_ADDRESS=at[:low], i_DATAIN=axi.wdata, i_MASKWREN=0b1111,
                    i_WREN=writes, i_CHIPSELECT=(reads | writes) & (bank == i), i_STANDBY=0, i_SLEEP=0, i_POWEROFF=1,
                    o_DATAOUT=word)
        return m

    model = staticmethod(answers)
