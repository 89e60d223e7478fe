"""Runs LOAD and STORE: moves tensors between memory and scratchpad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.descriptor import Opcode
from hw.bus import SpikeRead, SpikeWrite, Unit, mover_waits, read_word, u_read, u_write
from hw.gearbox import Narrow, Widen
from hw.jobs import beats, jobs
from hw.near import near
from hw.queue import Queue
from hw.read_dma import ReadDma
from hw.write_dma import WriteDma


@dataclass
class Moves:
    """What a LOAD or STORE writes, in order (twins only)."""

    spikes: list[tuple[int, int, int]]  #: bank, address, word
    u: list[tuple[int, int]]  #: address, beat
    memory: list[tuple[int, int]]  #: number of the AXI beat, data


class Mover(wiring.Component):
    """Copies ``count`` spike words or residual beats; one AXI beat per cycle, and about 10 cycles and a memory latency.

    STORE of residual values takes two or three more cycles for each beat, so that no path leads from the bus to the scratchpad
    and back; spike words are read as long as a short queue has room for them. STORE writes `STORE_BEATS` AXI beats at a time,
    between which others may write. Both wait where LINEAR uses the scratchpad.

    Consecutive spike words fill ``step_stride`` words of each bank in turn, so that a bank holds its core's time steps.

    Ports
    -----
    unit : Unit, in
    waits : Signal(mover_waits), in
    segments : Signal(ArrayLayout(32, 4)), in
    read_jobs : stream of job_layout, out
    read_data : stream of beat_layout, in
    write_jobs : stream of job_layout, out
    write_data : stream of axi_bits, out
    written : Signal(), in
        Pulses when the write job's last response has come.
    spike_read, spike_write, u_read, u_write : out
        The scratchpad. A read's ``en`` asks, whether or not it has to wait.
    """

    STORE_BEATS = 64
    WAITING = 4  #: spike words on their way to the bus: as many as cycles from when one leaves until one more is there

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "unit": In(Unit()), "waits": In(mover_waits(config)), "segments": In(data.ArrayLayout(32, 4)),
            "read_jobs": Out(jobs()), "read_data": In(beats(config.axi_bits)),
            "write_jobs": Out(jobs()), "write_data": Out(stream.Signature(config.axi_bits)), "written": In(1),
            "spike_read": Out(SpikeRead(config)), "spike_write": Out(SpikeWrite(config)),
            "u_read": Out(u_read(config)), "u_write": Out(u_write(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, d = self.config, self.unit.descriptor
        wide_bits, short_bits = max(c.word, c.u_beat_bits), min(c.word, c.u_beat_bits)
        # From the cycle after the start on.
        space, load_space = (near(m, d.space, 1, name)[0] for name in ("space", "load_space"))
        loading, storing = Signal(), Signal()

        # Where the next word lies: an address that runs through step_stride words of a bank, then starts again in the next.
        depth = max(c.spike_words * c.cores, c.u_beats)
        left, addr, block, run, bank, more = (Signal(shape, name=name, reset_less=True) for name, shape in (
            ("left", range(depth + 1) if c.lean else 21), ("addr", range(depth)), ("block", range(depth)), ("run", 16),
            ("bank", clog2(c.cores)), ("more", 1)))
        next_more = Signal()  # left is not 0: what ``more`` will be
        step, block_over = Signal(), Signal()
        m.d.comb += [block_over.eq((run == 1) & ~space), next_more.eq(Mux(step, left != 1, more))]
        m.d.sync += more.eq(next_more)
        next_bank = Mux(step & block_over, bank + 1, bank)[:len(bank)]
        with m.If(step):
            m.d.sync += [left.eq(left - 1), addr.eq(addr + 1)]
            if c.cores > 1:
                m.d.sync += run.eq(run - 1)
                with m.If(block_over):
                    m.d.sync += [run.eq(d.step_stride), bank.eq(next_bank), addr.eq(block)]
                    with m.If(bank == c.cores - 1):
                        m.d.sync += [addr.eq(addr + 1), block.eq(addr + 1)]

        # LOAD
        m.submodules.widen = widen = Widen(c.axi_bits, wide_bits, short_bits)
        put, waits = Signal(), Signal()
        m.d.sync += waits.eq(Mux(load_space, self.waits.u_write, self.waits.spike_write.bit_select(next_bank, 1)))
        m.d.comb += [
            widen.short.eq(load_space ^ (c.u_beat_bits > c.word)), widen.narrow.payload.eq(self.read_data.payload.data),
            widen.wide.ready.eq(~waits),
            widen.narrow.valid.eq(self.read_data.valid & loading), self.read_data.ready.eq(widen.narrow.ready & loading),
            put.eq(widen.wide.valid & loading & ~waits),
            *(self.spike_write.addr[i].eq(addr) for i in range(c.cores)),
            *(self.spike_write.data[i].eq(widen.wide.payload) for i in range(c.cores)),
            *(self.spike_write.mask[i].eq((put & ~load_space & (bank == i)).replicate(c.word // c.neuron_lanes))
              for i in range(c.cores)),
            self.u_write.addr.eq(addr), self.u_write.data.eq(widen.wide.payload), self.u_write.en.eq(put & load_space),
        ]

        # STORE: what is read comes to registers (memory is slow). Residual values wait there until the gearbox takes them, spike
        # words in a queue; these are asked for while there is room, so that one goes each cycle. Without a queue, where the bus
        # takes no beat a cycle anyway, they wait as residual values do.
        m.submodules.narrow = narrow = Narrow(wide_bits, c.axi_bits, short_bits)
        ask_spikes, ask_values, fetch, coming, here, spike = *(Signal() for _ in range(5)), Signal(c.word)
        words = read_word(m, self.spike_read, addr)
        spikes, beat = Signal(c.cores * c.word, reset_less=True), Signal.like(self.u_read.data, reset_less=True)
        coming_bank, queued = Signal.like(bank), Const(0) if c.lean else ~space
        next_here = Signal()
        asking = Signal(name="ask_near0") if c.far else ask_spikes  # the engine's own, where the ports are far
        m.d.comb += [
            fetch.eq((asking & ~self.waits.spike_read) | (ask_values & ~self.waits.u_read)),
            self.spike_read.en.eq(ask_spikes), self.u_read.en.eq(ask_values), self.u_read.addr.eq(addr),
            narrow.short.eq(space ^ (c.u_beat_bits > c.word)), narrow.wide.valid.eq(here),
            narrow.wide.payload.eq(Mux(space, beat, spike)), self.write_data.payload.eq(narrow.narrow.payload),
            self.write_data.valid.eq(narrow.narrow.valid), narrow.narrow.ready.eq(self.write_data.ready),
        ]
        if c.lean:
            asks = storing & more & ~coming & ~here
            m.d.comb += [ask_spikes.eq(asks & ~space), ask_values.eq(asks & space)]
        else:  # known a cycle ahead: who asks for the ports of the scratchpad steers all of them
            m.submodules.waiting = waiting = Queue(c.word, self.WAITING)
            room, taken = Signal(range(self.WAITING + 1), init=self.WAITING), Signal()
            next_room = Signal.like(room)
            m.d.comb += [
                waiting.w_data.eq(spike), waiting.w_en.eq(here & ~space), waiting.r_en.eq(narrow.wide.ready & ~space),
                taken.eq(waiting.r_rdy & waiting.r_en),
            ]
            m.d.comb += next_room.eq(room - (fetch & ~space) + taken)
            asks = storing & next_more & ~space & (next_room != 0)
            m.d.sync += [
                room.eq(next_room), ask_spikes.eq(asks),
                ask_values.eq(storing & next_more & space & ~fetch & ~next_here),
            ]
            if c.far:
                m.d.sync += asking.eq(asks)
            with m.If(~space):
                m.d.comb += [narrow.wide.valid.eq(waiting.r_rdy), narrow.wide.payload.eq(waiting.r_data)]
        m.d.sync += [coming.eq(fetch), coming_bank.eq(bank)]
        m.d.comb += next_here.eq(coming | (here & ~(narrow.wide.ready | queued)))
        m.d.sync += here.eq(next_here)
        next_here_bank = Signal.like(bank)
        if c.far:
            here_banks = near(m, next_here_bank, c.word, "here_bank")
        else:
            here_banks = [Signal.like(bank)] * c.word
            m.d.sync += here_banks[0].eq(next_here_bank)
        m.d.comb += [
            next_here_bank.eq(Mux(coming, coming_bank, here_banks[0])),
            *(bit.eq(spikes[i::c.word].bit_select(at, 1)) for i, (bit, at) in enumerate(zip(spike, here_banks, strict=True))),
        ]
        if c.lean:  # nobody else reads meanwhile: the memories hold it
            m.d.comb += [spikes.eq(words), beat.eq(self.u_read.data)]
        else:
            with m.If(coming):
                m.d.sync += [spikes.eq(words), beat.eq(self.u_read.data)]

        # Jobs: a LOAD is one, a STORE as many as it takes, or one where nobody else writes.
        source, beats = self.read_jobs.payload.addr, self.read_jobs.payload.beats  # not stored yet
        all_written = Signal()
        m.d.comb += [
            step.eq(put | fetch), self.unit.progress.eq(step | (self.write_data.valid & self.write_data.ready)),
            self.write_jobs.payload.addr.eq(source), self.write_jobs.payload.beats.eq(beats), all_written.eq(1),
        ]
        with m.If(self.read_jobs.ready):
            m.d.sync += self.read_jobs.valid.eq(0)
        with m.If(self.write_jobs.ready):
            m.d.sync += self.write_jobs.valid.eq(0)
        where = [source.eq(self.segments.as_value().word_select(d.segment, 32) + d.offset),
                 beats.eq(d.count[:len(left)] << Mux(d.space, clog2(c.u_beat_bits // c.axi_bits), clog2(c.word // c.axi_bits)))]
        if c.lean:
            m.d.comb += where
        else:
            piece, long = clog2(self.STORE_BEATS), Signal()
            m.d.comb += [long.eq(beats[piece:].any()), all_written.eq(beats == 0),
                         self.write_jobs.payload.beats.eq(Mux(long, self.STORE_BEATS, beats[:piece]))]
            with m.If(self.write_jobs.valid & self.write_jobs.ready):
                m.d.sync += [beats[piece:].eq(beats[piece:] - 1), source.eq(source + self.STORE_BEATS * c.axi_bytes)]
                with m.If(~long):
                    m.d.sync += beats.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    left.eq(d.count), more.eq(1), addr.eq(d.base), block.eq(d.base), run.eq(d.step_stride), bank.eq(0),
                ]
                if not c.lean:
                    m.d.sync += where
                with m.If(self.unit.start):
                    with m.If(d.opcode == int(Opcode.LOAD)):
                        m.d.sync += self.read_jobs.valid.eq(1)
                        m.next = "LOAD"
                    with m.Else():
                        m.next = "PIECE"
            with m.State("LOAD"):
                m.d.comb += loading.eq(1)
                with m.If(~more):
                    m.d.comb += self.unit.done.eq(1)
                    m.next = "IDLE"
            with m.State("PIECE"):  # in this cycle others may ask for the engine
                m.d.comb += storing.eq(1)
                m.d.sync += self.write_jobs.valid.eq(1)
                m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += storing.eq(1)
                with m.If(self.written):
                    m.next = "PIECE"
                    with m.If(all_written):
                        m.d.comb += self.unit.done.eq(1)
                        m.next = "IDLE"
        return m

    @staticmethod
    def model(config: Config, d: Mapping[str, int], segments: Sequence[int], memory: Mapping[int, int],
              banks: Sequence[Sequence[int]], u: Sequence[int]) -> Moves:
        """Twin: the writes of a descriptor, from memory by beat number, the spike banks and the residual memory."""
        c, run = config, d["step_stride"]
        bits = c.u_beat_bits if d["space"] else c.word
        job = {"addr": segments[d["segment"]] + d["offset"], "beats": d["count"] * bits // c.axi_bits}
        if d["space"]:
            places = [(0, d["base"] + i) for i in range(d["count"])]
        else:
            places = [(i // run % c.cores, d["base"] + i // (run * c.cores) * run + i % run) for i in range(d["count"])]
        if d["opcode"] == Opcode.STORE:
            words = [u[at] if d["space"] else banks[bank][at] for bank, at in places]
            return Moves([], [], WriteDma.model(c, [job], Narrow.model(words, bits, c.axi_bits)))
        words = Widen.model([word for word, _ in ReadDma.model(c, [job], memory)], c.axi_bits, bits)
        loaded = [(bank, at, word) for (bank, at), word in zip(places, words, strict=True)]
        return Moves([], [(at, word) for _, at, word in loaded], []) if d["space"] else Moves(loaded, [], [])
