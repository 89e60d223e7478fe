"""Front half of the sequencer: fetches descriptors, weights and parameters ahead of their execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.descriptor import (
    BYTES,
    FIELDS,
    LEAN_LIMITS,
    LIMITS,
    MAGIC,
    WORDS,
    DescriptorError,
    Opcode,
    check_limits,
    decode,
    field_bits,
)
from hw.bus import WeightWrite, descriptor_layout, param_write
from hw.gearbox import Narrow, Widen
from hw.jobs import beats, jobs
from hw.read_dma import ReadDma

OTHERS, LINEARS = 24, 8  #: first word that no LINEAR looks at (but for ``bank_mask``); that only LINEAR does (but for ``slices``)


@dataclass
class Load:
    """A descriptor, and what is loaded for it (twins only)."""

    descriptor: dict[str, int]
    rows: list[tuple[int, int, int, int]]  #: every, bank, row, data
    params: list[tuple[int, int]]  #: address, data, as they are written: by words of the bus
    late: list[tuple[int, int, int, int]]  #: rows that come after its start, for later ones


def rows_until(loads: Sequence[Load]) -> list[tuple[int, int, int, int]]:
    """All weight rows that have come when the last of these descriptors starts (twins only)."""
    return [row for load in loads[:-1] for row in (*load.rows, *load.late)] + (loads[-1].rows if loads else [])


class Loader(wiring.Component):
    """Reads descriptor after descriptor, checks it, loads what it needs and offers it; at most one ahead of the executor.

    Weights and parameters wait until nobody reads any, unless the descriptor says ``prefetch``. When the executor has taken a
    LINEAR or HAMMING descriptor, its ``count`` weight rows for later ones come before all else. An illegal descriptor is
    reported when those before it have been executed and recorded. It stops after END.
    A lean machine keeps a field of the words from 24 on in the place of word 8 and those behind it. It does not check limits, and
    knows no weight rows for later descriptors.
    Cycles: 7 (8 where all is far) and a memory latency for a descriptor, one per beat of the images and a memory latency for
    each image; parameters reach their memory 2 cycles after they come, a weight row later, see `WeightBanks`.

    Ports
    -----
    start : Signal(), in
        Pulse: begin with the descriptor at ``program`` in ``segment`` (byte address of segment 0).
    program, segment : Signal(32), in
    idle : Signal(), in
        Nobody reads weights or parameters.
    settled : Signal(), in
        Nothing is executed, and the last record is in memory.
    jobs : stream of job_layout, out
    data : stream of beat_layout, in
    weight_write : WeightWrite, out
    param_write : MemoryWrite, out
    waits : Signal(), in
        Somebody else writes weights or parameters in the next cycle: what is to be written then waits.
    descriptors : stream of descriptor_layout, out
    error : Signal(), out
        Pulses when descriptor ``layer`` is illegal.
    layer : Signal(16), out
        Number of the descriptor at hand.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "program": In(32), "segment": In(32), "idle": In(1), "settled": In(1),
            "jobs": Out(jobs()), "data": In(beats(config.axi_bits)),
            "weight_write": Out(WeightWrite(config)), "param_write": Out(param_write(config)),
            "waits": In(1), "descriptors": Out(stream.Signature(descriptor_layout())), "error": Out(1), "layer": Out(16),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        d = self.descriptors.payload

        # The descriptor arrives beat by beat; its sum is made in two stages, or half a word at a time.
        fetching, comes = Signal(), Signal()  # a register, as `loads_rows` and `loads_params` are: states go far
        kept_words = [Signal(32, name=f"word{i}", reset_less=True) for i in range(OTHERS if c.lean else WORDS)]
        # what no LINEAR looks at lies where only LINEAR looks
        words = kept_words + kept_words[LINEARS:LINEARS + WORDS - len(kept_words)]
        bits = {f.name: f.bits for f in FIELDS.values()}
        if c.lean:
            bits |= {name: field_bits(name, c) for name in LEAN_LIMITS[Opcode.LINEAR] if name != "count"}
        zeros = {"weight_addr": 6, "param_addr": 6} if c.lean else {}  # bits of what are multiples
        for f in FIELDS.values():
            low = zeros.get(f.name, 0)
            m.d.comb += d[f.name].eq(words[f.word][f.lsb + low:f.lsb + bits[f.name]] << low)
        arriving = self.data.payload.data
        domain = m.d.sync if c.far else m.d.comb
        domain += comes.eq(fetching & self.data.valid)
        if c.far:
            arriving = Signal.like(arriving, reset_less=True)
            m.d.sync += arriving.eq(self.data.payload.data)
        beat = Signal(range(BYTES // c.axi_bytes), reset_less=True)
        total = Signal(32, reset_less=True)
        place, kept = Signal.like(beat), Signal()
        if c.lean:
            others = beat[4:].all()
            m.d.comb += [
                place.eq(beat), kept.eq(1), place[-1].eq(beat[-1] & ~others),
                kept.eq(~(others & ((d.opcode == int(Opcode.LINEAR)) | (beat == 2 * FIELDS["bank_mask"].word + 1)))),
            ]
        with m.If(comes):
            m.d.sync += beat.eq(beat + 1)
            for i in range(len(kept_words) * 32 // c.axi_bits):
                with m.If((place == i) & kept if c.lean else beat == i):
                    m.d.sync += Cat(kept_words)[i * c.axi_bits:(i + 1) * c.axi_bits].eq(arriving)
        if c.lean:
            half, carry = Signal(17), Signal()
            m.d.comb += half.eq(total[:16] + arriving + carry)
            with m.If(comes):
                m.d.sync += [total.eq(Cat(total[16:], half[:16])), carry.eq(half[16] & ~beat[0])]
        else:
            partial, arrived = Signal(32, reset_less=True), Signal()
            m.d.sync += arrived.eq(comes)
            with m.If(comes):
                m.d.sync += partial.eq(sum(arriving.word_select(i, 32) for i in range(c.axi_bits // 32)))
            with m.If(arrived):
                m.d.sync += total.eq(total + partial)
        legal, in_limits = Signal(), Signal()
        if c.lean:
            m.d.comb += in_limits.eq(d.opcode <= max(Opcode))
        for opcode, limits in ({} if c.lean else LIMITS).items():
            checks: list[Value] = [Const(1)]
            for name, (low, high) in limits.items():
                if low > FIELDS[name].low:
                    checks.append(d[name] >= low)
                if high < FIELDS[name].high:
                    checks.append(d[name] <= high)
            if opcode == Opcode.HAMMING:
                whole = (d.mask_low == 0) & ~d.width[:clog2(c.word)].any()
                checks += [~d.width[:clog2(c.lanes)].any(), ~d.mask_low[:clog2(c.lanes)].any(), d.width <= c.head_max,
                           whole | (d.mask_low + d.width <= c.word)]
            kept_limits = Signal(name=f"limits_of_{opcode.name}", reset_less=True)
            m.d.sync += kept_limits.eq(Cat(checks).all())
            with m.If(d.opcode == int(opcode)):
                m.d.comb += in_limits.eq(kept_limits)
        marked = Signal()
        m.d.comb += marked.eq(d.magic == MAGIC)
        if c.lean:  # looked at as it comes, and not kept
            marked = Signal(name="was_marked")
            with m.If(comes & (beat == 1)):
                m.d.sync += marked.eq(arriving == MAGIC)
        m.d.sync += legal.eq((total == 0) & marked & in_limits)

        # Weights are collected to rows; parameters are written as they come.
        m.submodules.widen = widen = Widen(c.axi_bits, c.row_bits)
        loads_rows, loads_params = Signal(), Signal()  # an image is on its way
        late, every = Signal(), Signal()  # it is for later descriptors; its rows go to each bank
        most = max(c.weight_rows, c.param_beats * c.param_parts) if c.lean else (1 << 16 + clog2(max(c.param_parts, 16))) - 1
        left = Signal(range(most + 1), reset_less=True)  # rows of the image, or words of the bus, that are not written
        bank = Signal.like(self.weight_write.bank, reset_less=True)
        row = Signal(max(len(self.weight_write.row), len(self.param_write.addr)), reset_less=True)
        word_here, item_here, stuck = Signal(), Signal(), Signal()  # stuck: somebody else writes, if anything is to be or not
        m.d.comb += [
            widen.narrow.payload.eq(self.data.payload.data), widen.narrow.valid.eq(self.data.valid & loads_rows),
            word_here.eq(self.data.valid & loads_params), widen.wide.ready.eq(~stuck),
            item_here.eq((word_here | widen.wide.valid) & ~stuck),
            self.data.ready.eq(fetching | (loads_rows & widen.narrow.ready) | (loads_params & ~stuck)),
        ]
        writes = [
            self.weight_write.en.eq(widen.wide.valid), self.weight_write.bank.eq(bank), self.weight_write.row.eq(row),
            self.weight_write.every.eq(every), self.weight_write.parts.eq(~0),
            self.weight_write.data.eq(widen.wide.payload), self.param_write.en.eq(word_here),
            self.param_write.addr.eq(row), self.param_write.data.eq(self.data.payload.data),
        ]
        if c.lean:  # nobody else writes meanwhile
            m.d.comb += writes
        else:
            m.d.sync += stuck.eq(self.waits)
            with m.If(~stuck):
                m.d.sync += writes
        with m.If(item_here):
            m.d.sync += [left.eq(left - 1), bank.eq(bank + 1), row.eq(row + 1)]
            with m.If(~loads_params & ~every & (bank != c.issue - 1)):
                m.d.sync += row.eq(row)

        here = Signal(32, reset_less=True)  # the descriptor's address
        number = Signal(c.address_bits - clog2(BYTES) if c.lean else 16, reset_less=True)
        has_image, may_load, has_late, rows = Signal(), Signal(), Signal(), Signal(20)
        m.d.comb += [
            has_image.eq((d.weight_rows != 0) | (d.param_beats != 0)),
            may_load.eq(d.prefetch | self.idle), every.eq(d.lanewise & ~late),
            self.layer.eq(number),
            rows.eq(Mux(late, d.count, d.weight_rows)[:len(left)]),
        ]
        if not c.lean:
            m.d.comb += has_late.eq(
                ((d.opcode == int(Opcode.LINEAR)) | (d.opcode == int(Opcode.HAMMING))) & (d.count != 0))

        def go_on() -> None:
            m.d.sync += [here.eq(here + BYTES), number.eq(number + 1)]
            m.next = "NEXT"

        # The image is through: where all is far when its last row is known to be written, else in the cycle in which it is.
        written = ~(self.weight_write.en | self.param_write.en) if c.far else ~stuck
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [here.eq(self.segment + self.program), number.eq(0)]
                with m.If(self.start):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [
                    self.jobs.payload.addr.eq(here), self.jobs.payload.beats.eq(BYTES // c.axi_bytes),
                    self.jobs.valid.eq(1), total.eq(0), beat.eq(0), fetching.eq(1),
                ]
                m.next = "FETCH"
            with m.State("FETCH"):
                with m.If(self.data.valid & self.data.payload.last):
                    m.d.sync += fetching.eq(0)
                    m.next = "COMING" if c.far else "SUM"
            if c.far:
                with m.State("COMING"):
                    m.next = "SUM"
            with m.State("SUM"):
                m.next = "SETTLE"
            with m.State("SETTLE"):
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(~legal):
                    with m.If(self.settled):
                        m.d.comb += self.error.eq(1)
                        m.next = "IDLE"
                with m.Elif(~has_image):
                    m.next = "OFFER"
                with m.Elif(may_load):
                    m.next = "WEIGHTS"
            with m.State("WEIGHTS"):
                m.d.sync += [
                    left.eq(rows), bank.eq(0), row.eq(Mux(late, d.base, d.weight_base)),
                    self.jobs.payload.addr.eq(self.segment + Mux(late, d.offset, d.weight_addr)), self.jobs.valid.eq(rows != 0),
                    self.jobs.payload.beats.eq(rows << clog2(c.row_bits // c.axi_bits)), loads_rows.eq(1),
                ]
                m.next = "LOAD"
            with m.State("LOAD"):
                with m.If((left == 0) & ~self.jobs.valid & written):
                    m.d.sync += [loads_rows.eq(0), loads_params.eq(0)]
                    m.next = "PARAMS"
                    with m.If(late):
                        m.d.sync += late.eq(0)
                        go_on()
                    with m.Elif(loads_params):
                        m.next = "OFFER"
            with m.State("PARAMS"):
                m.d.sync += [
                    left.eq(d.param_beats << clog2(c.param_parts)), row.eq(d.param_base << clog2(c.param_parts)),
                    self.jobs.payload.addr.eq(self.segment + d.param_addr), self.jobs.valid.eq(d.param_beats != 0),
                    self.jobs.payload.beats.eq(d.param_beats << clog2(c.param_parts)), loads_params.eq(1),
                ]
                m.next = "LOAD"
            with m.State("OFFER"):
                m.d.comb += self.descriptors.valid.eq(1)
                with m.If(self.descriptors.ready):
                    with m.If(has_late):
                        m.d.sync += late.eq(1)
                        m.next = "WEIGHTS"
                    with m.Elif(d.opcode == int(Opcode.END)):
                        m.next = "IDLE"
                    with m.Else():
                        go_on()
        with m.If(self.jobs.valid & self.jobs.ready):
            m.d.sync += self.jobs.valid.eq(0)
        return m

    @staticmethod
    def model(config: Config, program: int, segment: int, memory: Mapping[int, int]) -> tuple[list[Load], bool]:
        """Twin: a program from memory by beat number, up to END or an illegal descriptor; whether it was END."""
        c, loads = config, list[Load]()

        def image(offset: int, count: int, bits: int) -> list[int]:
            job = {"addr": segment + offset, "beats": count * bits // c.axi_bits}
            return Widen.model([word for word, _ in ReadDma.model(c, [job], memory)], c.axi_bits, bits)

        while not loads or loads[-1].descriptor["opcode"] != Opcode.END:
            try:
                beats = image(program + len(loads) * BYTES, BYTES // c.axi_bytes, c.axi_bits)
                d = decode(Narrow.model(beats, c.axi_bits, 32))
                check_limits(d, c)
            except DescriptorError:
                return loads, False
            rows = image(d["weight_addr"], d["weight_rows"], c.row_bits)
            params = image(d["param_addr"], d["param_beats"] * c.param_parts, c.axi_bits)
            later = d["opcode"] in (Opcode.LINEAR, Opcode.HAMMING) and not c.lean
            late = image(d["offset"], d["count"] if later else 0, c.row_bits)
            apart = 1 if d["lanewise"] else c.issue
            loads.append(Load(d, [(d["lanewise"], i % c.issue, d["weight_base"] + i // apart, row) for i, row in enumerate(rows)],
                              [(d["param_base"] * c.param_parts + i, word) for i, word in enumerate(params)],
                              [(0, i % c.issue, d["base"] + i // c.issue, row) for i, row in enumerate(late)]))
        return loads, True
