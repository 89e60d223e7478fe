"""The Hamming engine: makes a layer's weights and biases out of K and V spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.bus import SpikeRead, Unit, WeightWrite, descriptor_layout, param_read, param_write, parameter_layout


class Hamming(wiring.Component):
    """A = KᵀV by AND and popcount, then weights 2M = 4A - 2s (or A) in slices, and bias -= column sums of M.

    Counting: a block of ``ham_tokens`` tokens of one word of K and one of V is loaded in ``2 * ham_tokens / cores``
    cycles; then each cycle takes one K channel against one lane group of V: ``lanes * ham_tokens`` AND bits. An
    imaginary K channel of ones comes first and counts s. Writing: for each lane group, row by row, one slice a cycle.
    Cycles: ``(words of K) * (words of V) * blocks * (2*ham_tokens/cores + 2 + (channels + 1) * groups)`` and
    ``groups * (width * (slices + 2) + 2 * beats)``, and a few.

    Ports
    -----
    unit : Unit, in
    descriptor : Signal(descriptor_layout()), in
    read : SpikeRead, out
    params : MemoryRead, out
    param_write : MemoryWrite, out
    weights : WeightWrite, out
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "unit": In(Unit()), "descriptor": In(descriptor_layout()), "read": Out(SpikeRead(config)),
            "params": Out(param_read(config)), "param_write": Out(param_write(config)), "weights": Out(WeightWrite(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        d = self.descriptor
        lane_shift = clog2(c.lanes)
        max_groups = c.head_max // c.lanes
        groups_per_word = c.word // c.lanes

        # Counts A[i][lane group], and s as row head_max.
        depth = (c.head_max + 1) * max_groups
        m.submodules.counts = counts = Memory(shape=c.lanes * c.count_bits, depth=depth, init=[])
        count_read, count_write = counts.read_port(), counts.write_port()
        row, group = Signal(range(c.head_max + 1)), Signal(range(max(max_groups, 2)))  # of A; row of all ones: head_max

        k = Signal(data.ArrayLayout(c.word, c.ham_tokens))
        v = Signal(data.ArrayLayout(c.word, c.ham_tokens))
        addr, token_addr = Signal(len(self.read.addr)), Signal(len(self.read.addr))
        load = Signal(range(max(c.ham_tokens // c.cores, 2)))
        remaining = Signal(24)  # tokens per bank not loaded yet
        loads = c.ham_tokens // c.cores
        word_k, word_v = Signal(range(max(c.head_max // c.word, 2))), Signal(range(max(c.head_max // c.word, 2)))
        first_block, ones = Signal(), Signal()
        bit, sub = Signal(range(c.word)), Signal(range(max(groups_per_word, 2)))  # within the words of k and v
        low_group = d.mask_low >> lane_shift
        channels = Signal(8)  # of one word
        last_word = Signal(8)
        m.d.comb += [channels.eq(Mux(d.width > c.word, c.word, d.width)), last_word.eq((d.width - 1) >> clog2(c.word))]

        # Loading: K words shift in, then V words.
        loading_k, loading_v, arrived_k, arrived_v, inside, arrived_inside = (
            Signal(name=n) for n in ("loading_k", "loading_v", "arrived_k", "arrived_v", "inside", "arrived_inside"))
        m.d.comb += [self.read.addr.eq(addr), self.read.en.eq(loading_k | loading_v), inside.eq(remaining > load)]
        m.d.sync += [arrived_k.eq(loading_k), arrived_v.eq(loading_v), arrived_inside.eq(inside)]
        fresh = Signal(data.ArrayLayout(c.word, c.cores))
        for i in range(c.cores):
            m.d.comb += fresh[i].eq(self.read.data[i] & arrived_inside.replicate(c.word))
        with m.If(arrived_k):
            m.d.sync += k.eq(Cat(k, fresh)[c.cores * c.word:])
        with m.If(arrived_v):
            m.d.sync += v.eq(Cat(v, fresh)[c.cores * c.word:])

        # Counting, stage 1: popcounts; stage 2: add to A.
        counting, adding, fresh_count = Signal(), Signal(), Signal()
        pop = [Signal(range(c.ham_tokens + 1), name=f"pop{lane}") for lane in range(c.lanes)]
        column = Signal(c.ham_tokens)
        m.d.comb += column.eq(Cat((k[n].bit_select(bit, 1) | ones) for n in range(c.ham_tokens)))
        lanes_of_v = [Signal(c.lanes, name=f"v{n}") for n in range(c.ham_tokens)]
        for n in range(c.ham_tokens):
            m.d.comb += lanes_of_v[n].eq(v[n].word_select(sub[:clog2(groups_per_word)], c.lanes) if groups_per_word > 1 else v[n])
        for lane in range(c.lanes):
            m.d.sync += pop[lane].eq(sum(lanes_of_v[n][lane] & column[n] for n in range(c.ham_tokens)))
        a_row, a_group = Signal.like(row), Signal.like(group)
        write_addr = Signal(range(depth))
        m.d.comb += [a_row.eq(row), a_group.eq(group)]
        read_addr = Signal(range(depth))
        m.d.comb += [read_addr.eq((a_row << clog2(max_groups)) + a_group), count_read.addr.eq(read_addr)]
        m.d.sync += [adding.eq(counting), fresh_count.eq(first_block), write_addr.eq(read_addr)]
        m.d.comb += [count_write.addr.eq(write_addr), count_write.en.eq(adding)]
        for lane in range(c.lanes):
            old = count_read.data.word_select(lane, c.count_bits)
            m.d.comb += count_write.data.word_select(lane, c.count_bits).eq(Mux(fresh_count, 0, old) + pop[lane])

        # Writing.
        s = Signal(c.lanes * c.count_bits)
        m_bits = c.count_bits + 3
        weights = [Signal(signed(m_bits), name=f"w{lane}") for lane in range(c.lanes)]
        sums = [Signal(signed(c.acc_bits), name=f"sum{lane}") for lane in range(c.lanes)]
        row_m = [Signal(signed(m_bits - 1), name=f"m{lane}") for lane in range(c.lanes)]
        same_head = Signal(c.lanes)
        for lane in range(c.lanes):
            a = count_read.data.word_select(lane, c.count_bits)
            m.d.comb += [
                same_head[lane].eq((((group << lane_shift) + lane) ^ row)[:8] & d.head_mask == 0),
                row_m[lane].eq(Mux(same_head[lane], Mux(d.dot, a, (a << 1) - s.word_select(lane, c.count_bits)), 0)),
            ]
        slice_ = Signal(2)
        slice_row = Signal(len(self.weights.row))  # word row of (group, slice), before the row's own word
        group_row = Signal(len(self.weights.row))
        position = Signal(9)  # bit of the row in the words read
        m.d.comb += position.eq(d.mask_low + row)
        m.d.comb += [
            self.weights.bank.eq(position[:clog2(c.issue)]),
            self.weights.row.eq(d.weight_base + ((slice_row + (position >> clog2(c.word))) << clog2(c.rows_per_word))
                                + position[clog2(c.issue):clog2(c.word)]),
            self.weights.data.eq(Cat(w[:c.w_bits] for w in weights)),
        ]
        beat = Signal(range(max(c.beats, 2)))
        param_addr = Signal(len(self.params.addr))
        m.d.comb += [
            param_addr.eq(d.param_base + (group << clog2(c.beats)) + beat), self.params.addr.eq(param_addr),
            self.param_write.addr.eq(param_addr),
        ]
        for i in range(c.neuron_lanes):
            old_param = Signal(parameter_layout(), name=f"old{i}")
            new_param = Signal(parameter_layout(), name=f"new{i}")
            m.d.comb += [old_param.eq(self.params.data.word_select(i, 32)), new_param.eq(old_param),
                         new_param.bias.eq(old_param.bias - sums[i]), self.param_write.data.word_select(i, 32).eq(new_param)]

        m.d.comb += self.unit.progress.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.unit.progress.eq(0)
                m.d.sync += [remaining.eq(d.bank_tokens), token_addr.eq(0), word_k.eq(0), word_v.eq(0), first_block.eq(1)]
                with m.If(self.unit.start):
                    m.next = "BLOCK"
            with m.State("BLOCK"):
                m.d.sync += [addr.eq(d.k_src + word_k + token_addr), load.eq(0)]
                m.next = "LOAD-K"
            with m.State("LOAD-K"):
                m.d.comb += loading_k.eq(1)
                m.d.sync += [load.eq(load + 1), addr.eq(addr + d.step_stride)]
                with m.If(load == loads - 1):
                    m.d.sync += [load.eq(0), addr.eq(d.v_src + word_v + token_addr)]
                    m.next = "LOAD-V"
            with m.State("LOAD-V"):
                m.d.comb += loading_v.eq(1)
                m.d.sync += [load.eq(load + 1), addr.eq(addr + d.step_stride), token_addr.eq(token_addr + d.step_stride)]
                with m.If(load == loads - 1):
                    m.d.sync += [
                        remaining.eq(Mux(remaining > loads, remaining - loads, 0)),
                        ones.eq(word_k == 0), row.eq(Mux(word_k == 0, c.head_max, word_k << clog2(c.word))),
                        bit.eq(d.mask_low), sub.eq(low_group), group.eq(word_v << clog2(groups_per_word)),
                    ]
                    m.next = "SETTLE"
            with m.State("SETTLE"):  # the last word arrives
                m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += [counting.eq(1), count_read.en.eq(1)]
                m.d.sync += [sub.eq(sub + 1), group.eq(group + 1)]
                last_sub = (sub - low_group)[:8] == (channels >> lane_shift) - 1
                with m.If(last_sub):
                    m.d.sync += [sub.eq(low_group), group.eq(word_v << clog2(groups_per_word)), row.eq(row + 1), ones.eq(0)]
                    with m.If(ones):
                        m.d.sync += row.eq(word_k << clog2(c.word))
                    with m.Else():
                        m.d.sync += bit.eq(bit + 1)
                        with m.If((bit - d.mask_low)[:8] == channels - 1):
                            m.next = "BLOCK"
                            m.d.sync += first_block.eq(0)
                            with m.If(remaining == 0):
                                m.d.sync += [remaining.eq(d.bank_tokens), token_addr.eq(0), first_block.eq(1),
                                             word_v.eq(word_v + 1)]
                                with m.If(word_v == last_word):
                                    m.d.sync += [word_v.eq(0), word_k.eq(word_k + 1)]
                                    with m.If(word_k == last_word):
                                        m.d.sync += [group.eq(0), row.eq(c.head_max), group_row.eq(0)]
                                        m.next = "DRAIN"
            with m.State("DRAIN"):  # the last count is written
                m.next = "SUMS"
            with m.State("SUMS"):  # read s of the lane group
                m.d.comb += count_read.en.eq(1)
                m.d.sync += row.eq(0)
                m.d.sync += [x.eq(0) for x in sums]
                m.next = "KEEP-SUMS"
            with m.State("KEEP-SUMS"):
                m.d.comb += count_read.en.eq(1)
                m.d.sync += s.eq(count_read.data)
                m.next = "ROW"
            with m.State("ROW"):  # row i of A is here
                for lane in range(c.lanes):
                    m.d.sync += weights[lane].eq(Mux(d.dot, row_m[lane], row_m[lane] << 1))
                    with m.If(~d.dot):
                        m.d.sync += sums[lane].eq(sums[lane] + row_m[lane])
                m.d.sync += [slice_.eq(0), slice_row.eq(group_row)]
                m.next = "SLICE"
            with m.State("SLICE"):
                m.d.comb += self.weights.en.eq(1)
                m.d.sync += [slice_.eq(slice_ + 1), slice_row.eq(slice_row + d.slice_words)]
                m.d.sync += [w.eq(w >> c.w_bits) for w in weights]
                with m.If(slice_ == (d.slices - 1)[:2]):
                    m.d.sync += row.eq(row + 1)
                    m.next = "NEXT-ROW"
                    with m.If(row == d.width - 1):
                        m.d.sync += [beat.eq(0), group_row.eq(slice_row + d.slice_words)]
                        m.next = "BIAS"
            with m.State("NEXT-ROW"):
                m.d.comb += count_read.en.eq(1)
                m.next = "ROW"
            with m.State("BIAS"):
                m.d.comb += self.params.en.eq(1)
                m.next = "WRITE-BIAS"
            with m.State("WRITE-BIAS"):
                m.d.comb += self.param_write.en.eq(1)
                m.d.sync += beat.eq(beat + 1)
                m.d.sync += [x.eq(y) for x, y in zip(sums, sums[c.neuron_lanes:] + sums[:c.neuron_lanes], strict=True)]
                m.next = "BIAS"
                with m.If(beat == c.beats - 1):
                    m.d.sync += [group.eq(group + 1), row.eq(c.head_max)]
                    m.next = "SUMS"
                    with m.If(group == (d.width >> lane_shift) - 1):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.unit.done.eq(1)
                m.next = "IDLE"
        return m

    @staticmethod
    def model(config: Config, d: Mapping[str, int], banks: Sequence[Sequence[int]],
              params: Sequence[int]) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
        """Twin: the weight rows written as (bank, row, data) and the parameter beats as (address, data), in order."""
        c, width, low = config, d["width"], d["mask_low"]
        words = -(-width // c.word)

        def channels(at: int) -> list[list[int]]:
            """[token][channel]: bits of the heads."""
            tokens = []
            for bank, n in product(banks, range(d["bank_tokens"])):
                joined = sum(bank[at + n * d["step_stride"] + w] << (w * c.word) for w in range(words))
                tokens.append([joined >> (low + i) & 1 for i in range(width)])
            return tokens

        k, v = channels(d["k_src"]), channels(d["v_src"])
        s = [sum(column) for column in zip(*v, strict=True)]
        m = [[0] * width for _ in range(width)]
        for i, j in product(range(width), repeat=2):
            if not (i ^ j) & d["head_mask"]:
                a = sum(x[i] & y[j] for x, y in zip(k, v, strict=True))
                m[i][j] = a if d["dot"] else 2 * a - s[j]
        rows, beats = [], []
        for group in range(width // c.lanes):
            for i, slice_ in product(range(width), range(d["slices"])):
                weights = [m[i][group * c.lanes + lane] << (not d["dot"]) for lane in range(c.lanes)]
                nibbles = (w >> (c.w_bits * slice_) & ((1 << c.w_bits) - 1) for w in weights)
                data = sum(x << (c.w_bits * lane) for lane, x in enumerate(nibbles))
                index = (group * d["slices"] + slice_) * d["slice_words"] * c.word + low + i
                rows.append((index % c.issue, d["weight_base"] + index // c.issue, data))
            for beat in range(c.beats):
                addr = d["param_base"] + group * c.beats + beat
                data = params[addr]
                for lane in range(c.neuron_lanes):
                    j = (group * c.beats + beat) * c.neuron_lanes + lane
                    old = data >> (32 * lane) & 0xFFFFFF
                    new = old - (0 if d["dot"] else sum(m[i][j] for i in range(width))) & 0xFFFFFF
                    data ^= (old ^ new) << (32 * lane)
                beats.append((addr, data))
        return rows, beats
