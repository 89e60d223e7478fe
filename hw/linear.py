"""The LINEAR unit: array and neuron unit run one descriptor together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from hw.array import Array
from hw.bus import SpikeRead, SpikeWrite, Unit, WeightWrite, counts_layout, param_read, u_read, u_write
from hw.near import near
from hw.neuron import Neuron, Writes


class Linear(wiring.Component):
    """Array and neuron unit as the sequencer sees them (wiring only); ports as theirs. ``flush`` resets all, a cycle later."""

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "flush": In(1), "unit": In(Unit()), "read": Out(SpikeRead(config)), "write": Out(SpikeWrite(config)),
            "writing": Out(config.cores), "will_write": Out(config.cores), "weights": In(WeightWrite(config)),
            "params": Out(param_read(config)), "u_read": Out(u_read(config)), "u_write": Out(u_write(config)),
            "counts": Out(counts_layout(config)),
            "saturations": Out(range(config.neuron_lanes + 1)), "u_move": In(u_write(config)), "u_busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.array = array = Array(self.config)
        neuron = Neuron(self.config)
        m.submodules.neuron = ResetInserter(near(m, self.flush, 1, "flush_neuron")[0])(neuron)
        connect(m, flipped(self.read), array.read)
        connect(m, flipped(self.weights), array.write)
        for i in range(self.config.cores):
            connect(m, array.results[i], neuron.results[i])
        for name in ("write", "params", "u_read", "u_write", "u_move"):
            connect(m, flipped(getattr(self, name)), getattr(neuron, name))
        step = m.d.sync if self.config.far else m.d.comb
        step += [
            neuron.start.eq(self.unit.start),
            self.unit.progress.eq(array.fetched | array.counts.busy.any() | neuron.moved),
        ]
        m.d.comb += [
            array.flush.eq(self.flush), array.start.eq(self.unit.start),
            array.descriptor.eq(self.unit.descriptor), neuron.descriptor.eq(self.unit.descriptor),
            self.unit.done.eq(neuron.done), self.counts.eq(array.counts),
            self.counts.results.eq(neuron.taken), self.saturations.eq(neuron.saturations), self.u_busy.eq(neuron.u_busy),
            self.writing.eq(neuron.writing), self.will_write.eq(neuron.will_write),
        ]
        return m

    @staticmethod
    def model(config: Config, d: Mapping[str, int], banks: Sequence[Sequence[int]], weights: Sequence[Sequence[int]],
              params: Sequence[int], u: Sequence[int]) -> Writes:
        """Twin: every write, from all memories."""
        return Neuron.model(config, d, Array.model(config, d, banks, weights), params, u)
