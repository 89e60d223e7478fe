"""Collector and neuron unit: from accumulators to residual values, spikes and logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.bus import SpikeWrite, descriptor_layout, param_read, parameter_layout, u_read, u_write
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

    LATENCY = 8

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
        first_step, last_step = Signal(), Signal()
        m.d.comb += [first_step.eq((step == 0) & (core == 0)),
                     last_step.eq((step == d.steps - 1) & (core == c.cores - 1))]

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
            m.d.sync += [busy.eq(1), beat.eq(0), core.eq(0), step.eq(0), group.eq(0), ox.eq(0), oy.eq(0), second.eq(0),
                         u_pos.eq(0), u_time.eq(0), s_pos.eq(0), s_step.eq(0)]
        with m.If(take):
            m.d.sync += second.eq(halves & ~second)
            with m.If(~halves | second):
                m.d.sync += beat.eq(beat + 1)
            with m.If(last_beat):
                m.d.sync += [beat.eq(0), core.eq(core + 1), u_time.eq(u_time + d.u_step)]
                with m.If(core == c.cores - 1):
                    m.d.sync += [core.eq(0), step.eq(step + 1), s_step.eq(s_step + d.dst_words)]
                    with m.If(step == d.steps - 1):
                        m.d.sync += [step.eq(0), group.eq(group + 1), u_time.eq(u_pos), s_step.eq(s_pos)]
                        with m.If(group == d.groups - 1):
                            m.d.sync += [
                                group.eq(0), ox.eq(ox + 1), u_pos.eq(u_pos + d.u_pos_stride), u_time.eq(u_pos + d.u_pos_stride),
                                s_pos.eq(s_pos + d.dst_pos_stride), s_step.eq(s_pos + d.dst_pos_stride),
                            ]
                            with m.If(ox == d.out_w - 1):
                                m.d.sync += [ox.eq(0), oy.eq(oy + 1)]
                                with m.If(oy == d.out_h - 1):
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

        count = [Signal(name=f"saturated{i}") for i in lanes]
        spikes, x_written, sums = Signal(c.neuron_lanes), Signal(c.u_beat_bits), Signal(c.neuron_lanes * 32)
        for i in lanes:
            param = Signal(parameter_layout(), name=f"param{i}")
            u2 = Signal(signed(c.u_bits), name=f"u2_{i}")
            m.d.comb += [param.eq(self.params.data.word_select(i, 32)),
                         u2.eq(self.u_read.data.word_select(i, 16)[:c.u_bits])]

            # Stage 2 -> 3: bias. An integrated sum gets it once.
            biased = Signal(signed(c.acc_bits + 1), name=f"biased{i}")
            shift3, shift4 = Signal(5, name=f"shift3_{i}"), Signal(3, name=f"shift4_{i}")
            u3, u4, u5 = (Signal(signed(c.u_bits), name=f"u{n}_{i}") for n in (3, 4, 5))
            bias = Mux(d.integrate & ~stages[2].fresh, 0, param.bias)
            m.d.sync += [biased.eq(acc2[i] + bias), shift3.eq(param.shift8), u3.eq(u2)]

            # Stages 3 -> 4 -> 5: shift by multiples of eight, then by the rest.
            coarse = Signal(signed(c.acc_bits + 8), name=f"coarse{i}")
            y = Signal(signed(c.acc_bits), name=f"y{i}")
            wide = Cat(Const(0, 8), biased).as_signed()
            m.d.sync += [coarse.eq(wide >> (shift3[3:] << 3)), shift4.eq(shift3[:3]), u4.eq(u3),
                         y.eq(coarse >> shift4), u5.eq(u4)]

            # Stage 5 -> 6: residual sum, saturated to U's grid; and its distance from the threshold.
            total = Signal(signed(c.acc_bits + 1), name=f"total{i}")
            x = Signal(signed(c.acc_bits), name=f"x{i}")
            over = Signal(name=f"over{i}")
            m.d.comb += [
                total.eq(y + Mux(d.residual, u5, 0)),
                over.eq((d.residual | d.u_write) & (total[c.u_bits - 1:] != total[-1].replicate(c.acc_bits + 2 - c.u_bits))),
            ]
            limit = Mux(total[-1], Const(-(1 << (c.u_bits - 1)), signed(c.acc_bits)), (1 << (c.u_bits - 1)) - 1)
            m.d.sync += [x.eq(Mux(over, limit, total)), count[i].eq(over & stages[5].valid)]

            # Stage 6 -> 7: membrane. v' = 0 after a spike.
            membranes = [Signal(signed(c.acc_bits), name=f"v{i}_{b}") for b in range(c.beats)]
            v, h = Signal(signed(c.acc_bits), name=f"v{i}"), Signal(signed(c.acc_bits), name=f"h{i}")
            kept = Signal(signed(c.acc_bits), name=f"kept{i}")
            distance = Signal(signed(c.acc_bits + 1), name=f"distance{i}")
            with m.Switch(stages[6].beat):
                for b in range(c.beats):
                    with m.Case(b):
                        m.d.comb += v.eq(membranes[b])
                        with m.If(stages[6].valid & ~(stages[6].second & d.integrate)):
                            m.d.sync += membranes[b].eq(Mux(d.integrate, h, Mux(distance < 0, h, 0)))
            with m.If(~stages[6].fresh):
                m.d.comb += kept.eq(Mux(d.integrate, v, v >> 1))
            # The comparison h >= theta runs beside the sum, not after it.
            margin = Signal(signed(c.acc_bits + 1), name=f"margin{i}")
            m.d.sync += margin.eq(Mux(over, limit, total) - d.theta)
            m.d.comb += [h.eq(kept + x), distance.eq(kept + margin)]
            m.d.sync += [
                spikes[i].eq(distance >= 0),
                x_written.word_select(i, 16).eq(x),
                sums.word_select(i, 32).eq(Mux(stages[6].second, v, h).as_signed()),
            ]
        m.d.sync += self.saturations.eq(sum(count))

        # Stage 7: writes.
        out = stages[7]
        with m.If(d.integrate):
            m.d.comb += [self.u_write.en.eq(out.valid & out.emit),
                         self.u_write.data.eq(Mux(out.second, sums[c.u_beat_bits:], sums[:c.u_beat_bits]))]
        with m.Else():
            m.d.comb += [self.u_write.en.eq(out.valid & d.u_write), self.u_write.data.eq(x_written)]
        m.d.comb += [
            self.u_write.addr.eq(d.u_dst + out.u_offset),
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
