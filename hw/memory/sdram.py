"""A controller for single-rate SDRAM behind AXI4."""

from __future__ import annotations

import math
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature

from golden.spec.config import clog2
from hw.axi import DECODE_ERROR, MAX_BURST, OKAY, Axi
from hw.memory.twin import answers
from hw.queue import Queue

BANK_BITS = 2
PRECHARGE = 10  #: the address bit that closes the row behind a column, or all rows
REFRESHES = 8  #: after power-up
REGISTERS = 2  #: between controller and chip, one in the pins each way; counted in the latency of data


@dataclass(frozen=True, kw_only=True)
class SdramChip:
    """A kind of chip; times in nanoseconds.

    Parameters
    ----------
    data_bits, row_bits, column_bits : int
        Of four banks.
    open_time, close_time, least_open, recovery : float
        From a row's opening to a column (tRCD), from its closing to the next opening (tRP), from its opening to its closing
        (tRAS), from the last write to its closing (tWR).
    refresh_time, refresh_period : float
        What a refresh takes (tRFC), and how often one is due.
    power_up : float
        Until the first command.
    cas : int
        Cycles from a column to its data.
    """

    data_bits: int
    row_bits: int
    column_bits: int
    open_time: float = 20
    close_time: float = 20
    least_open: float = 45
    recovery: float = 20
    refresh_time: float = 70
    refresh_period: float
    power_up: float = 200_000
    cas: int = 3

    @property
    def memory_bytes(self) -> int:
        """Size of the chip."""
        return self.data_bits // 8 << self.row_bits + self.column_bits + BANK_BITS


#: 32 MB; times of the slowest of the chips that boards carry (IS42S16160G-7, W9825G6KH-6, MT48LC16M16A2-7E and alike).
SDRAM_32MB = SdramChip(data_bits=16, row_bits=13, column_bits=9, refresh_period=64e6 / 8192)

#: 8 MB of 32 bits, in the package of a GW2AR-18; times as above.
SDRAM_8MB = SdramChip(data_bits=32, row_bits=11, column_bits=8, refresh_period=64e6 / 4096)


class SdramPins(Signature):
    """The chip's pins as seen by the controller, all high where active; each passes a register on its way.

    The chip is always selected, and its clock always enabled.
    """

    def __init__(self, chip: SdramChip) -> None:
        super().__init__({
            "ras": Out(1), "cas": Out(1), "we": Out(1), "bank": Out(BANK_BITS), "address": Out(chip.row_bits),
            "data_o": Out(chip.data_bits), "data_oe": Out(1), "data_i": In(chip.data_bits),
        })


class AxiSdram(wiring.Component):
    """SDRAM as a subordinate of AXI4: a row is opened for each burst and closed behind it.

    Columns of a burst follow each other in every cycle. A write is collected before its row is opened, so that no row stays
    open for somebody who is slow; a read's beats wait in a queue that holds a whole burst. Reads and writes take turns where both
    wait. Bursts cross no multiple of 16 beats, hence no row.

    Parameters
    ----------
    bits : int
        Width of a beat.
    chip : SdramChip
    clock : int
        Cycles per second.

    Ports
    -----
    axi : Axi, in
    pins : SdramPins, out
    """

    def __init__(self, bits: int, chip: SdramChip, clock: int) -> None:
        self.bits, self.chip, self.clock = bits, chip, clock
        self.columns = bits // chip.data_bits  #: of a beat
        self.opening, closing = self.cycles(chip.open_time), self.cycles(chip.close_time)
        self.closing = self.cycles(chip.recovery) + closing  #: from the last column to the next command
        assert bits % chip.data_bits == 0, f"beats of {bits} bits are no whole columns of {chip.data_bits}"
        assert (self.opening + self.columns) * 1e9 >= chip.least_open * clock, f"a row is closed too early at {clock} Hz"
        assert self.closing + self.opening > chip.cas + 1, "a write would meet the data of the read before"
        super().__init__({"axi": In(Axi(bits)), "pins": Out(SdramPins(chip))})

    def cycles(self, nanoseconds: float) -> int:
        """Whole cycles that take at least so long; two at least, as the states do."""
        return max(math.ceil(nanoseconds * self.clock / 1e9), 2)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip, axi, pins = self.chip, self.axi, self.pins
        low = clog2(chip.data_bits // 8)
        m.submodules.written = written = Queue(self.bits, MAX_BURST)
        m.submodules.read = read = Queue(self.bits + 1, MAX_BURST)

        # The burst to write, until it is whole, and the one that is read.
        held, whole, target = Signal(), Signal(), Signal.like(axi.awaddr)
        reading, refused = Signal(), Signal()
        m.d.comb += [
            axi.awready.eq(~held), axi.wready.eq(held & ~whole), written.w_data.eq(axi.wdata),
            written.w_en.eq(axi.wvalid & axi.wready),
            Cat(axi.rdata, axi.rlast).eq(read.r_data), axi.rvalid.eq(read.r_rdy), read.r_en.eq(axi.rready),
            axi.rresp.eq(Mux(refused, DECODE_ERROR, OKAY)),
        ]
        length, beats = Signal.like(axi.awlen), Signal.like(axi.awlen)  # to write; of the burst that runs, to come
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [held.eq(1), target.eq(axi.awaddr), length.eq(axi.awlen)]
        with m.If(axi.wvalid & axi.wready & axi.wlast):
            m.d.sync += whole.eq(1)
        with m.If(axi.rvalid & axi.rready & axi.rlast):
            m.d.sync += reading.eq(0)
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)

        # Refreshes are due in equal intervals, and may come a burst late.
        period = int(chip.refresh_period * self.clock / 1e9)
        timer, due = Signal(range(period)), Signal()
        m.d.sync += timer.eq(timer - 1)
        with m.If(timer == 0):
            m.d.sync += [timer.eq(period - 1), due.eq(1)]

        # What runs.
        address, writing = Signal(range(chip.memory_bytes)), Signal()
        column, bank, row = (Signal(x) for x in (chip.column_bits, BANK_BITS, chip.row_bits))
        m.d.comb += Cat(column, bank, row).eq(address >> low)
        part = Signal(range(self.columns))  # column of the beat
        first, last = Signal(), Signal()
        outside, missing = Signal(), Signal()  # the burst that runs, and the write that waits, are behind the memory's end
        m.d.sync += missing.eq(target >= chip.memory_bytes)
        m.d.comb += [first.eq(part == 0), last.eq((part == self.columns - 1) & (beats == 0))]
        power_up = self.cycles(chip.power_up)
        pause = Signal(range(power_up + 1), init=power_up)
        step = Signal(range(REFRESHES + 3))  # of what follows power-up
        comes = Signal()  # a column is being read

        def after(cycles: int) -> None:
            """The next command but one state comes so many cycles after this one."""
            m.d.sync += pause.eq(cycles - 2)

        with m.FSM(init="PAUSE"):
            with m.State("PAUSE"):
                m.d.sync += pause.eq(pause - 1)
                with m.If(pause == 0):
                    m.next = "IDLE"
            with m.State("IDLE"):
                waits = axi.arvalid & ~reading
                ready = held & whole & ~axi.bvalid
                m.d.sync += part.eq(0)
                with m.If(step != REFRESHES + 2):
                    m.d.sync += step.eq(step + 1)
                    m.d.comb += [pins.ras.eq(1), pins.cas.eq(step != 0), pins.we.eq((step == 0) | (step == REFRESHES + 1))]
                    m.d.comb += pins.address.eq(Mux(step == 0, 1 << PRECHARGE, chip.cas << 4))  # else bursts of one
                    after(self.cycles(chip.refresh_time))
                    m.next = "PAUSE"
                with m.Elif(due):
                    m.d.comb += [pins.ras.eq(1), pins.cas.eq(1)]
                    m.d.sync += due.eq(timer == 0)
                    after(self.cycles(chip.refresh_time))
                    m.next = "PAUSE"
                with m.Elif(ready & ~(waits & writing)):
                    m.d.sync += [writing.eq(1), address.eq(target), beats.eq(length), outside.eq(missing)]
                    m.next = "OPEN"
                with m.Elif(waits):
                    m.d.comb += axi.arready.eq(1)
                    m.d.sync += [
                        writing.eq(0), address.eq(axi.araddr), beats.eq(axi.arlen), reading.eq(1),
                        outside.eq(axi.araddr >= chip.memory_bytes), refused.eq(axi.araddr >= chip.memory_bytes),
                    ]
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += [pins.ras.eq(~outside), pins.bank.eq(bank), pins.address.eq(row)]
                after(self.opening)
                m.next = "OPENING"
            with m.State("OPENING"):
                m.d.sync += pause.eq(pause - 1)
                with m.If(pause == 0):
                    m.next = "COLUMNS"
            with m.State("COLUMNS"):
                m.d.comb += [
                    pins.cas.eq(~outside), pins.we.eq(writing & ~outside), pins.bank.eq(bank),
                    pins.address.eq(column | last << PRECHARGE), pins.data_oe.eq(writing & ~outside), comes.eq(~writing),
                    written.r_en.eq(writing & (part == self.columns - 1)),
                ]
                m.d.sync += [address[low:low + chip.column_bits].eq(column + 1), part.eq(part + 1)]
                with m.If(part == self.columns - 1):
                    m.d.sync += [beats.eq(beats - 1), part.eq(0)]
                with m.If(last):
                    with m.If(writing):
                        m.d.sync += [
                            held.eq(0), whole.eq(0), axi.bvalid.eq(1), axi.bresp.eq(Mux(outside, DECODE_ERROR, OKAY)),
                        ]
                    after(self.closing)
                    m.next = "PAUSE"
        m.d.comb += pins.data_o.eq(written.r_data.word_select(part, chip.data_bits))

        # Columns come back so many cycles later, and are put together to beats.
        latency = chip.cas + REGISTERS - 1
        coming = Signal(2 * latency)  # each with whether it ends a beat
        kept = Signal(self.bits)
        ends = Signal()
        m.d.comb += ends.eq(part == self.columns - 1)
        m.d.sync += coming.eq(Cat(comes, comes & ends, coming))
        final = Signal(latency)
        m.d.sync += final.eq(Cat(comes & last, final))
        with m.If(coming[-2]):
            m.d.sync += kept.eq(Cat(kept[chip.data_bits:], pins.data_i))
        m.d.comb += [
            read.w_en.eq(coming[-1]), read.w_data.eq(Cat(kept[chip.data_bits:], pins.data_i, final[-1])),
        ]
        return m

    model = staticmethod(answers)
