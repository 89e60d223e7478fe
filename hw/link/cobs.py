"""COBS: frames without zeros, and a zero behind each (Cheshire and Baker, 1999)."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.spec.link import DELIMITER
from hw.link.items import byte_stream, items

FULL = 255  #: the code of the longest block: 254 bytes and no zero behind them


class CobsDecoder(wiring.Component):
    """Takes frames apart: a byte a cycle, no latency.

    Each byte of the line gives one item at most: a code the zero behind the block before it, or, the first, nothing. Empty
    frames give nothing. A frame that ends within a block is ``broken``.

    Ports
    -----
    line : stream of 8, in
    frames : stream of item_layout, out
    """

    def __init__(self) -> None:
        super().__init__({"line": In(byte_stream()), "frames": Out(items())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inside = Signal()  # a first code has come
        zero = Signal()  # the block that runs has a zero behind it, where another block follows
        left = Signal(8)  # bytes to come of the block
        byte, out = self.line.payload, self.frames.payload
        ends, speaks = Signal(), Signal()
        m.d.comb += [
            ends.eq(byte == DELIMITER), out.end.eq(ends), out.broken.eq(ends & (left != 0)),
            out.data.eq(Mux(left != 0, byte, 0)),
            speaks.eq(Mux(ends, inside, (left != 0) | (inside & zero))),
            self.frames.valid.eq(self.line.valid & speaks), self.line.ready.eq(self.frames.ready | ~speaks),
        ]
        with m.If(self.line.valid & self.line.ready):
            with m.If(ends):
                m.d.sync += [inside.eq(0), left.eq(0)]
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
            with m.Else():
                m.d.sync += [inside.eq(1), zero.eq(byte != FULL), left.eq(byte - 1)]
        return m

    @staticmethod
    def model(line: Iterable[int]) -> list[tuple[bytes, bool]]:
        """Twin: each frame that ended, as far as it could be read, and whether it was broken."""
        frames = []
        code, left, frame = 0, 0, bytearray()
        for byte in line:
            if byte == DELIMITER:
                if code:
                    frames.append((bytes(frame), left > 0))
                code, left, frame = 0, 0, bytearray()
            elif left:
                frame.append(byte)
                left -= 1
            else:
                if code not in (0, FULL):
                    frame.append(0)
                code, left = byte, byte - 1
        return frames


class CobsEncoder(wiring.Component):
    """Makes frames fit for the line. A block waits in a memory until its length is known: two cycles a byte.

    Ports
    -----
    frames : stream of item_layout, in
    line : stream of 8, out
    """

    def __init__(self) -> None:
        super().__init__({"frames": In(items()), "line": Out(byte_stream())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.block = block = Memory(shape=8, depth=256, init=[])
        write, read = block.write_port(), block.read_port()
        item = self.frames.payload
        count = Signal(8)  # bytes of the block
        sent, next_sent = Signal(8), Signal(8)  # of them
        ending, after_full = Signal(), Signal()  # the frame ends with this block; a full block went before
        m.d.comb += [
            write.addr.eq(count), write.data.eq(item.data),
            next_sent.eq(sent), read.addr.eq(next_sent),  # so that the memory always shows byte `sent`
        ]
        m.d.sync += sent.eq(next_sent)
        with m.FSM():
            with m.State("FILL"):
                m.d.comb += [self.frames.ready.eq(1), next_sent.eq(0)]
                m.d.sync += ending.eq(item.end)
                with m.If(self.frames.valid):
                    with m.If(item.end | (item.data == DELIMITER)):
                        m.next = "CODE"
                        with m.If(item.end & after_full & (count == 0)):
                            m.next = "END"
                    with m.Else():
                        m.d.comb += write.en.eq(1)
                        m.d.sync += count.eq(count + 1)
                        with m.If(count == FULL - 2):
                            m.next = "CODE"
            with m.State("CODE"):
                m.d.comb += [self.line.valid.eq(1), self.line.payload.eq(count + 1)]
                with m.If(self.line.ready):
                    m.d.sync += after_full.eq(count == FULL - 1)
                    m.next = "BLOCK"
            with m.State("BLOCK"):
                m.d.comb += [self.line.valid.eq(sent != count), self.line.payload.eq(read.data)]
                with m.If(sent == count):
                    m.d.sync += count.eq(0)
                    m.next = "FILL"
                    with m.If(ending):
                        m.next = "END"
                with m.Elif(self.line.ready):
                    m.d.comb += next_sent.eq(sent + 1)
            with m.State("END"):
                m.d.comb += [self.line.valid.eq(1), self.line.payload.eq(DELIMITER)]
                m.d.sync += after_full.eq(0)
                with m.If(self.line.ready):
                    m.next = "FILL"
        return m

    @staticmethod
    def model(frame: bytes) -> bytes:
        """Twin: what goes over the line for a frame."""
        line, block, code = bytearray(), bytearray(), 0
        for byte in frame:
            if byte != DELIMITER:
                block.append(byte)
            if byte == DELIMITER or len(block) == FULL - 1:
                code = len(block) + 1
                line += bytes([code]) + block
                block = bytearray()
        if block or code != FULL:
            line += bytes([len(block) + 1]) + block
        return bytes(line) + bytes([DELIMITER])
