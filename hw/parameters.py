"""Parameter memory: bias and shift of every channel of the layers at hand."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from golden.spec.config import Config, clog2
from hw.bus import param_read, param_write, parameter_layout


class Parameters(wiring.Component):
    """Reads beats, data one cycle after ``en``; takes words of the bus, each of which can be read two cycles later, of a lean
    machine one.

    A beat is so wide that a memory of few beats wastes block RAM: up to `SMALL` it is made of lookup tables, hundreds of small
    memories all over the chip. What goes to all of them does so from registers, the read address from one for each `NEAR` bits.

    Ports
    -----
    read : MemoryRead, in
    write : MemoryWrite, in
    """

    SMALL = 32
    NEAR = 128

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({"read": In(param_read(config)), "write": In(param_write(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        used = parameter_layout()["_"].offset  # the rest of an entry is not kept, and reads 0
        small = c.param_beats <= self.SMALL
        low = clog2(c.param_parts)
        step = m.d.comb if c.lean else m.d.sync
        beat, word = Signal(clog2(c.param_beats)), Signal(c.axi_bits)
        step += [beat.eq(self.write.addr >> low), word.eq(self.write.data)]
        addresses = [Signal(clog2(c.param_beats), name=f"address_near{i}") for i in range(-(-c.param_beat_bits // self.NEAR))]
        with m.If(self.read.en):
            m.d.sync += [x.eq(self.read.addr) for x in addresses]
        for part in range(c.param_parts):
            held = _held(word, part * c.axi_bits, used)
            m.submodules[f"part{part}"] = memory = Memory(shape=len(held), depth=c.param_beats, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb" if small else "sync")
            step += write.en.eq(self.write.en & (self.write.addr[:low] == part))
            m.d.comb += [
                write.addr.eq(beat), write.data.eq(held),
                _held(self.read.data[part * c.axi_bits:(part + 1) * c.axi_bits], part * c.axi_bits, used).eq(read.data),
            ]
            if small:
                m.d.comb += read.addr.eq(addresses[part * c.axi_bits // self.NEAR])
            else:
                m.d.comb += [read.addr.eq(self.read.addr), read.en.eq(self.read.en)]
        return m


def _held(word: Value, at: int, used: int) -> Value:
    """Of a word of the bus, which lies ``at`` that bit of a beat, what is kept: the lowest bits of each channel."""
    return Cat(word[i:i + 32][:max(0, used - (at + i) % 32)] for i in range(0, len(word), 32))
