"""An SDRAM chip that notices what its controller does wrong."""

from __future__ import annotations

import math
from enum import IntEnum

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.axi import Axi
from hw.memory.sdram import BANK_BITS, PRECHARGE, AxiSdram, SdramChip, SdramPins

ROW_BITS = 4  #: of each bank's rows that the model keeps: rows that differ in these bits are apart
NO_DATA = 0x5A5A  #: on the pins while nobody drives them


class Fault(IntEnum):
    """What can be wrong."""

    NONE = 0
    NOT_READY = 1  #: a command before power-up is over, or a row opened before the mode was set
    OPEN = 2  #: a row opened in an open bank, or too soon behind its closing or a refresh
    COLUMN = 3  #: a column of a closed bank, or too soon behind its opening
    CLOSE = 4  #: a row closed too soon
    REFRESH = 5  #: a refresh with an open bank, or too soon behind a closing or a refresh
    OVERDUE = 6  #: no refresh in two periods
    FIGHT = 7  #: data driven from both sides
    MODE = 8  #: a mode that is not bursts of one with the chip's latency


class SdramModel(wiring.Component):
    """The chip, its times counted in cycles of the controller's clock; commands are taken at the clock's edge.

    Ports
    -----
    pins : SdramPins, in
    fault : Signal(), out
        The first `Fault`.
    """

    def __init__(self, chip: SdramChip, clock: int) -> None:
        self.chip, self.clock = chip, clock
        super().__init__({"pins": In(SdramPins(chip)), "fault": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip, pins = self.chip, self.pins

        def cycles(nanoseconds: float) -> int:
            return math.ceil(nanoseconds * self.clock / 1e9)

        def since(event: object, limit: int, name: str) -> Signal:
            """Cycles since an event, up to ``limit``."""
            count = Signal(range(limit + 1), init=limit, name=name)
            m.d.sync += count.eq(Mux(count == limit, limit, count + 1))
            with m.If(event):
                m.d.sync += count.eq(1)
            return count

        def wrong(fault: Fault) -> None:
            with m.If(self.fault == Fault.NONE):
                m.d.sync += self.fault.eq(fault)

        opens, reads, writes, closes, refreshes, sets = (Signal(name=x) for x in (
            "opens", "reads", "writes", "closes", "refreshes", "sets"))
        command = Cat(pins.we, pins.cas, pins.ras)
        m.d.comb += [x.eq(command == code) for x, code in (
            (opens, 0b100), (reads, 0b010), (writes, 0b011), (closes, 0b101), (refreshes, 0b110), (sets, 0b111))]
        power = Signal(range(cycles(chip.power_up) + 1))
        ready = Signal()
        with m.If(power != cycles(chip.power_up)):
            m.d.sync += power.eq(power + 1)
            with m.If(command != 0):
                wrong(Fault.NOT_READY)
        with m.If(opens & ~ready):
            wrong(Fault.NOT_READY)
        with m.If(sets):
            m.d.sync += ready.eq(1)
            with m.If(pins.address != chip.cas << 4):
                wrong(Fault.MODE)

        refreshed = since(refreshes, 2 * cycles(chip.refresh_period), "refreshed")
        with m.If(ready & (refreshed == 2 * cycles(chip.refresh_period))):
            wrong(Fault.OVERDUE)
        rows = []
        for bank in range(1 << BANK_BITS):
            mine, is_open, row = Signal(name=f"mine{bank}"), Signal(name=f"open{bank}"), Signal(chip.row_bits, name=f"row{bank}")
            ends, left = Signal(name=f"ends{bank}"), Signal(4, name=f"left{bank}")  # cycles until a row closes by itself, and one
            rows.append(row)
            opened = since(opens & mine, cycles(chip.least_open), f"opened{bank}")
            closed = since(ends, cycles(chip.close_time), f"closed{bank}")
            m.d.comb += [mine.eq(pins.bank == bank), ends.eq((left == 1) | (closes & (mine | pins.address[PRECHARGE])))]
            with m.If(left != 0):
                m.d.sync += left.eq(left - 1)
            with m.If(opens & mine):
                m.d.sync += [is_open.eq(1), row.eq(pins.address)]
                with m.If(is_open | (closed < cycles(chip.close_time)) | (refreshed < cycles(chip.refresh_time))):
                    wrong(Fault.OPEN)
            with m.If((reads | writes) & mine):
                with m.If(pins.address[PRECHARGE]):
                    m.d.sync += left.eq(Mux(writes, cycles(chip.recovery), 1))
                with m.If(~is_open | (left != 0) | (opened < cycles(chip.open_time))):
                    wrong(Fault.COLUMN)
            with m.If(ends):
                m.d.sync += is_open.eq(0)
                with m.If(is_open & (opened < cycles(chip.least_open))):
                    wrong(Fault.CLOSE)
            with m.If(refreshes & (is_open | (closed < cycles(chip.close_time)) | (refreshed < cycles(chip.refresh_time)))):
                wrong(Fault.REFRESH)

        m.submodules.memory = memory = Memory(
            shape=chip.data_bits, depth=1 << chip.column_bits + BANK_BITS + ROW_BITS, init=[])
        write, read = memory.write_port(), memory.read_port()
        address = Cat(pins.address[:chip.column_bits], pins.bank, Array(rows)[pins.bank][:ROW_BITS])
        m.d.comb += [write.addr.eq(address), write.data.eq(pins.data_o), write.en.eq(writes), read.addr.eq(address)]
        with m.If(writes & ~pins.data_oe):
            wrong(Fault.FIGHT)
        data, driven = read.data, Signal()
        m.d.sync += driven.eq(reads)
        for stage in range(chip.cas - 2):
            later, still = Signal(chip.data_bits, name=f"data{stage}"), Signal(name=f"driven{stage}")
            m.d.sync += [later.eq(data), still.eq(driven)]
            data, driven = later, still
        m.d.comb += pins.data_i.eq(Mux(driven, data, NO_DATA))
        with m.If(driven & pins.data_oe):
            wrong(Fault.FIGHT)
        return m


class SdramSystem(wiring.Component):
    """Controller, the registers of the pins, and the chip.

    Ports
    -----
    axi : Axi, in
    fault : Signal(), out
    """

    def __init__(self, bits: int, chip: SdramChip, clock: int) -> None:
        self.bits, self.chip, self.clock = bits, chip, clock
        super().__init__({"axi": In(Axi(bits)), "fault": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.controller = controller = AxiSdram(self.bits, self.chip, self.clock)
        m.submodules.model = model = SdramModel(self.chip, self.clock)
        connect(m, flipped(self.axi), controller.axi)
        for name, member in controller.pins.signature.members.items():
            inner, outer = getattr(controller.pins, name), getattr(model.pins, name)
            m.d.sync += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        m.d.comb += self.fault.eq(model.fault)
        return m
