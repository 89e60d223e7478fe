"""Starts and ends a run, well or badly."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.registers import ErrorCode


class Supervisor(wiring.Component):
    """The state of the whole machine: at rest, running, or draining the bus after a run.

    A run ends with its program, an error or an abort. Then everything is held in reset (``flush``) except the DMA
    engines, which answer what the bus still owes (``stop``) until ``drained``. A start that comes meanwhile waits
    (``busy``, and the watchdog counts); an abort forgets it. If memory never answers, an abort while draining with no start
    waiting resets the engines (``kill``), after which they are drained.

    ``flush`` has as many cycles as registers that it passes on its way to thousands of others (`hw.near`) do not matter: it is
    high for at least `HOLD` cycles, in which pipelines of data empty that are not reset, and ``go`` comes `START` cycles after
    ``start``, where nothing is to be drained, when all of them know that it is over.

    Parameters
    ----------
    watchdog_bits : int
        Width of the limit.

    Ports
    -----
    start, abort : Signal(), in
    watchdog : Signal(watchdog_bits), in
        Cycles without ``progress`` after which a run fails; 0: never.
    progress : Signal(), in
    finished : Signal(), in
        The program ended.
    illegal, read_error, write_error : Signal(), in
    loader_layer, layer : Signal(16), in
        Descriptors being loaded and being executed.
    loader_reads : Signal(), in
        What is being read is the loader's.
    drained : Signal(), in
        The DMA engines are idle.
    go : Signal(), out
        Pulses at the beginning of a run, two cycles after ``flush`` goes down.
    busy, flush, stop, kill : Signal(), out
    well, error : Signal(), out
        Pulses in the last cycle of a run, so that the registers never show a run that is neither busy nor over.
    code, error_layer : Signal(), out
        With ``error``.
    """

    HOLD, START = 12, 4

    def __init__(self, watchdog_bits: int = 32) -> None:
        super().__init__({
            "start": In(1), "abort": In(1), "watchdog": In(watchdog_bits), "progress": In(1), "finished": In(1), "illegal": In(1),
            "read_error": In(1), "write_error": In(1), "loader_layer": In(16), "layer": In(16), "loader_reads": In(1),
            "drained": In(1), "go": Out(1), "busy": Out(1), "flush": Out(1, init=1), "stop": Out(1), "kill": Out(1),
            "well": Out(1), "error": Out(1), "code": Out(ErrorCode), "error_layer": Out(16),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        quiet, expired = Signal.like(self.watchdog), Signal()
        m.d.sync += [
            quiet.eq(Mux(self.progress | ~self.busy | (self.watchdog == 0), 0, quiet + 1)),
            expired.eq((quiet >= self.watchdog) & (self.watchdog != 0) & self.busy & ~self.progress),
        ]
        pending, in_loader = Signal(), Signal()
        m.d.comb += [
            in_loader.eq(self.illegal | (self.read_error & self.loader_reads)),
            self.error_layer.eq(Mux(in_loader, self.loader_layer, self.layer)),
        ]
        resetting, begin, beginning, held = Signal(), Signal(), Signal(self.START - 1), Signal(range(self.HOLD))
        m.d.sync += [
            self.flush.eq(resetting), self.kill.eq(0), Cat(beginning, self.go).eq(Cat(begin, beginning)),
            held.eq(Mux(resetting, held + (held != self.HOLD - 1), 0)),
        ]

        def fail(code: ErrorCode) -> None:
            m.d.comb += [self.error.eq(1), self.code.eq(code)]

        m.d.comb += resetting.eq(1)
        with m.FSM():  # ``stop`` is a register of its own, since it goes far: high in DRAIN
            with m.State("REST"):
                with m.If(self.start):
                    m.d.comb += begin.eq(1)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [resetting.eq(0), self.busy.eq(1)]
                with m.If(self.abort):
                    pass  # goes before all else
                with m.Elif(self.read_error):
                    fail(ErrorCode.READ)
                with m.Elif(self.write_error):
                    fail(ErrorCode.WRITE)
                with m.Elif(self.illegal):
                    fail(ErrorCode.DESCRIPTOR)
                with m.Elif(expired):
                    fail(ErrorCode.WATCHDOG)
                with m.Elif(self.finished):
                    m.d.comb += self.well.eq(1)
                with m.If(self.abort | self.error | self.well):
                    m.d.sync += self.stop.eq(1)
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += self.busy.eq(pending)
                with m.If(self.start):
                    m.d.sync += pending.eq(1)
                with m.If(self.abort & pending):
                    m.d.sync += pending.eq(0)
                with m.Elif(self.abort):
                    m.d.sync += self.kill.eq(1)
                with m.Elif(pending & expired):
                    m.d.sync += pending.eq(0)
                    fail(ErrorCode.WATCHDOG)
                with m.Elif(self.drained & (held == self.HOLD - 1)):
                    m.d.sync += [pending.eq(0), self.stop.eq(0)]
                    m.next = "REST"
                    with m.If(pending | self.start):
                        m.d.comb += begin.eq(1)
                        m.next = "RUN"
        return m
