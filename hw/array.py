"""The AND-accumulate array: walker, cores and weight banks as one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from golden.spec.registers import SLOT_STATES
from hw.bus import SpikeRead, WeightWrite, counts_layout, descriptor_layout
from hw.core import Core, Sums, sum_layout
from hw.near import near
from hw.walker import Walker
from hw.weight_banks import WeightBanks


class Array(wiring.Component):
    """Walker, ``cores`` cores and the weight banks they share (wiring only).

    Ports
    -----
    flush : Signal(), in
        Resets all of them a cycle later, each by a register of its own.
    start, descriptor : in
        See `Walker`.
    read : SpikeRead, out
    write : WeightWrite, in
    results : Array of stream of sum_layout, out
        What core i's passes make, for t = i, i + cores, ...
    counts : Signal(counts_layout), out
        All but ``results``; the states of slots come three cycles late, ``adds`` some.
    blocked, fetched : Signal(), out
        The walker waited for a full queue; it moved on.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "flush": In(1), "start": In(1), "descriptor": In(descriptor_layout()),
            "read": Out(SpikeRead(config)), "write": In(WeightWrite(config)),
            "results": Out(stream.Signature(sum_layout(config))).array(config.cores),
            "counts": Out(counts_layout(config)), "blocked": Out(1), "fetched": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        walker, weights, cores = Walker(c), WeightBanks(c), [Core(c) for _ in range(c.cores)]
        for name, block in {"walker": walker, "weights": weights, **{f"core{i}": x for i, x in enumerate(cores)}}.items():
            m.submodules[name] = ResetInserter(near(m, self.flush, 1, f"flush_{name}")[0])(block)
        connect(m, flipped(self.read), walker.read)
        connect(m, flipped(self.write), weights.write)
        for i, core in enumerate(cores):
            connect(m, core.weights, weights.read[i])
            for slot in range(c.issue):
                connect(m, walker.entries[i][slot], core.entries[slot])
            connect(m, core.result, flipped(self.results[i]))
            m.d.comb += core.lanewise.eq(near(m, self.descriptor.lanewise, 1, f"lanewise{i}")[0])
        m.d.comb += [
            walker.start.eq(self.start), walker.descriptor.eq(self.descriptor),
            self.blocked.eq(walker.blocked), self.fetched.eq(walker.fetched),
        ]
        step = m.d.sync if c.far else m.d.comb
        step += walker.room.eq(Cat(x.room for x in cores).all())
        m.d.sync += self.counts.adds.eq(sum(x.adds for x in cores))
        known: Value = Const(0)
        for name in SLOT_STATES[:4]:
            slots = Cat(getattr(x.states, name) for x in cores)
            m.d.sync += getattr(self.counts, name).eq(sum(slots))
            known = known | slots
        # A slot without an entry waits for the walker, or for the next descriptor.
        empty, walking = Signal(range(c.cores * c.issue + 1)), Signal(3)
        m.d.comb += empty.eq(sum(~known[i] for i in range(len(known))))
        m.d.sync += [
            walking.eq(Cat(walker.walking, walking)), self.counts.queue.eq(Mux(walking[1], empty, 0)),
            self.counts.drain.eq(Mux(walking[1], 0, empty)),
        ]
        return m

    @staticmethod
    def model(config: Config, d: Mapping[str, int], banks: Sequence[Sequence[int]],
              weights: Sequence[Sequence[int]]) -> list[list[Sums]]:
        """Twin: what each core's passes make."""
        return [Core.model(config, x, weights, bool(d["lanewise"])) for x in Walker.model(config, d, banks)]


