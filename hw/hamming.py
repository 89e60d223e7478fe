"""The Hamming engine: makes a layer's weights and biases out of K and V spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.adder import Adder
from hw.bus import SpikeRead, Unit, WeightWrite, hamming_waits, param_read, param_write, read_word
from hw.mux_adder import MuxAdder
from hw.near import near


class Hamming(wiring.Component):
    """A = KᵀV by AND and popcount, then weights 2M = 4A - 2s (or A) in slices, and bias -= column sums of M.

    Counting: a block of ``ham_tokens`` tokens of one word of K and one of V is loaded in ``2 * ham_tokens / cores``
    cycles; then each cycle takes one K channel against one lane group of V: ``ham_lanes * ham_tokens`` AND bits. An
    imaginary K channel of ones comes first and counts s. Writing: for each lane group, row by row, one slice a cycle.
    A lane group is ``ham_lanes`` lanes here, a part of a weight row where that is wider.
    Cycles: ``(words of K) * (words of V) * blocks * (2*ham_tokens/cores + 2 + (channels + 1) * groups)`` and
    ``groups * (width * (slices + 2) + beats * (1 + parts) + 4)``, and a few, and those in which it waits for
    LINEAR's reads. Nobody delays its writes.

    Ports
    -----
    unit : Unit, in
    waits : Signal(hamming_waits), in
    read : SpikeRead, out
        ``en`` asks, whether or not it has to wait.
    params : MemoryRead, out
    param_write : MemoryWrite, out
    weights : WeightWrite, out
    will_write : Signal(), out
        ``param_write`` or ``weights`` is written in the next cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "unit": In(Unit()), "waits": In(hamming_waits()), "read": Out(SpikeRead(config)),
            "params": Out(param_read(config)), "param_write": Out(param_write(config)), "weights": Out(WeightWrite(config)),
            "will_write": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        d = self.unit.descriptor
        lanes, beats_per_group, parts = c.ham_lanes, c.ham_lanes // c.neuron_lanes, c.lanes // c.ham_lanes
        lane_shift = clog2(lanes)
        max_groups = c.head_max // lanes
        groups_per_word = c.word // lanes

        # Counts A[i][lane group], and s as row head_max.
        depth = (c.head_max + 1) * max_groups
        m.submodules.counts = counts = Memory(shape=lanes * c.count_bits, depth=depth, init=[])
        count_read, count_write = counts.read_port(), counts.write_port()
        row, group = Signal(range(c.head_max + 1)), Signal(range(max(max_groups, 2)))  # of A; row of all ones: head_max

        # Counts, weights and biases need no reset: what begins and writes them does.
        k = Signal(data.ArrayLayout(c.word, c.ham_tokens), reset_less=True)
        v = Signal(data.ArrayLayout(c.word, c.ham_tokens), reset_less=True)
        addr, token_addr = Signal(clog2(c.spike_words)), Signal(clog2(c.spike_words))
        load = Signal(range(max(c.ham_tokens // c.cores, 2)))
        remaining = Signal(range(c.spike_words + 1))  # tokens per bank not loaded yet
        loads = c.ham_tokens // c.cores
        word_k, word_v = Signal(range(max(c.head_max // c.word, 2))), Signal(range(max(c.head_max // c.word, 2)))
        first_block, ones = Signal(), Signal()
        bit, sub = Signal(range(c.word)), Signal(range(max(groups_per_word, 2)))  # within the words of k and v
        low_group = d.mask_low >> lane_shift
        channels = Signal(8)  # of one word
        last_word = Signal(8)
        m.d.comb += [channels.eq(Mux(d.width > c.word, c.word, d.width)), last_word.eq((d.width - 1) >> clog2(c.word))]

        # Loading: K words shift in, then V words.
        loading_k, loading_v, arrived_k, arrived_v, inside = (
            Signal(name=n) for n in ("loading_k", "loading_v", "arrived_k", "arrived_v", "inside"))
        counted = Signal(c.cores)  # whose word arrives is one of a token
        m.d.comb += inside.eq(remaining > load)
        words = read_word(m, self.read, addr)
        m.d.sync += [arrived_k.eq(loading_k), arrived_v.eq(loading_v),
                     counted.eq(d.bank_mask & inside.replicate(c.cores))]
        fresh = Signal(data.ArrayLayout(c.word, c.cores))
        for i in range(c.cores):
            m.d.comb += fresh[i].eq(words[i] & counted[i].replicate(c.word))
        with m.If(arrived_k):
            m.d.sync += k.eq(Cat(k, fresh)[c.cores * c.word:])
        with m.If(arrived_v):
            m.d.sync += v.eq(Cat(v, fresh)[c.cores * c.word:])

        # Counting: 1 column of K; 2 popcounts, and A is read; 3 both arrive, memory is slow; 4 their sum is written. Where all is
        # far, stage 0 comes before: the part of K in which the column lies; and 2 counts the halves of the tokens.
        counting, running, begins = Signal(), Signal(3 + c.far), Signal(2 + c.far)  # the last bits: in stages up to 3, or 2
        at = Signal(range(depth))  # of A, while rows are made
        count_addr = [Signal(range(depth), name=f"count_addr{i}") for i in range(1 - c.far, 4)]
        subs = [sub, *(Signal.like(sub, name=f"sub{i}") for i in range(1 - c.far, 2))]
        near_by, bit0, ones0 = [k[n] for n in range(c.ham_tokens)], bit, ones
        if c.far:
            few = c.word // 16
            bit0, ones0 = Signal(range(few)), Signal()
            m.d.sync += [bit0.eq(bit), ones0.eq(ones)]
            for n in range(c.ham_tokens):
                near_by[n] = Signal(few, name=f"k0_{n}", reset_less=True)
                m.d.sync += near_by[n].eq(k[n].word_select(bit[clog2(few):], few))
        columns = near(m, Cat((x.bit_select(bit0, 1) | ones0) for x in near_by), lanes, "column")
        m.d.sync += [
            count_addr[0].eq((row << clog2(max_groups)) + group), running.eq(Cat(counting, running)),
            begins.eq(Cat(first_block, begins)),
        ]
        m.d.sync += [later.eq(earlier) for line in (count_addr, subs) for earlier, later in pairwise(line)]
        m.d.comb += [
            count_read.addr.eq(Mux(running[-3], count_addr[-3], at)), count_write.addr.eq(count_addr[-1]),
            count_write.en.eq(running[-1]),
        ]
        with m.If(running[-3]):
            m.d.comb += count_read.en.eq(1)
        goes_on = near(m, ~begins[-1], lanes, "goes_on")
        lanes_of_v = [v[n].word_select(subs[-1][:clog2(groups_per_word)], lanes) if groups_per_word > 1 else v[n]
                      for n in range(c.ham_tokens)]
        half = c.ham_tokens >> c.far
        for lane in range(lanes):
            pop3 = Signal(range(c.ham_tokens + 1), name=f"pop3_{lane}", reset_less=True)
            pops = [Signal(range(half + 1), name=f"pop2_{lane}_{at}", reset_less=True) for at in range(0, c.ham_tokens, half)]
            old3 = Signal(c.count_bits, name=f"old{lane}", reset_less=True)
            m.submodules[f"count{lane}"] = add = Adder(c.count_bits, c.count_bits, len(pop3) + 1)
            found = [lanes_of_v[n][lane] & columns[lane][n] for n in range(c.ham_tokens)]
            m.d.sync += [
                *(pop.eq(sum(found[at:at + half])) for at, pop in zip(range(0, c.ham_tokens, half), pops, strict=True)),
                pop3.eq(sum(pops)), old3.eq(count_read.data.word_select(lane, c.count_bits)),
            ]
            m.d.comb += [
                add.a.eq(old3), add.b.eq(pop3), add.use_a.eq(goes_on[lane]), add.use_b.eq(1),
                count_write.data.word_select(lane, c.count_bits).eq(add.sum),
            ]

        # Writing. A row's weights are 4A + 2 + 2 * ~s, or, to be read two bits further up, 4A + 2; of another head 0. They
        # are made in one cycle and shifted by a slice in each that follows, by the same adder: what else it adds is 0 then.
        weight_bits = c.count_bits + 3
        will_keep_s, will_keep, will_make, will_take, will_add = Signal(), Signal(), Signal(), Signal(beats_per_group), Signal()
        making, adding, keep_s, keeps = (near(m, signal, lanes, name) for signal, name in (
            (will_make, "making"), (will_add, "adding"), (will_keep_s, "keep_s"), (will_keep, "keeps")))
        # Whose counts are kept next, and how far it is from the group's lanes: which of these are of the same head is known then.
        next_row, apart = Signal.like(row), Signal(8)
        m.d.sync += [next_row.eq(row + 1), apart.eq((group << lane_shift) ^ next_row)]
        taking = will_take
        param = self.params.data
        if c.far:  # two registers on the way, the first near the memory
            (param,) = near(m, near(m, param, 1, "parameter")[0], 1, "param")
            for stage in range(2):
                before, taking = taking, Signal.like(will_take, name=f"taking{stage}")
                m.d.sync += taking.eq(before)
        takes = [near(m, taking[b], c.neuron_lanes, f"take{b}") for b in range(beats_per_group)]
        biases, nibbles = [], []
        for lane in range(lanes):
            data_ = count_read.data.word_select(lane, c.count_bits)
            s, term, minus, weight = (
                Signal(shape, name=f"{name}{lane}", reset_less=True) for name, shape in
                (("s", c.count_bits), ("term", weight_bits), ("minus", 1), ("weight", signed(weight_bits))))
            keep = Signal(name=f"keep{lane}")
            m.d.sync += keep.eq(keeps[lane] & ((apart ^ lane) & d.head_mask == 0))
            m.submodules[f"weight{lane}"] = add = MuxAdder(weight_bits, weight_bits, weight_bits, weight_bits, invert=True)
            m.d.comb += [add.a.eq(Cat(Const(1, 1), s)), add.use_a.eq(minus), add.b.eq(term), add.c.eq(weight >> c.w_bits)]
            with m.If(keep_s[lane]):
                m.d.sync += s.eq(data_)
            with m.If(keep):
                m.d.sync += [term.eq(Cat(Const(2, 2), data_)), minus.eq(~d.dot)]
            with m.Else():
                m.d.sync += [term.eq(0), minus.eq(0)]
            with m.If(making[lane]):
                m.d.sync += weight.eq(add.sum)
            with m.Else():
                m.d.sync += weight.eq(0)
            nibbles.append(Mux(d.dot, weight[2:], weight)[:c.w_bits])

            # The bias less all M of its lane: M is half a weight; what is kept is ~bias, which M is added to.
            at_beat, at_lane = divmod(lane, c.neuron_lanes)
            take = takes[at_beat][at_lane]
            bias = Signal(signed(24), name=f"not_bias{lane}", reset_less=True)
            m.submodules[f"bias{lane}"] = less = MuxAdder(24, 24, weight_bits - 1, 24, invert=True)
            m.d.comb += [
                less.a.eq(param.word_select(at_lane, 32)), less.use_a.eq(take), less.c.eq(bias),
                less.b.eq(weight >> 1),
            ]
            with m.If(take | adding[lane]):
                m.d.sync += bias.eq(less.sum)
            biases.append(~bias)
        slice_, last_slice = Signal(2), (d.slices - 1)[:2]
        slice_row = Signal(len(self.weights.row))  # word row of (group, slice), before the row's own word
        group_row = Signal(len(self.weights.row))
        position = Signal(9)  # bit of the row in the words read
        m.d.comb += position.eq(d.mask_low + row)
        step, makes = m.d.sync if c.far else m.d.comb, Signal()  # makes: a row is
        step += [
            self.weights.en.eq(makes), self.weights.bank.eq(position[:clog2(c.issue)]),
            self.weights.row.eq(d.weight_base + ((slice_row + (position >> clog2(c.word))) << clog2(c.rows_per_word))
                                + position[clog2(c.issue):clog2(c.word)]),
            self.weights.data.eq(Cat(nibbles).replicate(parts)), self.weights.parts.eq(1 << group[:clog2(parts)]),
        ]

        # Parameters: in the cycle after a beat is read its biases are kept, or some of them written. A word of the bus holds few
        # channels, or half of one, so writing reads a beat once for each of its words.
        low, words_per_group = clog2(c.param_parts), beats_per_group * c.param_parts
        beat, part = Signal(range(beats_per_group + 1)), Signal(range(words_per_group + 1))
        param_addr, writing, write_back, will_row = Signal(len(self.params.addr)), Signal(), Signal(), Signal()
        m.d.comb += [
            param_addr.eq(d.param_base + (group << clog2(beats_per_group))),
            self.params.addr.eq(param_addr + Mux(writing, part >> low, beat)),
        ]
        goes = data.StructLayout({"en": 1, "addr": len(self.param_write.addr), "part": range(max(words_per_group, 2))})
        going = [Signal(goes, name=f"going{i}") for i in range(2 + 2 * c.far)]
        m.d.comb += [going[0].en.eq(write_back), going[0].addr.eq((param_addr << low) + part), going[0].part.eq(part)]
        m.d.sync += [later.eq(earlier) for earlier, later in pairwise(going)]
        kept = (param.word_select(i % c.neuron_lanes, 32)[24:] for i in range(lanes))
        entries = Signal(lanes * 32)
        m.d.comb += [
            entries.eq(Cat(Cat(*x) for x in zip(biases, kept, strict=True))),
        ]
        leaves = going[-1] if c.far else going[-2]  # what is written in the next cycle
        step += [
            self.param_write.en.eq(going[-1].en), self.param_write.addr.eq(going[-1].addr),
        ]
        chosen = near(m, going[-2].part, c.axi_bits, "part") if c.far else [going[-1].part] * c.axi_bits
        step += (self.param_write.data[i].eq(entries[i::c.axi_bits].bit_select(at, 1)) for i, at in enumerate(chosen))
        m.d.comb += self.will_write.eq((makes if c.far else will_row) | leaves.en)

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
                m.d.comb += self.read.en.eq(1)
                with m.If(~self.waits.read):
                    m.d.comb += loading_k.eq(1)
                    m.d.sync += [load.eq(load + 1), addr.eq(addr + d.step_stride)]
                    with m.If(load == loads - 1):
                        m.d.sync += [load.eq(0), addr.eq(d.v_src + word_v + token_addr)]
                        m.next = "LOAD-V"
            with m.State("LOAD-V"):
                m.d.comb += self.read.en.eq(1)
                with m.If(~self.waits.read):
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
                m.d.comb += counting.eq(1)
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
                                        m.d.sync += [group.eq(0), group_row.eq(0)]
                                        m.next = "DRAIN"
            with m.State("DRAIN"):  # the last counts are written
                with m.If(running == 0):
                    m.next = "BIAS"
            with m.State("BIAS"):
                m.d.sync += [at.eq((c.head_max << clog2(max_groups)) + group), next_row.eq(0)]
                with m.If(beat == beats_per_group):
                    m.d.sync += beat.eq(0)
                    m.next = "SUMS"
                with m.Elif(~self.waits.params):
                    m.d.sync += beat.eq(beat + 1)
                    m.d.comb += [self.params.en.eq(1), will_take.eq(1 << beat)]
            with m.State("SUMS"):  # read s of the lane group
                m.d.comb += [count_read.en.eq(1), will_keep_s.eq(1), will_keep.eq(1)]
                m.d.sync += [row.eq(0), at.eq(group)]
                m.next = "KEEP-SUMS"
            with m.State("KEEP-SUMS"):
                m.d.comb += count_read.en.eq(1)
                m.next = "ROW"
            with m.State("ROW"):  # row i of A is here
                m.d.comb += will_make.eq(1)
                m.d.sync += at.eq(at + max_groups)
                m.next = "MAKE"
            with m.State("MAKE"):
                m.d.comb += [will_make.eq(1), will_add.eq(~d.dot), will_row.eq(1), will_keep.eq(last_slice == 0)]
                m.d.sync += [slice_.eq(0), slice_row.eq(group_row)]
                m.next = "SLICE"
            with m.State("SLICE"):  # the next row of A is read meanwhile
                another = slice_ != last_slice
                m.d.comb += [makes.eq(1), count_read.en.eq(slice_ == 0), will_make.eq(another), will_row.eq(another),
                             will_keep.eq(another & ((slice_ + 1)[:2] == last_slice))]
                m.d.sync += [slice_.eq(slice_ + 1), slice_row.eq(slice_row + d.slice_words)]
                with m.If(~another):
                    m.d.sync += row.eq(next_row)
                    m.next = "ROW"
                    with m.If(row == d.width - 1):
                        with m.If(group[:clog2(parts)] == parts - 1):
                            m.d.sync += group_row.eq(slice_row + d.slice_words)
                        m.next = "WRITE"
            with m.State("WRITE"):  # the rest of a parameter stays, so that it is read again
                m.d.comb += writing.eq(1)
                with m.If(part == words_per_group):
                    m.d.sync += [part.eq(0), group.eq(group + 1)]
                    m.next = "BIAS"
                    with m.If(group == (d.width >> lane_shift) - 1):
                        m.next = "DONE"
                with m.Elif(~self.waits.params):
                    m.d.comb += [self.params.en.eq(1), write_back.eq(1)]
                    m.d.sync += part.eq(part + 1)
            with m.State("DONE"):  # when the last parameter is written
                with m.If(~Cat(self.param_write.en, *(x.en for x in going[1:])).any()):
                    m.d.comb += self.unit.done.eq(1)
                    m.next = "IDLE"
        return m

    @staticmethod
    def model(config: Config, d: Mapping[str, int], banks: Sequence[Sequence[int]],
              params: Sequence[int]) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
        """Twin: the weight rows written as (bank, row, data) and the parameters as (address, word of the bus), in order."""
        c, width, low = config, d["width"], d["mask_low"]
        words = -(-width // c.word)

        def channels(at: int) -> list[list[int]]:
            """[token][channel]: bits of the heads."""
            tokens = []
            counted = [bank for i, bank in enumerate(banks) if d["bank_mask"] >> i & 1]
            for bank, n in product(counted, range(d["bank_tokens"])):
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
        rows, written = [], []
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
                written += [(addr * c.param_parts + i, data >> (c.axi_bits * i) & ((1 << c.axi_bits) - 1))
                            for i in range(c.param_parts)]
        return rows, written
