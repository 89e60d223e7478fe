"""One AND-accumulate core: queues, decoders and accumulators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.adder import Adder
from hw.decoder import Decoder
from hw.queue import Queue
from hw.walker import Walker, entry_layout
from hw.weight_banks import WeightRead


def result_layout(config: Config) -> data.ArrayLayout:
    """One result: the accumulators of all lanes."""
    return data.ArrayLayout(signed(config.acc_bits), config.lanes)


def wrap(value: int, bits: int) -> int:
    """The number that ``bits`` bits in two's complement hold of a value (twins only)."""
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


class Core(wiring.Component):
    """Adds the weight rows that its queues select, ``issue`` of them a cycle, and hands complete results on.

    Pipeline: decode and read address; row; gated row; sum of the slots' rows; accumulate. The slots meet in a barrier at
    the end of each pass, at no cost where they arrive together. A left shift by n takes n cycles. Results are
    double-buffered: the next one accumulates while ``result`` waits.

    Ports
    -----
    lanewise : Signal(), in
    entries : Array of stream of entry_layout, in
        One per slot, always ready: the sender looks at ``room``.
    room : Signal(), out
        Each queue takes `Walker.IN_FLIGHT` more entries than have been sent two cycles ago.
    weights : WeightRead, out
    result : stream of result_layout, out
    adds : Signal(), out
        Rows (broadcast) or lanes (lanewise) added in this cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "lanewise": In(1),
            "entries": In(stream.Signature(entry_layout(config), always_ready=True)).array(config.issue),
            "room": Out(1),
            "weights": Out(WeightRead(config)),
            "result": Out(stream.Signature(result_layout(config))),
            "adds": Out(range(config.issue * config.lanes + 1)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        room = Const(1, 1)
        decoders = []
        for i in range(c.issue):
            shape = entry_layout(c)
            m.submodules[f"queue{i}"] = queue = Queue(shape.size, c.queue_depth)
            m.submodules[f"decoder{i}"] = decoder = Decoder(c)
            m.d.comb += [
                queue.w_data.eq(self.entries[i].payload), queue.w_en.eq(self.entries[i].valid),
                decoder.entries.payload.eq(queue.r_data), decoder.entries.valid.eq(queue.r_rdy),
                queue.r_en.eq(decoder.entries.ready), decoder.lanewise.eq(self.lanewise),
            ]
            room = room & (queue.level < c.queue_depth - Walker.IN_FLIGHT)
            decoders.append(decoder)
        m.d.sync += self.room.eq(room)

        # The pipeline stands still while a complete result finds the one before still waiting, be it just taken: who takes it
        # decides late in the cycle.
        complete, stall = Signal(), Signal()
        m.d.comb += stall.eq(complete & self.result.valid)

        # The barrier: all slots at the end of the pass.
        shifting = Signal(3)  # cycles of left shift still to come
        release = Signal()
        m.d.comb += release.eq(Cat(x.barrier for x in decoders).all())
        for i, x in enumerate(decoders):
            m.d.comb += [x.release.eq(release), x.hold.eq((shifting != 0) | stall | self.weights.taken[i])]

        gates = [Signal(c.lanes, name=f"gate{i}") for i in range(c.issue)]
        tops = [Signal(name=f"top{i}") for i in range(c.issue)]
        shift1, end1, shift2, end2 = Signal(init=1), Signal(), Signal(init=1), Signal()
        m.d.sync += self.adds.eq(0)
        for i, x in enumerate(decoders):
            m.d.comb += [self.weights.en[i].eq(x.emit), self.weights.row[i].eq(x.row)]
        with m.If(~stall):
            with m.If(release):
                m.d.sync += shifting.eq(decoders[0].shift)
            with m.Elif(shifting != 0):
                m.d.sync += shifting.eq(shifting - 1)

            # Stage 1: the rows are read.
            for gate, top, x in zip(gates, tops, decoders, strict=True):
                m.d.sync += [gate.eq(x.gate & x.emit.replicate(c.lanes)), top.eq(x.top)]
            m.d.sync += [shift1.eq(shifting != 0), end1.eq(release & decoders[0].end)]
            with m.If(self.lanewise):
                m.d.sync += self.adds.eq(sum(sum(gate[lane] for lane in range(c.lanes)) for gate in gates))
            with m.Else():
                m.d.sync += self.adds.eq(sum(gate[0] for gate in gates))

            # Stage 2: the rows wait in registers, lanes that do not add being 0: memory is slow.
            m.d.sync += [shift2.eq(shift1), end2.eq(end1)]
            terms: list[list[Value]] = [[] for _ in range(c.lanes)]
            for i in range(c.issue):
                for lane in range(c.lanes):
                    term = Signal(signed(c.w_bits + 1), name=f"term{i}_{lane}")
                    weight = self.weights.data[i].word_select(lane, c.w_bits)
                    m.d.sync += term.eq(Cat(weight, weight[-1] & tops[i]) & gates[i][lane].replicate(c.w_bits + 1))
                    terms[lane].append(term)

            # Stage 3: the sum of the slots' rows, lane by lane; -1 for a shift, see `Adder`. After reset the accumulators
            # shift, too, so that the sums need no other reset.
            plain, keep = Signal(), Signal(init=1)
            complete3 = Signal()
            m.d.sync += [plain.eq(~shift2), complete3.eq(end2)]
            sums = [Signal(signed(c.w_bits + 1 + clog2(c.issue)), name=f"sum{lane}", reset_less=True) for lane in range(c.lanes)]
            for total, parts in zip(sums, terms, strict=True):
                m.d.sync += total.eq(sum(parts))
                with m.If(shift2):
                    m.d.sync += total.eq(-1)

            # Stage 4: accumulate; the sum that comes with an ending barrier is the result's last. In the cycle of
            # ``complete`` the accumulators hold the result, and start anew.
            m.d.sync += [complete.eq(complete3), keep.eq(~complete3)]
            for lane, total in enumerate(sums):
                acc = Signal(signed(c.acc_bits), name=f"acc{lane}")
                m.submodules[f"adder{lane}"] = adder = Adder(c.acc_bits, c.acc_bits, len(total))
                m.d.comb += [adder.a.eq(acc), adder.b.eq(total), adder.use_a.eq(keep), adder.use_b.eq(plain)]
                m.d.sync += acc.eq(adder.sum)
                with m.If(complete):
                    m.d.sync += self.result.payload[lane].eq(acc)
        with m.If(self.result.ready):
            m.d.sync += self.result.valid.eq(0)
        with m.If(complete & ~stall):
            m.d.sync += self.result.valid.eq(1)
        return m

    @staticmethod
    def model(config: Config, entries: Sequence[Sequence[Mapping[str, int]]], weights: Sequence[Sequence[int]],
              lanewise: bool) -> list[list[int]]:
        """Twin: the accumulators of each result, from the entries by slot and the weight rows by bank and row."""
        results = []
        acc = [0] * config.lanes
        half, mask = 1 << (config.w_bits - 1), (1 << config.w_bits) - 1
        for slots in zip(*(Decoder.model(config, x, lanewise) for x in entries), strict=True):
            for bank, x in zip(weights, slots, strict=True):
                for row, gate, top in x.rows:
                    for lane in range(config.lanes):
                        weight = bank[row] >> (lane * config.w_bits) & mask
                        if gate >> lane & 1:
                            acc[lane] += weight - 2 * half if top and weight >= half else weight
            acc = [a << slots[0].shift for a in acc]
            if slots[0].end:
                results.append([wrap(a, config.acc_bits) for a in acc])
                acc = [0] * config.lanes
        return results
