"""Writes the planes of multi-level spikes into a spike bank, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.bus import descriptor_layout


class PlaneWriter(wiring.Component):
    """Takes a beat of spikes and writes its ``out_planes`` planes in as many cycles, from the next one on.

    Ports
    -----
    descriptor : Signal(descriptor_layout()), in
    load : Signal(), in
        Not again before the last plane's cycle.
    first : Signal(clog2(spike_words)), in
        Address of plane 0.
    part : Signal(word // neuron_lanes), in
        The beats of the word that are written.
    idle : Signal(), in
        Of ``load``: there are no spikes, whatever ``spikes`` says.
    spikes : Signal(ArrayLayout(bits of levels_max, neuron_lanes)), in
    mask, addr, data : out
        As `hw.bus.SpikeWrite` has for each bank.
    writing, will_write : Signal(), out
        ``mask`` is not 0; in the next cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.planes = clog2(config.levels_max + 1)
        parts, address = config.word // config.neuron_lanes, clog2(config.spike_words)
        super().__init__({
            "descriptor": In(descriptor_layout()), "load": In(1), "first": In(address), "part": In(parts), "idle": In(1),
            "spikes": In(data.ArrayLayout(self.planes, config.neuron_lanes)),
            "mask": Out(parts), "addr": Out(address), "data": Out(config.word), "writing": Out(1),
            "will_write": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, d = self.config, self.descriptor
        left = Signal(range(self.planes + 1))
        planes = [Signal(c.neuron_lanes, name=f"plane{i}", reset_less=True) for i in range(self.planes)]
        m.d.comb += self.data.eq(planes[0].replicate(c.word // c.neuron_lanes))
        m.d.comb += self.will_write.eq(self.load | (left > 1))
        m.d.sync += self.writing.eq(self.will_write)
        with m.If(left != 0):
            m.d.sync += [left.eq(left - 1), self.addr.eq(self.addr + d.dst_plane_stride)]
            m.d.sync += [now.eq(after) for now, after in pairwise(planes)]
        with m.If(~self.will_write):
            m.d.sync += self.mask.eq(0)
        with m.If(self.load):
            m.d.sync += [left.eq(d.out_planes), self.mask.eq(self.part), self.addr.eq(self.first)]
            m.d.sync += [plane.eq(Mux(self.idle, 0, Cat(x[i] for x in self.spikes))) for i, plane in enumerate(planes)]
        return m

    @staticmethod
    def model(d: Mapping[str, int], first: int, spikes: Sequence[int]) -> list[tuple[int, int]]:
        """Twin: (address, bits) of each write."""
        return [(first + plane * d["dst_plane_stride"], sum((s >> plane & 1) << i for i, s in enumerate(spikes)))
                for plane in range(d["out_planes"])]
