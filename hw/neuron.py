"""Collector and neuron unit: from accumulators to residual values, spikes and logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.adder import Adder
from hw.bus import SpikeWrite, descriptor_layout, lasts, param_read, parameter_layout, u_read, u_write
from hw.core import result_layout, wrap


@dataclass
class Writes:
    """What the neuron unit writes for one descriptor (twins only)."""

    spikes: list[tuple[int, int, int, int]]  #: bank, address, beat of the word, bits
    u: list[tuple[int, int]]  #: address, beat
    saturations: int


class Neuron(wiring.Component):
    """Takes the cores' results in time order, ``neuron_lanes`` channels a cycle, and finishes them.

    y = ((acc + bias) << 8) >> shift8; then residual add with saturation, LIF, integration over time, as the descriptor
    says (docs/architecture.md). The membranes of one position and lane group live in registers, because all its time
    steps come one after the other. Latency from a beat to its writes: `LATENCY` cycles; one beat a cycle, except that the
    integrated sums take two cycles a beat. Nothing downstream can stall.

    Ports
    -----
    start : Signal(), in
    descriptor : Signal(descriptor_layout()), in
    results : Array of stream of result_layout, in
        One per core.
    params : MemoryRead, out
    u_read : MemoryRead, out
    u_write : MemoryWrite, out
    write : SpikeWrite, out
    done : Signal(), out
        One cycle, after the last write.
    taken : Signal(), out
        A result was taken.
    starved : Signal(), out
        Waiting for a core.
    saturations : Signal(), out
        Residual values that saturated in this cycle.
    """

    LATENCY = 11

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "descriptor": In(descriptor_layout()),
            "results": In(stream.Signature(result_layout(config))).array(config.cores),
            "params": Out(param_read(config)), "u_read": Out(u_read(config)), "u_write": Out(u_write(config)),
            "write": Out(SpikeWrite(config)), "done": Out(1), "taken": Out(1), "starved": Out(1),
            "saturations": Out(range(config.neuron_lanes + 1)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        d = self.descriptor
        lanes = range(c.neuron_lanes)

        # Collector: which beat of which result comes next, and where it belongs.
        busy = Signal()
        beat, core, step, group = Signal(range(max(c.beats, 2))), Signal(range(max(c.cores, 2))), Signal(8), Signal(8)
        ox, oy = Signal(12), Signal(12)
        u_bits, s_bits = clog2(c.u_beats), clog2(c.spike_words)
        u_pos, u_time = Signal(u_bits), Signal(u_bits)  # offset of position; of position and time step
        s_pos, s_step = Signal(s_bits), Signal(s_bits)
        second = Signal()  # the second half of an integrated beat
        last = lasts(m, d, ("steps", "groups", "out_w", "out_h"))
        at_last = Signal()  # a register, made together with step
        first_step, last_step = Signal(), Signal()
        m.d.comb += [first_step.eq((step == 0) & (core == 0)), last_step.eq(at_last & (core == c.cores - 1))]

        available, take = Signal(), Signal()
        chosen = Signal(data.ArrayLayout(signed(c.acc_bits), c.neuron_lanes))
        with m.Switch(core):
            for i in range(c.cores):
                with m.Case(i):
                    m.d.comb += [
                        available.eq(self.results[i].valid),
                        chosen.eq(_beat_of(self.results[i].payload, beat, c)),
                    ]
        halves = d.integrate & last_step
        last_beat = Signal()
        m.d.comb += [
            self.starved.eq(busy & ~available), take.eq(busy & available),
            last_beat.eq((beat == c.beats - 1) & (~halves | second)),
            self.taken.eq(take & last_beat),
        ]
        with m.Switch(core):
            for i in range(c.cores):
                with m.Case(i):
                    m.d.comb += self.results[i].ready.eq(self.taken)
        final = Signal()
        with m.If(self.start):
            m.d.sync += [
                busy.eq(1), beat.eq(0), core.eq(0), step.eq(0), at_last.eq(d.steps == 1), group.eq(0), ox.eq(0), oy.eq(0),
                second.eq(0), u_pos.eq(0), u_time.eq(0), s_pos.eq(0), s_step.eq(0),
            ]
        with m.If(take):
            m.d.sync += second.eq(halves & ~second)
            with m.If(~halves | second):
                m.d.sync += beat.eq(beat + 1)
            with m.If(last_beat):
                m.d.sync += [beat.eq(0), core.eq(core + 1), u_time.eq(u_time + d.u_step)]
                with m.If(core == c.cores - 1):
                    m.d.sync += [core.eq(0), step.eq(step + 1), at_last.eq(step + 1 == last["steps"]),
                                 s_step.eq(s_step + d.dst_words)]
                    with m.If(at_last):
                        m.d.sync += [step.eq(0), at_last.eq(d.steps == 1), group.eq(group + 1), u_time.eq(u_pos),
                                     s_step.eq(s_pos)]
                        with m.If(group == last["groups"]):
                            m.d.sync += [
                                group.eq(0), ox.eq(ox + 1), u_pos.eq(u_pos + d.u_pos_stride), u_time.eq(u_pos + d.u_pos_stride),
                                s_pos.eq(s_pos + d.dst_pos_stride), s_step.eq(s_pos + d.dst_pos_stride),
                            ]
                            with m.If(ox == last["out_w"]):
                                m.d.sync += [ox.eq(0), oy.eq(oy + 1)]
                                with m.If(oy == last["out_h"]):
                                    m.d.comb += final.eq(1)
                                    m.d.sync += busy.eq(0)

        # Stage 0 -> 1: the accumulators, and the addresses of what belongs to them.
        per_word = clog2(c.word // c.neuron_lanes)
        channel_beat = Signal(8 + clog2(c.beats))  # beat within the output tensor's channels
        m.d.comb += channel_beat.eq(((d.first_group + group)[:8] << clog2(c.beats)) + beat)
        control = data.StructLayout({
            "valid": 1, "final": 1, "fresh": 1, "emit": 1, "second": 1, "bank": max(clog2(c.cores), 1),
            "beat": max(clog2(c.beats), 1), "u_offset": u_bits, "s_addr": s_bits, "part": max(per_word, 1),
        })
        stages = {i: Signal(control, name=f"stage{i}") for i in range(1, self.LATENCY)}
        acc = Signal.like(chosen)
        param_addr = Signal(len(self.params.addr))
        m.d.sync += [
            acc.eq(chosen), param_addr.eq(d.param_base + (group << clog2(c.beats)) + beat),
            stages[1].valid.eq(take), stages[1].final.eq(take & final), stages[1].fresh.eq(first_step),
            stages[1].emit.eq(last_step), stages[1].second.eq(second), stages[1].bank.eq(core), stages[1].beat.eq(beat),
            stages[1].u_offset.eq(Mux(
                d.integrate, (channel_beat << 1) + second, u_time + channel_beat)),
            stages[1].s_addr.eq(s_step + (channel_beat >> per_word)), stages[1].part.eq(channel_beat),
        ]
        for i in range(2, self.LATENCY):
            m.d.sync += stages[i].eq(stages[i - 1])

        # Stage 1 -> 2: the memories are read.
        u_addr = Signal(u_bits)
        m.d.comb += [self.params.addr.eq(param_addr), self.params.en.eq(stages[1].valid),
                     u_addr.eq(d.u_src + stages[1].u_offset),
                     self.u_read.addr.eq(u_addr), self.u_read.en.eq(stages[1].valid & d.residual)]
        acc2 = Signal.like(acc)
        m.d.sync += acc2.eq(acc)

        # The rest, lane by lane; a value has the number of the stage whose register it is. An integrated sum gets its bias once.
        use_bias3 = Signal()
        m.d.sync += use_bias3.eq(~d.integrate | stages[2].fresh)
        count = [Signal(name=f"saturated{i}") for i in lanes]
        spikes = Signal(c.neuron_lanes)
        xs, hs, vs = ([Signal(signed(c.acc_bits), name=f"{name}{i}") for i in lanes] for name in ("x", "h", "v"))
        for i in lanes:
            def stage(number: int, name: str, bits: int, i: int = i) -> Signal:
                return Signal(signed(bits), name=f"{name}{number}_{i}")

            # 2 -> 3: what the memories say; they are slow.
            param = Signal(parameter_layout(), name=f"param{i}")
            acc3, bias3, u3 = stage(3, "acc", c.acc_bits), stage(3, "bias", c.acc_bits), stage(3, "u", c.u_bits)
            shift3 = Signal(5, name=f"shift3_{i}")
            m.d.comb += param.eq(self.params.data.word_select(i, 32))
            m.d.sync += [acc3.eq(acc2[i]), bias3.eq(param.bias), shift3.eq(param.shift8),
                         u3.eq(self.u_read.data.word_select(i, 16))]

            # 3 -> 4: bias.
            biased4, u4, shift4 = stage(4, "biased", c.acc_bits + 1), stage(4, "u", c.u_bits), Signal(5, name=f"shift4_{i}")
            m.submodules[f"bias{i}"] = bias = Adder(c.acc_bits + 1, c.acc_bits, c.acc_bits)
            m.d.comb += [bias.a.eq(bias3), bias.b.eq(acc3), bias.use_a.eq(use_bias3), bias.use_b.eq(1)]
            m.d.sync += [biased4.eq(bias.sum), u4.eq(u3), shift4.eq(shift3)]

            # 4 -> 5 -> 6: shift by multiples of eight, then by the rest.
            coarse5, u5, shift5 = stage(5, "coarse", c.acc_bits + 8), stage(5, "u", c.u_bits), Signal(3, name=f"shift5_{i}")
            y6, u6 = stage(6, "y", c.acc_bits), stage(6, "u", c.u_bits)
            m.d.sync += [coarse5.eq(Cat(Const(0, 8), biased4).as_signed() >> (shift4[3:] << 3)), shift5.eq(shift4[:3]), u5.eq(u4),
                         y6.eq(coarse5 >> shift5), u6.eq(u5)]

            # 6 -> 7 -> 8: residual sum, then saturated to U's grid.
            total7, x8 = stage(7, "total", c.acc_bits + 1), stage(8, "x", c.acc_bits)
            over = Signal(name=f"over{i}")
            m.submodules[f"residual{i}"] = residual = Adder(c.acc_bits + 1, c.u_bits, c.acc_bits)
            m.d.comb += [residual.a.eq(u6), residual.b.eq(y6), residual.use_a.eq(d.residual), residual.use_b.eq(1),
                         over.eq((d.residual | d.u_write)
                                 & (total7[c.u_bits - 1:] != total7[-1].replicate(c.acc_bits + 2 - c.u_bits)))]
            limit = Cat((~total7[-1]).replicate(c.u_bits - 1), total7[-1]).as_signed()
            m.d.sync += [total7.eq(residual.sum), x8.eq(Mux(over, limit, total7)), count[i].eq(over & stages[7].valid)]

            # 8 -> 9: distance from the threshold, so that h >= theta is known as soon as h is.
            margin9 = stage(9, "margin", c.acc_bits + 1)
            m.d.sync += [xs[i].eq(x8), margin9.eq(x8 - d.theta)]

            # 9 -> 10: membrane. It is kept as what the next step adds: the sum, or half of h, or 0 after a spike.
            membranes = [Signal(signed(c.acc_bits), name=f"membrane{i}_{b}") for b in range(c.beats)]
            m.submodules[f"charge{i}"] = charge = Adder(c.acc_bits, c.acc_bits, c.acc_bits)
            m.submodules[f"fire{i}"] = fire = Adder(c.acc_bits + 1, c.acc_bits, c.acc_bits + 1)
            m.d.comb += [charge.a.eq(vs[i]), charge.b.eq(xs[i]), fire.a.eq(vs[i]), fire.b.eq(margin9), hs[i].eq(charge.sum)]
            m.d.comb += [x.eq(1) for x in (charge.use_b, fire.use_b)] + [x.use_a.eq(~stages[9].fresh) for x in (charge, fire)]
            with m.Switch(stages[9].beat):
                for b in range(c.beats):
                    with m.Case(b):
                        m.d.comb += vs[i].eq(membranes[b])
                        with m.If(stages[9].valid & ~(stages[9].second & d.integrate)):
                            m.d.sync += membranes[b].eq(Mux(d.integrate, hs[i], Mux(fire.sum < 0, hs[i] >> 1, 0)))
            m.d.sync += spikes[i].eq(fire.sum >= 0)
        m.d.sync += self.saturations.eq(sum(count))

        # Integrated sums are written in two beats, of the lower lanes and of the upper ones (which are membranes by then).
        written = Signal(c.u_beat_bits)
        half = c.neuron_lanes // 2
        lower, upper = (Cat(Cat(x, x[-1].replicate(32 - c.acc_bits)) for x in group) for group in (hs[:half], vs[half:]))
        m.d.sync += written.eq(Mux(d.integrate, Mux(stages[9].second, upper, lower), Cat(x[:16] for x in xs)))

        # Stage 10: writes.
        out = stages[10]
        m.d.comb += [
            self.u_write.en.eq(out.valid & Mux(d.integrate, out.emit, d.u_write)),
            self.u_write.addr.eq(d.u_dst + out.u_offset), self.u_write.data.eq(written),
            self.write.bank.eq(out.bank), self.write.addr.eq(d.spike_dst + out.s_addr),
            self.write.data.eq(Cat(spikes for _ in range(c.word // c.neuron_lanes))),
        ]
        with m.If(out.valid & d.fire):
            m.d.comb += self.write.mask.eq(1 << out.part[:per_word])
        m.d.sync += self.done.eq(out.final)
        return m

    @staticmethod
    def model(config: Config, d: Mapping[str, int], results: Sequence[Sequence[Sequence[int]]], params: Sequence[int],
              u: Sequence[int]) -> Writes:
        """Twin: every write in order, from the results by core, the parameter memory and the residual memory."""
        c = config
        memory = dict(enumerate(u))
        out = Writes([], [], 0)
        high, width = (1 << (c.u_bits - 1)) - 1, c.neuron_lanes
        for oy, ox, group in product(range(d["out_h"]), range(d["out_w"]), range(d["groups"])):
            pos = oy * d["out_w"] + ox
            number = (pos * d["groups"] + group) * d["steps"]
            v = [0] * c.lanes  # membranes, or sums
            for step, core, beat in product(range(d["steps"]), range(c.cores), range(c.beats)):
                t = step * c.cores + core
                channel_beat = (d["first_group"] + group) * c.beats + beat
                u_at = pos * d["u_pos_stride"] + t * d["u_step"] + channel_beat
                param = params[d["param_base"] + group * c.beats + beat]
                spikes, values = 0, []
                for i in range(width):
                    lane = beat * width + i
                    bias = wrap(param >> (32 * i) & 0xFFFFFF, 24) if t == 0 or not d["integrate"] else 0
                    y = ((results[core][number + step][lane] + bias) << 8) >> (param >> (32 * i + 24) & 31)
                    x = wrap(y, c.acc_bits)
                    if d["residual"]:
                        x += wrap(memory[d["u_src"] + u_at] >> (16 * i), c.u_bits)
                    if d["residual"] or d["u_write"]:
                        out.saturations += not -high - 1 <= x <= high
                        x = min(max(x, -high - 1), high)
                    h = wrap((v[lane] if d["integrate"] else v[lane] >> 1) + x, c.acc_bits)
                    fired = h >= d["theta"]
                    spikes |= fired << i
                    v[lane] = 0 if fired and not d["integrate"] else h
                    values.append(x)
                if d["fire"]:
                    bits_at = channel_beat * width
                    addr = d["spike_dst"] + pos * d["dst_pos_stride"] + step * d["dst_words"] + bits_at // c.word
                    out.spikes.append((core, addr, bits_at % c.word // width, spikes))
                if d["integrate"] and t == d["steps"] * c.cores - 1:
                    sums = sum((v[beat * width + i] & 0xFFFFFFFF) << (32 * i) for i in range(width))
                    out.u += [(d["u_dst"] + 2 * channel_beat + half, sums >> (half * c.u_beat_bits) & ((1 << c.u_beat_bits) - 1))
                              for half in range(2)]
                elif d["u_write"] and not d["integrate"]:
                    memory[d["u_dst"] + u_at] = sum((x & 0xFFFF) << (16 * i) for i, x in enumerate(values))
                    out.u.append((d["u_dst"] + u_at, memory[d["u_dst"] + u_at]))
        return out


def _beat_of(result: data.View, beat: Value, config: Config) -> Value:
    """The lanes of a result that belong to a beat."""
    flat = result.as_value()
    return flat.word_select(beat[:clog2(config.beats)], config.neuron_lanes * config.acc_bits) if config.beats > 1 else flat
