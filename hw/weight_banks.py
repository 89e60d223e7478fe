"""Weight memory, split in one bank per issue slot."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, Signature

from golden.spec.config import Config, clog2
from hw.bus import WeightWrite


class WeightRead(Signature):
    """One core's read ports, one per bank, as seen by the core; rows come one cycle after ``en``."""

    def __init__(self, config: Config) -> None:
        super().__init__({
            "en": Out(config.issue),
            "row": Out(data.ArrayLayout(clog2(config.weight_rows), config.issue)),
            "data": In(data.ArrayLayout(config.row_bits, config.issue)),
        })


class WeightBanks(wiring.Component):
    """``issue`` banks of weight rows, read by every core at once.

    Ports
    -----
    write : WeightWrite, in
    read0 ... : WeightRead, in
        One per core; reads take one cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "write": In(WeightWrite(config)),
            "read": In(WeightRead(config)).array(config.cores),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        for slot in range(c.issue):
            m.submodules[f"bank{slot}"] = bank = Memory(shape=c.row_bits, depth=c.weight_rows, init=[])
            write = bank.write_port()
            m.d.comb += [
                write.addr.eq(self.write.row), write.data.eq(self.write.data),
                write.en.eq(self.write.en & (self.write.bank == slot)),
            ]
            for core in range(c.cores):
                read = bank.read_port()
                m.d.comb += [
                    read.addr.eq(self.read[core].row[slot]), read.en.eq(self.read[core].en[slot]),
                    self.read[core].data[slot].eq(read.data),
                ]
        return m
