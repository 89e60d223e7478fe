"""Spike banks and residual memory."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from golden.spec.config import Config
from hw.bus import SpikeRead, SpikeWrite, u_read, u_write


class Scratchpad(wiring.Component):
    """The tensors on chip: one spike bank per core, and the residual stream.

    Reads take one cycle; a word written in one cycle is read from the next one on.

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
        for core in range(c.cores):
            m.submodules[f"bank{core}"] = bank = Memory(shape=c.word, depth=c.spike_words, init=[])
            write = bank.write_port(granularity=c.neuron_lanes)
            read = bank.read_port()
            m.d.comb += [
                write.addr.eq(self.write.addr[core]), write.data.eq(self.write.data[core]), write.en.eq(self.write.mask[core]),
                read.addr.eq(self.read.addr), read.en.eq(self.read.en), self.read.data[core].eq(read.data),
            ]
        m.submodules.residual = residual = Memory(shape=c.u_beat_bits, depth=c.u_beats, init=[])
        u_write_port, u_read_port = residual.write_port(), residual.read_port()
        m.d.comb += [
            u_write_port.addr.eq(self.u_write.addr), u_write_port.data.eq(self.u_write.data),
            u_write_port.en.eq(self.u_write.en), u_read_port.addr.eq(self.u_read.addr),
            u_read_port.en.eq(self.u_read.en), self.u_read.data.eq(u_read_port.data),
        ]
        return m
