"""The serial line: 8 bits, no parity, one stop bit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hw.link.items import byte_stream

BITS = 10  #: of a byte on the line: start, eight of data, lowest first, stop
LEAST_DIVISOR = 4  #: the vote of the receiver takes three cycles of a bit


class UartReceiver(wiring.Component):
    """Bytes from the line. Each bit is the majority of three samples around its middle.

    A byte without its stop bit (noise, a break, another speed) is dropped, and so is one that comes while the one before is
    not taken: the CRC of the frame tells. The line must be idle before the next start bit counts.

    Parameters
    ----------
    divisor : int
        Cycles of a bit.

    Ports
    -----
    rx : Signal(), in
        The pin, asynchronous.
    received : stream of 8, out
    """

    def __init__(self, divisor: int) -> None:
        assert divisor >= LEAST_DIVISOR, f"divisor = {divisor} < {LEAST_DIVISOR}"
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "received": Out(byte_stream())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        level, before, vote = Signal(init=1), Signal(2, init=3), Signal()
        m.submodules.synchroniser = FFSynchronizer(self.rx, level, init=1)
        m.d.sync += before.eq(Cat(level, before))
        m.d.comb += vote.eq((level & before[0]) | (level & before[1]) | (before[0] & before[1]))
        timer = Signal(range(self.divisor))
        count = Signal(range(BITS))
        bits = Signal(8)
        with m.If(self.received.ready):
            m.d.sync += self.received.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [timer.eq(self.divisor // 2), count.eq(0)]
                with m.If(~level):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += [timer.eq(self.divisor - 1), count.eq(count + 1), bits.eq(Cat(bits[1:], vote))]
                    with m.If((count == 0) & vote):  # no start bit, but a spike
                        m.next = "IDLE"
                    with m.If(count == BITS - 1):
                        m.next = "GAP"
                        with m.If(level):  # with few cycles to a bit the next start may begin at once
                            m.next = "IDLE"
                        with m.If(vote & (self.received.ready | ~self.received.valid)):
                            m.d.sync += [self.received.payload.eq(bits), self.received.valid.eq(1)]
            with m.State("GAP"):
                with m.If(level):
                    m.next = "IDLE"
        return m

    @staticmethod
    def model(divisor: int, levels: Sequence[int]) -> list[int]:
        """Twin: the bytes, all taken at once, from the line's level in each cycle; the line has been idle before."""
        found: list[int] = []
        at = 0
        while at < len(levels):
            if levels[at]:
                at += 1
                continue
            middles = [at + divisor // 2 + i * divisor for i in range(BITS)]
            if middles[-1] + 1 >= len(levels):
                break
            bits = [sum(levels[x - 1:x + 2]) >= 2 for x in middles]
            if bits[0]:
                at = middles[0] + 2
                continue
            if bits[-1]:
                found.append(sum(bit << i for i, bit in enumerate(bits[1:-1])))
            at = middles[-1] + 1
            while at < len(levels) and not levels[at]:
                at += 1
            at += 1
        return found


class UartTransmitter(wiring.Component):
    """Bytes to the line, one in `BITS` bits.

    Parameters
    ----------
    divisor : int
        Cycles of a bit.

    Ports
    -----
    send : stream of 8, in
    tx : Signal(), out
        The pin.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__({"send": In(byte_stream()), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer = Signal(range(self.divisor))
        bits = Signal(BITS)  # still to be sent; 0 when there are none
        m.d.comb += self.send.ready.eq((bits == 0) & (timer == 0))
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits != 0):
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(bits[1:]), timer.eq(self.divisor - 1)]
        with m.Elif(self.send.valid):
            # the start bit goes out at once; the stop bit is the last 1
            m.d.sync += [self.tx.eq(0), bits.eq(Cat(self.send.payload, 1)), timer.eq(self.divisor - 1)]
        return m

    @staticmethod
    def model(divisor: int, data: Iterable[int]) -> list[int]:
        """Twin: the line's level in each cycle where the bytes come one behind the other."""
        return [level for byte in data for level in (0, *(byte >> i & 1 for i in range(8)), 1) for _ in range(divisor)]
