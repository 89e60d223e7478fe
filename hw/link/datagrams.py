"""Between the link's bytes and a UDP core's datagrams."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.spec.link import DELIMITER, FRAME_BYTES
from hw.link.items import byte_stream

WORD_BYTES = 4  #: a word a cycle of 60 MHz is more than the gigabit per second of the line, a byte would be less
RING_WORDS = 512  #: one block RAM: four of the longest requests
ANSWER_WORDS = 128
LEAST_WORDS = 5  #: of an answer; LiteEth's core does not fill up all frames that are shorter than the least
PATIENCE = 1 << 20  #: cycles after which a core that takes no word is not waited for; 17 ms at 60 MHz

assert FRAME_BYTES + FRAME_BYTES // 254 + 2 <= ANSWER_WORDS * WORD_BYTES, "no room for the longest answer"


def peer_layout() -> data.StructLayout:
    """Somebody in the network: IPv4 address and UDP port."""
    return data.StructLayout({"address": 32, "port": 16})


def datagram_words(**more: int) -> stream.Signature:
    """Words of datagrams, lowest byte first; ``last`` is the last one of each. All else stays during a datagram, and is ``more``.

    ``length``: its bytes; a sender may lie.
    """
    return stream.Signature(data.StructLayout({"data": 8 * WORD_BYTES, "last": 1, "length": 16, "peer": peer_layout(), **more}))


@dataclass(frozen=True)
class Datagram:
    """What the twins see of a datagram; ``length`` is what its header says."""

    address: int
    port: int
    data: bytes
    length: int
    error: bool = False


class DatagramReceiver(wiring.Component):
    """Keeps datagrams in a ring, whole ones only, and gives their bytes, behind each datagram the end of a frame.

    In the ring a datagram is a word with the address that it came from, one with port and size, and its words. One that was
    damaged on the line, that is empty, or for which there is no room, is dropped. Nobody is made to wait for the link: a datagram
    takes a cycle for each of its words and two more.

    Parameters
    ----------
    words : int
        Of the ring; one stays free.

    Ports
    -----
    received : stream of words, in
        ``error``, with the last one: the datagram is damaged.
    requests : stream of 8, out
    asker : peer_layout, out
        Where the byte on offer came from.
    """

    def __init__(self, words: int = RING_WORDS) -> None:
        self.words = words
        super().__init__({
            "received": In(datagram_words(error=1)), "requests": Out(byte_stream()), "asker": Out(peer_layout()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = Memory(shape=8 * WORD_BYTES, depth=self.words, init=[])
        write, read = ring.write_port(), ring.read_port()
        places = range(self.words)
        begin, at = Signal(places), Signal(places)  # of the datagram that comes, its first word and the next one
        first, next_read = Signal(places), Signal(places)  # of the datagram that is given: all behind is kept
        came = self.received.payload
        sizes = range(self.words * WORD_BYTES + 1)
        size, written, port = Signal(sizes), Signal(sizes), Signal(16)
        lost, behind = Signal(), Signal(places)  # the next datagram's place, where there may be fewer bytes than words came
        m.d.comb += behind.eq(Mux(lost, begin, begin + 2 + (size + WORD_BYTES - 1) // WORD_BYTES))
        m.d.comb += [write.addr.eq(at), write.data.eq(came.data), written.eq(((at - begin)[:len(at)] - 2) * WORD_BYTES)]

        def room(words: int) -> Signal:
            """So many more can be written."""
            there = Signal(name=f"room{words}")
            m.d.comb += there.eq((first - at - 1)[:len(at)] >= words)
            return there

        with m.FSM(name="receiving"):
            with m.State("ADDRESS"):
                m.d.comb += write.data.eq(came.peer.address)
                m.d.sync += [port.eq(came.peer.port), lost.eq(~room(2))]
                with m.If(self.received.valid):
                    m.next = "WORDS"
                    with m.If(room(2)):
                        m.d.comb += write.en.eq(1)
                        m.d.sync += at.eq(at + 2)
            with m.State("WORDS"):
                m.d.comb += self.received.ready.eq(1)
                with m.If(self.received.valid):
                    with m.If(room(1) & ~lost):
                        m.d.comb += write.en.eq(1)
                        m.d.sync += at.eq(at + 1)
                    with m.Else():
                        m.d.sync += lost.eq(1)
                    with m.If(came.last):
                        m.d.sync += size.eq(Mux(came.length < written + WORD_BYTES, came.length, written + WORD_BYTES))
                        with m.If(came.error | (came.length == 0)):
                            m.d.sync += lost.eq(1)
                        m.next = "SIZE"
            with m.State("SIZE"):
                m.d.comb += [write.addr.eq(begin + 1), write.data.eq(Cat(port, size)), write.en.eq(~lost)]
                m.d.sync += [begin.eq(behind), at.eq(behind)]
                m.next = "ADDRESS"

        left, step = Signal(sizes), Signal(range(WORD_BYTES))
        m.d.comb += [read.addr.eq(next_read), read.en.eq(0)]
        with m.FSM(name="giving"):
            with m.State("EMPTY"):
                m.d.sync += next_read.eq(first)
                m.d.comb += [read.addr.eq(first), read.en.eq(first != begin)]
                with m.If(first != begin):
                    m.d.sync += next_read.eq(first + 1)
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += read.en.eq(1)
                m.d.sync += [self.asker.address.eq(read.data), next_read.eq(next_read + 1)]
                m.next = "SIZE"
            with m.State("SIZE"):
                m.d.sync += Cat(self.asker.port, left).eq(read.data)
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += read.en.eq(left != 0)
                with m.If(left != 0):
                    m.d.sync += next_read.eq(next_read + 1)
                m.next = "BYTES"
            with m.State("BYTES"):
                m.d.comb += [
                    self.requests.valid.eq(1),
                    self.requests.payload.eq(Mux(left == 0, DELIMITER, read.data.word_select(step, 8))),
                ]
                with m.If(self.requests.ready):
                    m.d.sync += [left.eq(left - 1), step.eq(step + 1)]
                    with m.If(left == 0):
                        m.d.sync += [step.eq(0), first.eq(next_read)]
                        m.next = "EMPTY"
                    with m.Elif(step == WORD_BYTES - 1):
                        m.next = "FETCH"
        return m

    @staticmethod
    def model(datagrams: Iterable[Datagram]) -> list[tuple[int, int, bytes]]:
        """Twin: address, port and bytes of each datagram, where there is room for all."""
        found = []
        for x in datagrams:
            words = -(-len(x.data) // WORD_BYTES) * WORD_BYTES
            if x.length and not x.error:
                found.append((x.address, x.port, x.data.ljust(words, b"\0")[:x.length] + bytes([DELIMITER])))
        return found


class DatagramSender(wiring.Component):
    """Collects an answer, then sends it to who asked, since a datagram's length goes before it.

    It is filled up to whole words, and at least `LEAST_WORDS`, with ends of frames, which mean nothing more. An answer that is
    too long, or that comes while the core has taken no word for `PATIENCE` cycles, is lost: whoever asked asks again.

    Parameters
    ----------
    patience : int

    Ports
    -----
    answers : stream of 8, in
    asker : peer_layout, in
        As the answer ends.
    sent : stream of words, out
    """

    def __init__(self, patience: int = PATIENCE) -> None:
        self.patience = patience
        super().__init__({"answers": In(byte_stream()), "asker": In(peer_layout()), "sent": Out(datagram_words())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.answer = answer = Memory(shape=8 * WORD_BYTES, depth=ANSWER_WORDS, init=[])
        write, read = answer.write_port(), answer.read_port()
        places = range(ANSWER_WORDS)
        words, at, next_at = Signal(places), Signal(places), Signal(places)  # before the last one; the one that is sent
        word, step = Signal(8 * WORD_BYTES), Signal(range(WORD_BYTES))
        skips = Signal()  # what comes until the next end of a frame is lost
        timer = Signal(range(self.patience + 1))
        byte, ends, out = self.answers.payload, Signal(), self.sent.payload
        m.d.comb += [
            ends.eq(byte == DELIMITER), write.addr.eq(words),
            read.addr.eq(next_at), next_at.eq(at), out.data.eq(read.data), out.last.eq(at == words),
            out.length.eq((words + 1) * WORD_BYTES),
        ]
        m.d.sync += at.eq(next_at)
        with m.FSM():
            with m.State("COLLECT"):
                m.d.comb += [self.answers.ready.eq(1), next_at.eq(0)]
                m.d.sync += timer.eq(0)
                with m.If(self.answers.valid):
                    m.d.sync += step.eq(step + 1)
                    with m.Switch(step):
                        for i in range(WORD_BYTES):
                            with m.Case(i):
                                m.d.comb += write.data.eq(Cat(word[:8 * i], byte))
                                m.d.sync += word[8 * i:8 * i + 8].eq(byte)
                    with m.If(skips):
                        m.d.sync += [step.eq(0), skips.eq(~ends)]
                    with m.Elif(ends):
                        m.d.comb += write.en.eq(1)
                        m.d.sync += [out.peer.eq(self.asker), step.eq(0)]
                        m.next = "FILL"
                    with m.Elif(step == WORD_BYTES - 1):
                        m.d.comb += write.en.eq(1)
                        m.d.sync += words.eq(words + 1)
                        with m.If(words == ANSWER_WORDS - 1):
                            m.d.sync += [words.eq(0), skips.eq(1)]
            with m.State("FILL"):
                m.d.comb += write.addr.eq(words + 1)
                m.next = "FETCH"
                with m.If(words < LEAST_WORDS - 1):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += words.eq(words + 1)
                    m.next = "FILL"
            with m.State("FETCH"):
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.sent.valid.eq(1)
                with m.If(timer != self.patience):
                    m.d.sync += timer.eq(timer + 1)
                with m.Else():
                    m.d.comb += self.answers.ready.eq(1)
                    with m.If(self.answers.valid):
                        m.d.sync += skips.eq(~ends)
                with m.If(self.sent.ready):
                    m.d.comb += next_at.eq(at + 1)
                    m.d.sync += timer.eq(0)
                    with m.If(out.last):
                        m.d.sync += words.eq(0)
                        m.next = "COLLECT"
        return m

    @staticmethod
    def model(answers: bytes) -> list[bytes]:
        """Twin: the bytes of each datagram, where the core takes them."""
        frames = [x + bytes([DELIMITER]) for x in answers.split(bytes([DELIMITER]))[:-1]]
        padded = [x.ljust(max(-(-len(x) // WORD_BYTES), LEAST_WORDS) * WORD_BYTES, bytes([DELIMITER])) for x in frames]
        return [x for x in padded if len(x) <= ANSWER_WORDS * WORD_BYTES]
