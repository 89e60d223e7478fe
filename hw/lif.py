"""Leaky integrate-and-fire neurons: charge, fire, reset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import pairwise
from operator import or_
from types import SimpleNamespace

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.bus import descriptor_layout
from hw.core import wrap
from hw.mux_adder import MuxAdder
from hw.near import near


class Lif(wiring.Component):
    """Neurons of ``neuron_lanes`` channels, whose time steps come one after the other; membranes of ``beats`` beats.

    h = ((v * leak) >> 4) + x; s = number of k < ``levels`` with h >= theta + k * step; then v = 0 if s, or with ``soft``
    v = h - s * step (h - theta where ``levels`` is 1). The leaks 0, 8 and 16 and all resets but the soft one of several
    levels are done within a cycle, so that the next time step can follow at once. All else is ``slow``, and only there with
    ``any_neuron`` of the configuration: the membrane is written by a pipeline, and the next time step of the same
    neurons must come `recovery` cycles later.

    Ports
    -----
    descriptor : Signal(descriptor_layout()), in
    valid : Signal(), in
        Time step of a beat; ``beat``, ``write`` and ``last`` belong to it, and ``x`` of the next cycle.
    x : Signal(ArrayLayout(signed(x_bits), neuron_lanes)), in
    beat : Signal(range(beats)), in
    write : Signal(), in
        If not, the time step does not count: membranes stay as they are.
    last : Signal(), in
        The membranes are 0 afterwards.
    spikes : Signal(ArrayLayout(bits of levels_max, neuron_lanes)), out
        `latency` cycles after ``x``.
    slow : Signal(), out
        The descriptor needs the slow way.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.spike_bits = clog2(config.levels_max + 1)
        levels = config.levels_max > 1
        #: where beats come between two time steps of the same neurons, h is made in one cycle and compared in the next
        self.split = config.beats > 1 and not config.lean
        #: where all is far, steps are counted in two cycles
        self.deep = levels and config.far
        self.latency = (2 if levels else 1) + self.split + self.deep
        self.recovery = ((5 + self.deep if levels else 3) if config.any_neuron else 1) + self.split
        values = data.ArrayLayout(signed(config.x_bits), config.neuron_lanes)
        super().__init__({
            "descriptor": In(descriptor_layout()), "valid": In(1), "x": In(values), "beat": In(clog2(config.beats)),
            "write": In(1), "last": In(1), "spikes": Out(data.ArrayLayout(self.spike_bits, config.neuron_lanes)), "slow": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, d = self.config, self.descriptor

        # What the descriptor says, for each lane, in registers that follow it one cycle behind.
        whole, forget, odd_leak, many = d.leak[4] | (d.leak[:3] != 0), d.leak == 0, d.leak[:3] != 0, d.soft & (d.levels != 1)
        minus_theta = Signal(signed(c.x_bits + 1))
        m.d.comb += [minus_theta.eq(-d.theta[:c.x_bits].as_signed()),
                     self.slow.eq(c.any_neuron & (odd_leak | (many & (c.levels_max > 1))))]
        said = {"whole": whole, "soft": d.soft, "minus_theta": minus_theta}
        if c.levels_max > 1:  # where thresholds are a power of two apart: bits that stand for more steps than a spike counts
            said |= {"levels": d.levels, "step_shift": d.step_shift, "beyond": (-1 << self.spike_bits << d.step_shift)[:c.x_bits]}
        if c.any_neuron:
            said |= {"leak": d.leak, "odd_leak": odd_leak, "many": many, "slow": self.slow,
                     "worth": Mux(many, 1 << d.step_shift, 0)[:c.x_bits]}
        copies = {name: near(m, value, c.neuron_lanes, name) for name, value in said.items()}
        lanes = [SimpleNamespace(**{name: at[lane] for name, at in copies.items()}) for lane in range(c.neuron_lanes)]

        if c.lean:
            self._line(m, lanes, forget)
            return m

        # The membranes, and when they are written: at once, or by the slow way.
        control = data.StructLayout({"en": 1, "last": 1, "beat": clog2(c.beats)})
        stages = [Signal(control, name=f"stage{i}") for i in range(self.recovery)]
        m.d.comb += [stages[0].en.eq(self.valid & (self.write | self.last)), stages[0].last.eq(self.last),
                     stages[0].beat.eq(self.beat)]
        m.d.sync += [late.eq(early) for early, late in pairwise(stages)]
        now = Signal(control)
        m.d.comb += now.eq(Mux(self.slow, stages[-1], stages[self.split]))
        fresh = Signal(init=1)  # after a reset, which reaches no membrane
        m.d.sync += fresh.eq(0)
        updates, clears, beats = [], [], near(m, self.beat, c.neuron_lanes, "beat")
        for b in range(c.beats):
            mine = now.en & (now.beat == b)
            updates.append(near(m, mine, c.neuron_lanes, f"update{b}"))
            clears.append(near(m, mine & now.last | forget | fresh, c.neuron_lanes, f"clear{b}"))
        for lane in range(c.neuron_lanes):
            at = lanes[lane]
            membranes = [Signal(signed(c.x_bits), name=f"membrane{lane}_{b}", reset_less=True) for b in range(c.beats)]
            v, h, over = (Signal(signed(c.x_bits + (name == "over")), name=f"{name}{lane}", reset_less=True)
                          for name in ("v", "h", "over"))
            after, kept = Signal(signed(c.x_bits), name=f"after{lane}"), Signal(signed(c.x_bits), name=f"kept{lane}")
            m.submodules[f"charge{lane}"] = charge = MuxAdder(c.x_bits, c.x_bits, c.x_bits, c.x_bits)
            with m.Switch(beats[lane]):
                for b, membrane in enumerate(membranes):
                    with m.Case(b):
                        m.d.comb += v.eq(membrane)
            step = m.d.sync if self.split else m.d.comb
            step += h.eq(charge.sum)
            m.d.comb += [
                charge.a.eq(v), charge.c.eq(v >> 1), charge.use_a.eq(at.whole), charge.b.eq(self.x[lane]),
                over.eq(h + at.minus_theta), after.eq(Mux(over < 0, h, Mux(at.soft, over, 0))),
            ]
            self._fire(m, lane, over, at)
            m.d.comb += kept.eq(Mux(at.slow, self._slow(m, lane, h, after, at), after) if c.any_neuron else after)
            for clear, update, membrane in zip(clears, updates, membranes, strict=True):
                with m.If(clear[lane]):
                    m.d.sync += membrane.eq(0)
                with m.Elif(update[lane]):
                    m.d.sync += membrane.eq(kept)
        return m

    def _line(self, m: Module, lanes: Sequence[SimpleNamespace], forget: Value) -> None:
        """The membranes of a lean machine: all time steps count, and beats come in their order, so that they wait in a line, the
        first one always the one.
        """
        c = self.config
        comes, clears = Signal(), Signal()
        m.d.sync += [comes.eq(self.valid), clears.eq((self.valid & self.last) | forget)]
        for lane, at in enumerate(lanes):
            membranes = [Signal(signed(c.x_bits), name=f"membrane{lane}_{b}") for b in range(c.beats)]
            h, over, v = Signal(signed(c.x_bits)), Signal(signed(c.x_bits + 1)), membranes[-1]
            m.submodules[f"charge{lane}"] = charge = MuxAdder(c.x_bits, c.x_bits, c.x_bits, c.x_bits)
            m.d.comb += [
                charge.a.eq(v), charge.c.eq(v >> 1), charge.use_a.eq(at.whole), charge.b.eq(self.x[lane]), h.eq(charge.sum),
                over.eq(h + at.minus_theta),
            ]
            self._fire(m, lane, over, at)
            with m.If(comes):
                m.d.sync += [later.eq(earlier) for earlier, later in pairwise(membranes)]
                m.d.sync += membranes[0].eq(Mux(over < 0, h, Mux(at.soft, over, 0)))
            with m.If(clears):
                m.d.sync += membranes[0].eq(0)

    def _fire(self, m: Module, lane: int, over: Value, at: SimpleNamespace) -> None:
        """A lane's spikes: how many steps lie between theta and h, and one more."""
        c = self.config
        spikes = Signal(self.spike_bits, name=f"spikes{lane}", reset_less=True)
        m.d.comb += self.spikes[lane].eq(spikes)
        if c.levels_max == 1:
            m.d.sync += spikes.eq(over >= 0)
            return
        over1 = Signal.like(over, name=f"over1_{lane}", reset_less=True)
        coarse = Signal(self.spike_bits + 3, name=f"coarse{lane}")  # steps, four times as many, and what is less
        more, most = Signal(self.spike_bits, name=f"more{lane}"), Signal(name=f"most{lane}")
        m.d.sync += over1.eq(over)
        with m.Switch(at.step_shift[2:]):
            for shift in range(0, c.x_bits, 4):
                with m.Case(shift >> 2):
                    m.d.comb += coarse.eq(over1[shift:-1])
        less, beyond = over1[-1], (over1[:-1] & at.beyond).any()
        if self.deep:
            coarse, less, beyond = (self._later(m, x, f"{name}_{lane}") for x, name in (
                (coarse, "coarse2"), (less, "less2"), (beyond, "beyond2")))
        with m.Switch(at.step_shift[:2]):
            for shift in range(4):
                with m.Case(shift):
                    m.d.comb += more.eq(coarse[shift:])
        m.d.comb += most.eq(beyond | (more >= at.levels))
        with m.If(less):
            m.d.sync += spikes.eq(0)
        with m.Else():
            m.d.sync += spikes.eq(Mux(most, at.levels, more + 1))

    @staticmethod
    def _later(m: Module, value: Value, name: str) -> Signal:
        register = Signal.like(value, name=name, reset_less=True)
        m.d.sync += register.eq(value)
        return register

    def _slow(self, m: Module, lane: int, h: Value, after: Value, at: SimpleNamespace) -> Value:
        """The way of a membrane through the stages where not all is done within a cycle.

        First h less what the spike is worth, then the leak.
        """
        c = self.config

        def later(value: Value, name: str) -> Signal:
            return self._later(m, value, f"{name}_{lane}")

        if c.levels_max == 1:
            v = later(after, "after1")
        else:
            v2 = later(later(Mux(at.many, h, after), "v1"), "v2")
            if self.deep:
                v2 = later(v2, "v2_deep")
            lost = Signal(c.x_bits, name=f"lost{lane}")
            m.d.comb += lost.eq(reduce(or_, (
                at.worth << i & self.spikes[lane][i].replicate(c.x_bits) for i in range(self.spike_bits))))
            v = later((v2 - lost)[:c.x_bits].as_signed(), "v3")
        # (v * leak) >> 4, from the lowest bit of leak up; to round down after each bit is to round down once
        part: Value = Mux(at.leak[0], v, 0)
        for i in range(1, 4):
            m.submodules[f"leak{i}_{lane}"] = add = MuxAdder(c.x_bits + 1, c.x_bits, c.x_bits, 1)
            m.d.comb += [add.a.eq(v), add.b.eq(part >> 1), add.use_a.eq(at.leak[i])]
            part = add.sum
            if i == 2:
                part, v = later(part, "part"), later(v, "whole")
        return Mux(at.odd_leak, part >> 1, v) if c.levels_max > 1 else part >> 1

    @staticmethod
    def model(config: Config, d: Mapping[str, int], v: int, x: int) -> tuple[int, int]:
        """Twin: spike and membrane of one neuron after a time step."""
        h = wrap((v * d["leak"] >> 4) + x, config.x_bits)
        over = h - wrap(d["theta"], config.x_bits)
        s = 0 if over < 0 else min((over >> d["step_shift"]) + 1, d["levels"])
        soft = over if d["levels"] == 1 else h - (s << d["step_shift"])
        return s, wrap((soft if d["soft"] else 0) if s else h, config.x_bits)
