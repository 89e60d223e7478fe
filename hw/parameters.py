"""Parameter memory: bias and shift of every channel of the layers at hand."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from golden.spec.config import Config
from hw.bus import param_read, param_write, parameter_layout


class Parameters(wiring.Component):
    """Read port and write port; data one cycle after ``en``.

    A beat is so wide that a memory of few beats wastes block RAM: up to `SMALL` it is made of lookup tables.

    Ports
    -----
    read : MemoryRead, in
    write : MemoryWrite, in
    """

    SMALL = 32

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({"read": In(param_read(config)), "write": In(param_write(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        used = parameter_layout()["_"].offset  # the rest of an entry is not kept, and reads 0
        m.submodules.memory = memory = Memory(shape=used * c.neuron_lanes, depth=c.param_beats, init=[])
        small = c.param_beats <= self.SMALL
        write, read = memory.write_port(), memory.read_port(domain="comb" if small else "sync")
        kept = Signal(used * c.neuron_lanes)
        if small:
            with m.If(self.read.en):
                m.d.sync += kept.eq(read.data)
        else:
            m.d.comb += [read.en.eq(self.read.en), kept.eq(read.data)]
        m.d.comb += [
            write.en.eq(self.write.en), write.addr.eq(self.write.addr), read.addr.eq(self.read.addr),
            write.data.eq(Cat(self.write.data.word_select(i, 32)[:used] for i in range(c.neuron_lanes))),
            *(self.read.data.word_select(i, 32).eq(kept.word_select(i, used)) for i in range(c.neuron_lanes)),
        ]
        return m
