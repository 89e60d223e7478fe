"""Neuron unit: from the sums of the cores' passes to residual values, spikes and logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config, clog2
from hw.bus import SpikeWrite, descriptor_layout, param_read, parameter_layout, u_read, u_write
from hw.collector import Collector, _later, place_layout
from hw.core import Sums, sum_layout, wrap
from hw.lif import Lif
from hw.mux_adder import MuxAdder
from hw.near import near
from hw.plane_writer import PlaneWriter


@dataclass
class Writes:
    """What the neuron unit writes for one descriptor (twins only)."""

    spikes: list[tuple[int, int, int, int]]  #: bank, address, beat of the word, bits
    u: list[tuple[int, int]]  #: address, beat
    saturations: int


class Neuron(wiring.Component):
    """Takes what the cores' passes make, in time order, ``neuron_lanes`` channels a cycle, and finishes it.

    y = ((acc + bias) << 8) >> shift8; then residual add with saturation, LIF, sum over time, as the descriptor says
    (docs/architecture.md); `Collector` says when a beat takes more than a cycle. From y on values are ``x_bits`` wide; the
    compiler proves that this is enough. Nothing downstream can stall.

    Ports
    -----
    start : Signal(), in
    descriptor : Signal(descriptor_layout()), in
    results : Array of stream of sum_layout, in
        One per core.
    params : MemoryRead, out
    u_read : MemoryRead, out
    u_write : MemoryWrite, out
    write : SpikeWrite, out
    writing, will_write : Signal(cores), out
        Which banks are written; which will be in the next cycle, not of a lean machine.
    u_move : MemoryWrite, in
        What somebody else writes into the residual memory, a cycle later: it goes through the last register of the values, which
        can choose at no cost.
    u_busy : Signal(), out
        That register will be in use: nothing must come from ``u_move`` in the next cycle.
    done : Signal(), out
        One cycle, after the last write.
    moved : Signal(), out
        A beat was taken a cycle ago, of whatever pass.
    taken : Signal(), out
        A result was taken a cycle ago.
    starved : Signal(), out
        Waiting for a core, a cycle ago.
    saturations : Signal(), out
        Residual values that saturated, some cycles ago.
    """

    FIRE = 8  #: stage whose x the neurons see; a beat is in stage 1 when its ``place`` is there (`Collector`)

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "descriptor": In(descriptor_layout()),
            "results": In(stream.Signature(sum_layout(config))).array(config.cores),
            "params": Out(param_read(config)), "u_read": Out(u_read(config)), "u_write": Out(u_write(config)),
            "write": Out(SpikeWrite(config)), "writing": Out(config.cores), "will_write": Out(config.cores), "done": Out(1),
            "moved": Out(1), "taken": Out(1), "starved": Out(1), "saturations": Out(range(config.neuron_lanes + 1)),
            "u_move": In(u_write(config)),
            "u_busy": Out(1),
        })
        self.lif = Lif(config)
        #: cycles from the decision to take the last beat until ``done``
        self.latency = 2 - config.lean + self.FIRE + self.lif.latency + (self.lif.spike_bits if config.levels_max > 1 else 0)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, d = self.config, self.descriptor
        m.submodules.lif = lif = self.lif
        last_stage = self.FIRE + lif.latency
        m.submodules.collector = collector = Collector(c, lif.recovery, pause=last_stage if c.lean else 0)
        for i in range(c.cores):
            connect(m, flipped(self.results[i]), collector.results[i])
        m.d.comb += [
            collector.start.eq(self.start), collector.descriptor.eq(d), collector.slow.eq(lif.slow), lif.descriptor.eq(d),
        ]
        m.d.sync += [self.moved.eq(collector.moved), self.taken.eq(collector.taken), self.starved.eq(collector.starved)]
        stages = {1: collector.place}
        for i in range(2, last_stage + 1):
            stages[i] = Signal(place_layout(c), name=f"stage{i}")
            if not c.lean:
                m.d.sync += stages[i].eq(stages[i - 1])
                continue
            valid = Signal(name=f"valid{i}")  # the place itself stays until the beat is through
            m.d.sync += valid.eq(stages[i - 1].valid)
            m.d.comb += [stages[i].eq(collector.place), stages[i].valid.eq(valid)]

        # The memories: U in place of the bias comes together with it, U to be added as late as it can be.
        m.d.comb += [
            self.params.addr.eq(collector.param if c.far else stages[1].param),
            self.params.en.eq(collector.comes if c.far else stages[1].valid),
            self.u_read.addr.eq(Mux(d.partial, stages[1].u, stages[4].u)),
            self.u_read.en.eq(Mux(d.partial, stages[1].valid, stages[4].valid & d.residual)),
        ]
        say = {
            "integrate": d.integrate, "partial": d.partial, "residual": d.residual, "mine": stages[6].valid,
            "limited": stages[6].valid & (d.residual | d.u_write),
            "alone": ~d.integrate | stages[2].first, "new": stages[2].valid & ~stages[2].second,
        }
        copies = {name: near(m, value, c.neuron_lanes, name) for name, value in say.items()}
        lanes = [SimpleNamespace(**{name: at[lane] for name, at in copies.items()}) for lane in range(c.neuron_lanes)]
        over = Cat(self._value(m, lane, stages, collector.accs[lane], lif.x[lane], at) for lane, at in enumerate(lanes))
        m.d.comb += [lif.valid.eq(stages[7].valid), lif.beat.eq(stages[7].beat), lif.write.eq(stages[7].write),
                     lif.last.eq(stages[7].last)]
        eighths = [Signal(range(9), name=f"saturated{i}") for i in range(0, c.neuron_lanes, 8)]
        counts = stages[7].valid & stages[7].write & ~stages[7].idle
        if c.far:
            over, counts = _later(m, over, "over"), _later(m, counts, "counts")
        for i, part in enumerate(eighths):
            m.d.sync += part.eq(Mux(counts, sum(over[8 * i:8 * i + 8]), 0))
        m.d.sync += self.saturations.eq(sum(eighths))

        # Stage 8: residual values; of logits first the lower halves, then the upper ones.
        apart, writes = Signal(clog2(c.u_beats)), Signal()
        m.d.comb += [
            writes.eq(stages[7].write & Mux(d.integrate, stages[7].last, d.u_write)),
            self.u_busy.eq(stages[6].valid),
        ]
        m.d.sync += [
            apart.eq(d.u_dst - d.u_src), self.u_write.en.eq(Mux(stages[7].valid, writes, self.u_move.en)),
            self.u_write.addr.eq(Mux(stages[7].valid, stages[7].u + apart, self.u_move.addr)),
        ]
        m.d.comb += self.u_write.data.eq(Cat(Cat(x, x[-1].replicate(16))[:16] for x in lif.x))
        self._write(m, stages[last_stage - 1], stages[last_stage])

        final = Signal(self.latency - 2 + c.lean)
        m.d.sync += final.eq(Cat(collector.place.final, final))
        m.d.comb += self.done.eq(final[-1])
        return m

    def _value(self, m: Module, lane: int, stages: Mapping[int, data.View], acc: Value, x8: Value, at: SimpleNamespace) -> Value:
        """A lane's way from its accumulator at stage 3 to ``x8``; whether it saturates, at stage 7.

        A register has the number of its stage; ``at`` has what the descriptor and stage 3 say.
        """
        c = self.config

        def register(name: str, bits: int, of: Callable[[int], Shape] = signed) -> Signal:
            return Signal(of(bits), name=f"{name}_{lane}", reset_less=True)

        # 2 -> 3: what the memories say; they are slow. Logits are not shifted but for their upper halves.
        param = Signal(parameter_layout(), name=f"param_near{lane}", reset_less=True)  # apart from HAMMING's
        bias3, shift3, shift4 = register("bias3", c.acc_bits), register("shift3", 5, unsigned), register("shift4", 5, unsigned)
        step = m.d.sync if c.far else m.d.comb  # where it is far, it was asked for a cycle before
        step += param.eq(self.params.data.word_select(lane, 32))
        u = self.u_read.data.word_select(lane, 16)[:c.u_bits].as_signed()
        m.d.sync += [bias3.eq(Mux(at.partial, u, param.bias)),
                     shift3.eq(Mux(at.integrate, Cat(Const(8, 4), stages[2].second), param.shift8))]

        # 3 -> 4: bias, or the sum of all time steps before, which waits in a line: the beats come in their order.
        sums = [register(f"biased{4 + i}", c.acc_bits + 1) for i in range(c.beats)]
        m.submodules[f"bias{lane}"] = bias = MuxAdder(c.acc_bits + 1, c.acc_bits, c.acc_bits, c.acc_bits + 1)
        m.d.comb += [bias.a.eq(bias3), bias.b.eq(acc), bias.c.eq(sums[-1]), bias.use_a.eq(at.alone)]
        m.d.sync += shift4.eq(shift3)
        with m.If(at.new):
            m.d.sync += [sums[0].eq(bias.sum), *(late.eq(early) for early, late in pairwise(sums))]

        # 4 -> 5 -> 6: shift by multiples of eight, then of two; the rest comes with the adder.
        coarse5, fine6, u6 = register("coarse5", c.x_bits + 7), register("fine6", c.x_bits + 1), register("u6", c.u_bits)
        shift5, shift6 = register("shift5", 3, unsigned), register("shift6", 1, unsigned)
        m.d.sync += [
            coarse5.eq(Cat(Const(0, 8), sums[0]).as_signed() >> (shift4[3:] << 3)), shift5.eq(shift4[:3]),
            fine6.eq(coarse5 >> (shift5[1:] << 1)), shift6.eq(shift5[0]), u6.eq(Mux(at.residual, u, 0)),
        ]

        # 6 -> 7 -> 8: residual sum, then saturated to U's grid.
        total7, total8 = register("total7", c.x_bits + 1), register("total8", c.x_bits)
        m.submodules[f"residual{lane}"] = add = MuxAdder(c.x_bits + 1, c.x_bits, c.u_bits, c.x_bits)
        m.d.comb += [add.a.eq(fine6 >> 1), add.c.eq(fine6), add.use_a.eq(shift6), add.b.eq(u6)]
        over = Signal(name=f"over_{lane}")
        high = total7[c.u_bits - 1:]
        m.d.comb += [over.eq(at.limited & (high != total7[-1].replicate(len(high)))), x8.eq(total8)]
        # What is above the grid is all ones but the sign, what is below it all zeros, which is the registers' reset.
        below = c.u_bits - 1
        moved, sign = self.u_move.data.word_select(lane, 16), total7[-1]
        low = Mux(at.mine, total7[:below] | (over & ~sign).replicate(below), moved[:below])
        m.d.sync += [
            total7.eq(add.sum),
            total8.eq(Cat(low, Mux(at.mine, Mux(over, sign.replicate(len(high)), high), moved[below:]))),
        ]
        with m.If(over & sign):
            m.d.sync += total8[:below].eq(0)
        return over

    def _write(self, m: Module, before: data.View, place: data.View) -> None:
        """Spikes into their banks, with their place there; and the stage before it."""
        c, d, spikes = self.config, self.descriptor, self.lif.spikes
        part = Signal(c.word // c.neuron_lanes)
        m.d.comb += part.eq(1 << place.part)
        if c.levels_max == 1:  # the beats of a result are written together, so that memories need fewer enables
            gathered = Signal(c.lanes)
            beats = Cat(gathered[c.neuron_lanes:], Mux(place.idle, 0, spikes.as_value()))
            with m.If(place.valid):
                m.d.sync += gathered.eq(beats)
            spikes = beats
            m.d.comb += part.eq(((1 << c.beats) - 1) << (place.part >> clog2(c.beats) << clog2(c.beats)))
        for i in range(c.cores):
            mine, known = Signal(name=f"mine{i}"), before if c.far else place
            step = m.d.sync if c.far else m.d.comb
            step += mine.eq(known.valid & known.write & d.fire & (known.core == i))
            if c.levels_max == 1:
                written = mine & (place.beat == c.beats - 1)
                m.d.comb += [
                    self.write.mask[i].eq(part & written.replicate(len(part))), self.write.addr[i].eq(place.spikes),
                    self.write.data[i].eq(spikes.replicate(c.word // c.lanes)), self.writing[i].eq(written),
                ]
                continue
            m.submodules[f"planes{i}"] = planes = PlaneWriter(c)
            m.d.comb += [
                planes.descriptor.eq(d), planes.load.eq(mine), planes.first.eq(place.spikes), planes.part.eq(part),
                planes.idle.eq(place.idle), planes.spikes.eq(spikes),
                self.write.mask[i].eq(planes.mask), self.write.addr[i].eq(planes.addr), self.write.data[i].eq(planes.data),
                self.writing[i].eq(planes.writing), self.will_write[i].eq(planes.will_write),
            ]

    @staticmethod
    def model(config: Config, d: Mapping[str, int], results: Sequence[Sequence[Sums]], params: Sequence[int],
              u: Sequence[int]) -> Writes:
        """Twin: every write, those into each bank in order, from what the cores' passes make and the parameter and the
        residual memory.
        """
        c = config
        memory = dict(enumerate(u))
        out = Writes([], [], 0)
        accs = iter(Collector.model(c, d, results))
        high, width, t_steps = (1 << (c.u_bits - 1)) - 1, c.neuron_lanes, d["steps"] * c.cores
        for oy, ox, group in product(range(d["out_h"]), range(d["out_w"]), range(d["groups"])):
            pos = oy * d["out_w"] + ox
            sums, membranes = [0] * c.lanes, [0] * c.lanes
            for t, acc in zip(range(t_steps), accs, strict=False):
                step, core = divmod(t, c.cores)
                idle = t >= t_steps - d["idle"]
                for beat in range(c.beats):
                    channel_beat = (d["first_group"] + group) * c.beats + beat
                    u_at = pos * d["u_pos_stride"] + t * d["u_step"] + channel_beat
                    param = params[d["param_base"] + group * c.beats + beat]
                    before, spikes, values = memory.get(d["u_src"] + u_at, 0), [], []
                    saturations = 0
                    for i, lane in enumerate(range(beat * width, (beat + 1) * width)):
                        old = wrap(before >> (16 * i), c.u_bits)
                        bias = old if d["partial"] else wrap(param >> (32 * i), min(24, c.acc_bits))
                        if d["integrate"]:
                            sums[lane] = wrap(acc[lane] + (sums[lane] if t else bias), c.acc_bits + 1)
                            continue
                        x = wrap(((acc[lane] + bias) << 8) >> (param >> (32 * i + 24) & 31), c.x_bits)
                        if d["residual"]:
                            x += old
                        if d["residual"] or d["u_write"]:
                            saturations += not -high - 1 <= x <= high
                            x = min(max(x, -high - 1), high)
                        values.append(x)
                        if d["bank_mask"] >> core & 1:
                            spike, membranes[lane] = Lif.model(c, d, membranes[lane], x)
                            spikes.append(0 if idle else spike)
                    if d["integrate"] and t == t_steps - 1:
                        for half in range(2):
                            values = [x >> (16 * half) for x in sums[beat * width:(beat + 1) * width]]
                            out.u.append((d["u_dst"] + 2 * channel_beat + half, _beat_of(values)))
                    if d["integrate"] or not d["bank_mask"] >> core & 1:
                        continue
                    out.saturations += 0 if idle else saturations
                    if d["u_write"]:
                        memory[d["u_dst"] + u_at] = _beat_of(values)
                        out.u.append((d["u_dst"] + u_at, memory[d["u_dst"] + u_at]))
                    if d["fire"]:
                        bits_at = channel_beat * width
                        first = (d["spike_dst"] + pos * d["dst_pos_stride"] + oy * d["dst_row_skip"] + step * d["dst_words"]
                                 + bits_at // c.word)
                        out.spikes += [(core, at, bits_at % c.word // width, bits)
                                       for at, bits in PlaneWriter.model(d, first, spikes)]
        return out


def _beat_of(values: Sequence[int]) -> int:
    """A beat of residual memory (twins only)."""
    return sum((x & 0xFFFF) << (16 * i) for i, x in enumerate(values))
