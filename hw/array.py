"""The AND-accumulate array: walker, cores and weight banks as one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from hw.bus import SpikeRead, WeightWrite, descriptor_layout
from hw.core import Core, Sums, sum_layout
from hw.walker import Walker
from hw.weight_banks import WeightBanks


class Array(wiring.Component):
    """Walker, ``cores`` cores and the weight banks they share (wiring only).

    Ports
    -----
    start, descriptor : in
        See `Walker`.
    read : SpikeRead, out
    write : WeightWrite, in
    results : Array of stream of sum_layout, out
        What core i's passes make, for t = i, i + cores, ...
    adds : Signal(), out
        Rows (or lanes) added by all cores in this cycle.
    busy, blocked, fetched : Signal(), out
        A core added a row; the walker waited for a full queue; it moved on.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "descriptor": In(descriptor_layout()),
            "read": Out(SpikeRead(config)), "write": In(WeightWrite(config)),
            "results": Out(stream.Signature(sum_layout(config))).array(config.cores),
            "adds": Out(range(config.cores * config.issue * config.lanes + 1)),
            "busy": Out(1), "blocked": Out(1), "fetched": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        m.submodules.walker = walker = Walker(c)
        m.submodules.weights = weights = WeightBanks(c)
        connect(m, flipped(self.read), walker.read)
        connect(m, flipped(self.write), weights.write)
        cores = []
        for i in range(c.cores):
            m.submodules[f"core{i}"] = core = Core(c)
            connect(m, core.weights, weights.read[i])
            for slot in range(c.issue):
                connect(m, walker.entries[i][slot], core.entries[slot])
            connect(m, core.result, flipped(self.results[i]))
            m.d.comb += core.lanewise.eq(self.descriptor.lanewise)
            cores.append(core)
        m.d.comb += [
            walker.start.eq(self.start), walker.descriptor.eq(self.descriptor),
            walker.room.eq(Cat(x.room for x in cores).all()), self.blocked.eq(walker.blocked), self.fetched.eq(walker.fetched),
            self.busy.eq(self.adds != 0),
        ]
        m.d.comb += self.adds.eq(sum(x.adds for x in cores))
        return m

    @staticmethod
    def model(config: Config, d: Mapping[str, int], banks: Sequence[Sequence[int]],
              weights: Sequence[Sequence[int]]) -> list[list[Sums]]:
        """Twin: what each core's passes make."""
        return [Core.model(config, x, weights, bool(d["lanewise"])) for x in Walker.model(config, d, banks)]


