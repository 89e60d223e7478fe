"""A serial line and a network in front of one link."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.link import DELIMITER
from hw.link.datagrams import peer_layout
from hw.link.items import byte_stream
from hw.queue import Queue

WAITING_BYTES = 512  #: of requests: more than the longest; one block RAM


class FrameQueue(wiring.Component):
    """Keeps the bytes of a line until the end of their frame has come, so that a frame, once begun, goes on to its end.

    A queue that is full before that gives all it has, with an end of its own: it was no frame.

    Parameters
    ----------
    depth : int
        Bytes.

    Ports
    -----
    line : stream of 8, in
    frames : stream of 8, out
    """

    def __init__(self, depth: int = WAITING_BYTES) -> None:
        self.depth = depth
        super().__init__({"line": In(byte_stream()), "frames": Out(byte_stream())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = Queue(8, self.depth, block=True)
        whole = Signal(range(self.depth + 1))  # frames in the queue
        drains, left = Signal(), Signal(range(self.depth + 1))
        cut, taken = Signal(), Signal()
        m.d.comb += [
            self.line.ready.eq(queue.level != self.depth), queue.w_data.eq(self.line.payload),
            queue.w_en.eq(self.line.valid & self.line.ready),
            cut.eq(drains & (left == 0)), self.frames.payload.eq(Mux(cut, DELIMITER, queue.r_data)),
            self.frames.valid.eq(cut | (queue.r_rdy & (drains | (whole != 0)))), taken.eq(self.frames.valid & self.frames.ready),
            queue.r_en.eq(taken & ~cut),
        ]
        came, went = queue.w_en & (queue.w_data == DELIMITER), queue.r_en & (queue.r_data == DELIMITER)
        m.d.sync += whole.eq(whole + came - went)
        with m.If(~drains):
            m.d.sync += [drains.eq((queue.level == self.depth) & (whole == 0)), left.eq(self.depth)]
        with m.Elif(taken):
            m.d.sync += [left.eq(left - 1), drains.eq(~cut)]
        return m

    @staticmethod
    def model(line: bytes, depth: int) -> bytes:
        """Twin: what is given of a line that ends with a frame, where nothing is taken before the queue is full."""
        given = bytearray()
        for part in line.split(bytes([DELIMITER]))[:-1]:
            while len(part) >= depth:
                given += part[:depth] + bytes([DELIMITER])
                part = part[depth:]
            given += part + bytes([DELIMITER])
        return bytes(given)


class Lines(wiring.Component):
    """Gives the link to the serial line or the network, for a frame, in turn where both have one; the answer goes to who asked.

    Who asked is noted as the end of a frame goes to the link, and that waits until no answer is on its way. So the beginning of
    the next frame still ends a WAIT. A byte every second cycle: block RAM gives its data late in the cycle, and they go through a
    register; more than the serial line needs.

    Ports
    -----
    serial, network : stream of 8, in
        Whole frames: what has begun goes on.
    asker : peer_layout, in
        Who in the network sent the byte on offer.
    requests : stream of 8, out
    answers : stream of 8, in
    active : Signal(), in
        The link works on a request, or answers.
    serial_answers, network_answers : stream of 8, out
    asked : peer_layout, out
        Whom the answer is for, if for the network.
    """

    def __init__(self) -> None:
        super().__init__({
            "serial": In(byte_stream()), "network": In(byte_stream()), "asker": In(peer_layout()),
            "requests": Out(byte_stream()), "answers": In(byte_stream()), "active": In(1),
            "serial_answers": Out(byte_stream()), "network_answers": Out(byte_stream()), "asked": Out(peer_layout()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inside, owner, turn = Signal(), Signal(), Signal()  # 0: the serial line, 1: the network
        answering, to_network = Signal(), Signal()
        offered, byte, moves, ends = Signal(), Signal(8), Signal(), Signal()
        requests, answers = self.requests, self.answers
        m.d.comb += [
            turn.eq(Mux(inside, owner, Mux(self.serial.valid & self.network.valid, ~owner, self.network.valid))),
            offered.eq(Mux(turn, self.network.valid, self.serial.valid)),
            byte.eq(Mux(turn, self.network.payload, self.serial.payload)), ends.eq(inside & (byte == DELIMITER)),
            moves.eq(offered & ~requests.valid & ~(ends & (self.active | answering | answers.valid))),
            self.serial.ready.eq(moves & ~turn), self.network.ready.eq(moves & turn),
        ]
        with m.If(requests.ready):
            m.d.sync += requests.valid.eq(0)
        with m.If(moves):
            m.d.sync += [requests.payload.eq(byte), requests.valid.eq(1), owner.eq(turn), inside.eq(byte != DELIMITER)]
            with m.If(ends):
                m.d.sync += [to_network.eq(turn), self.asked.eq(self.asker)]

        m.d.comb += [
            self.serial_answers.payload.eq(answers.payload), self.network_answers.payload.eq(answers.payload),
            self.serial_answers.valid.eq(answers.valid & ~to_network), self.network_answers.valid.eq(answers.valid & to_network),
            answers.ready.eq(Mux(to_network, self.network_answers.ready, self.serial_answers.ready)),
        ]
        with m.If(answers.valid & answers.ready):
            m.d.sync += answering.eq(answers.payload != DELIMITER)
        return m
