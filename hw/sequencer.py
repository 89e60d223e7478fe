"""Back half of the sequencer: hands descriptors to their units, several of which run at once."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from hw.bus import Unit, counts_layout, descriptor_layout
from hw.recorder import record_layout
from hw.tracker import Tracker

UNITS = ("linear", "hamming", "mover")


class Sequencer(wiring.Component):
    """Takes descriptors in their order, each as soon as it may start.

    A descriptor starts when its unit is free, the descriptor before is done or ``beside``, no HAMMING runs where it is
    ``after_hamming``, and no LOAD or STORE where it is ``after_move``. END waits for all of them. One that is there starts 4
    cycles after the ``done`` that it waits for, or 1 after the start of the one before, as long as the recorder is done with
    the records before. Records come as descriptors end. END has none; it ends the program when the last one is written.

    Where the configuration is ``lean``, a descriptor starts in the cycle in which it is offered, and is taken when it is done;
    its number is the loader's.

    Ports
    -----
    descriptors : stream of descriptor_layout, in
    linear, hamming, mover : Unit, out
    records : stream of record_layout, out
        Ready again means: the last one is in memory.
    counts : Signal(counts_layout), in
        See `Tracker`; of LINEAR.
    idle : Signal(), out
        Nobody reads weights or parameters: neither LINEAR nor HAMMING runs.
    settled : Signal(), out
        No unit runs, and the last record is in memory.
    layer : Signal(16), out
        Number of the descriptor that was started last, or, when that is done or ``beside``, of the next one.
    error_layer : Signal(16), out
        Number of the descriptor that an error of memory belongs to: of the LOAD or STORE that runs, else ``layer``.
    finished : Signal(), out
        Pulses at the end of the program.
    progress : Signal(), out
        A unit that runs moves on.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "descriptors": In(stream.Signature(descriptor_layout())), **dict.fromkeys(UNITS, Out(Unit())),
            "records": Out(stream.Signature(record_layout())), "counts": In(counts_layout(config)), "idle": Out(1),
            "settled": Out(1), "layer": Out(16), "error_layer": Out(16), "finished": Out(1), "progress": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.config.lean:
            self._one_by_one(m)
            return m
        d = self.descriptors.payload
        trackers = [Tracker(self.config, name == "linear") for name in UNITS]
        number, wait = Signal(16), Signal(32)
        busy, running, begins, take = (Signal(len(UNITS), name=name) for name in ("busy", "running", "begins", "take"))
        for i, (name, tracker) in enumerate(zip(UNITS, trackers, strict=True)):
            m.submodules[name] = tracker
            connect(m, tracker.unit, flipped(getattr(self, name)))
            m.d.comb += [
                tracker.offer.eq(d), tracker.take.eq(take[i]), tracker.number.eq(number), tracker.wait.eq(wait),
                tracker.counts.eq(self.counts), busy[i].eq(tracker.busy), running[i].eq(tracker.running),
                begins[i].eq(tracker.begins),
            ]
        linear, hamming, mover = trackers

        # Who takes the descriptor, and for whom it has to wait.
        mine, before, ends, goes, over = Signal(len(UNITS)), Signal(len(UNITS)), Signal(), Signal(), Signal()
        with m.Switch(d.opcode):
            with m.Case(int(Opcode.LINEAR)):
                m.d.comb += mine.eq(0b001)
            with m.Case(int(Opcode.HAMMING)):
                m.d.comb += mine.eq(0b010)
            with m.Case(int(Opcode.LOAD), int(Opcode.STORE)):
                m.d.comb += mine.eq(0b100)
            with m.Default():
                m.d.comb += ends.eq(1)
        needs = before | mine | Cat(0, d.after_hamming, d.after_move) | ends.replicate(len(UNITS))
        m.d.comb += [
            goes.eq(self.descriptors.valid & ~over & ~(needs & busy).any() & (~ends | self.records.ready)),
            self.descriptors.ready.eq(goes), self.finished.eq(goes & ends), take.eq(mine & goes.replicate(len(UNITS))),
        ]
        with m.If(goes):
            m.d.sync += [number.eq(number + 1), over.eq(ends), before.eq(mine)]
            with m.If(d.beside):
                m.d.sync += before.eq(0)
        with m.If(goes | ~(before & busy).any()):
            m.d.sync += self.layer.eq(number)
        begun, beside, ran = Signal(), Signal(), Signal(init=1)  # what was a cycle ago: the count lies far away
        m.d.sync += [
            begun.eq(begins.any()), beside.eq(before == 0), ran.eq((before & running).any()),
            wait.eq(Mux(begun, beside, Mux(ran, 0, wait + 1))),
        ]

        # Records, one at a time.
        first = self.records.ready
        for tracker in trackers:
            m.d.comb += tracker.record.ready.eq(first)
            first = first & ~tracker.record.valid
        m.d.comb += [
            self.records.valid.eq(Cat(x.record.valid for x in trackers).any()),
            self.records.payload.eq(Mux(linear.record.valid, linear.record.payload,
                                        Mux(hamming.record.valid, hamming.record.payload, mover.record.payload))),
        ]
        m.d.comb += [
            self.idle.eq(~linear.busy & ~hamming.busy), self.settled.eq(~busy.any() & self.records.ready),
            self.error_layer.eq(self.layer), self.progress.eq(Cat(getattr(self, name).progress for name in UNITS).any()),
        ]
        with m.If(mover.running):
            m.d.comb += self.error_layer.eq(mover.layer)
        return m

    def _one_by_one(self, m: Module) -> None:
        """A lean machine: who offers a descriptor keeps it until its unit is done, and nothing is recorded."""
        d = self.descriptors.payload
        units = [getattr(self, name) for name in UNITS]
        linear, hamming, mover = units
        here, running, done = self.descriptors.valid, Signal(), Signal()
        ends = d.opcode == int(Opcode.END)
        starts = here & ~running
        m.d.comb += [
            *(unit.descriptor.eq(d) for unit in units), linear.start.eq(starts & (d.opcode == int(Opcode.LINEAR))),
            hamming.start.eq(starts & (d.opcode == int(Opcode.HAMMING))),
            mover.start.eq(starts & (d.opcode > int(Opcode.HAMMING))), done.eq(Cat(unit.done for unit in units).any()),
            self.finished.eq(here & ends),
            self.descriptors.ready.eq(done | ends), self.idle.eq(1), self.settled.eq(1),
            self.progress.eq(Cat(unit.progress for unit in units).any()),
        ]
        with m.If(here):
            m.d.sync += running.eq(~done)
