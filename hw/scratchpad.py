"""Spike banks and residual memory."""

from __future__ import annotations

from itertools import product

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from golden.spec.config import Config, clog2
from hw.bus import SpikeRead, SpikeWrite, u_read, u_write


class Scratchpad(wiring.Component):
    """The tensors on chip: one spike bank per core, of ``taps`` memories, and the residual stream.

    Reads take one cycle. A word of spikes that is written in one cycle is read from the second one on, of a lean machine the
    next; a residual value from the next one on.

    Ports
    -----
    read : SpikeRead, in
    write : SpikeWrite, in
    u_read : MemoryRead, in
    u_write : MemoryWrite, in
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "read": In(SpikeRead(config)), "write": In(SpikeWrite(config)),
            "u_read": In(u_read(config)), "u_write": In(u_write(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        low = clog2(c.taps)
        masks, addrs, words = self.write.mask, self.write.addr, self.write.data
        if not c.lean:  # who writes is known late in a cycle
            masks, addrs, words = Signal.like(masks), Signal.like(addrs, reset_less=True), Signal.like(words, reset_less=True)
            m.d.sync += [masks.eq(self.write.mask), addrs.eq(self.write.addr), words.eq(self.write.data)]
        for core, i in product(range(c.cores), range(c.taps)):
            parts = c.word // c.lanes if c.lean else 1  # the beats of a result are written together: no enables of parts
            for part in range(parts):
                name = f"bank{core}_{i}" + (f"_part{part}" if c.lean else "")
                m.submodules[name] = memory = Memory(shape=c.word // parts, depth=c.spike_words // c.taps, init=[])
                write = memory.write_port(granularity=c.word // parts if c.lean else c.neuron_lanes)
                read = memory.read_port()
                address, mask = addrs[core], masks[core][part * c.beats:][:len(write.en)]
                m.d.comb += [
                    write.addr.eq(address >> low), write.data.eq(words[core].word_select(part, c.word // parts)),
                    write.en.eq(mask & (address[:low] == i).replicate(len(mask))),
                    read.addr.eq(self.read.addr[i]), read.en.eq(self.read.en),
                    self.read.data[i][core].word_select(part, c.word // parts).eq(read.data),
                ]
        m.submodules.residual = residual = Memory(shape=c.u_beat_bits, depth=c.u_beats, init=[])
        u_write_port, u_read_port = residual.write_port(), residual.read_port()
        m.d.comb += [
            u_write_port.addr.eq(self.u_write.addr), u_write_port.data.eq(self.u_write.data),
            u_write_port.en.eq(self.u_write.en), u_read_port.addr.eq(self.u_read.addr),
            u_read_port.en.eq(self.u_read.en), self.u_read.data.eq(u_read_port.data),
        ]
        return m
