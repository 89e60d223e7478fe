"""What the link does with a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.spec import link as protocol
from golden.spec.config import clog2
from golden.spec.link import ANSWER, CRC_BYTES, DATA_BYTES, FRAME_BYTES, HEADER_BYTES, REGISTER_BYTES, REQUESTS, Kind, Status
from golden.spec.registers import ADDRESS_BITS
from hw.axi import OKAY, AxiLite
from hw.link.crc import Crc32
from hw.link.items import items
from hw.link.memory_port import access_layout, outcomes

BUFFER_BYTES = 512  #: one block RAM of the smallest chip
IDENTITY_AT = BUFFER_BYTES - protocol.size(protocol.IDENTITY)[1]  #: the identity lies behind the longest frame
SILENCE = 1 << 14  #: cycles after which an access to memory is given up
REGISTERS = (Kind.READ_REGISTERS, Kind.WRITE_REGISTERS)


def header_layout() -> data.StructLayout:
    """How a frame begins; not every request has an address and a length."""
    return data.StructLayout({"kind": 8, "sequence": 16, "address": 32, "length": 16})


class Bus(Protocol):
    """What the twin reads and writes."""

    def register(self, address: int, value: int | None) -> tuple[int, Status]:
        """Write a register, or read it where ``value`` is None: its value and OK or BUS."""

    def beat(self, address: int, word: bytes | None) -> tuple[bytes, Status]:
        """Write a beat of memory, or read it where ``word`` is None: its bytes and OK, BUS or SILENT."""

    def interrupt(self) -> bool:
        """What a wait for the interrupt line ends with."""


class LinkMachine(wiring.Component):
    """Takes a frame, checks it, does what it asks for and answers; one at a time (rules: docs/link.md).

    A frame is kept in a buffer, one block RAM, until its CRC was right; what is to be answered is put there too, and the
    identity lies in what is left of it. A byte a cycle on both sides; while a request is carried out nothing is taken.

    Parameters
    ----------
    identity : bytes
        Answer to IDENTIFY.
    bits : int
        Width of memory.
    memory_bytes : int
        Its size.
    clock : int
        Cycles per second.

    Ports
    -----
    frames : stream of item_layout, in
    answers : stream of item_layout, out
    axil : AxiLite, out
    accesses : stream of access_layout, out
    outcomes : stream of outcome_layout, in
    irq : Signal(), in
    active : Signal(), out
        A request is being carried out or answered.
    """

    def __init__(self, identity: bytes, bits: int, memory_bytes: int, clock: int) -> None:
        assert FRAME_BYTES <= IDENTITY_AT and len(identity) == BUFFER_BYTES - IDENTITY_AT
        self.identity, self.bits, self.memory_bytes, self.clock = identity, bits, memory_bytes, clock
        super().__init__({
            "frames": In(items()), "answers": Out(items()), "axil": Out(AxiLite(ADDRESS_BITS)),
            "accesses": Out(stream.Signature(access_layout(bits))), "outcomes": In(outcomes(bits)), "irq": In(1),
            "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        item, answer, axil = self.frames.payload, self.answers.payload, self.axil
        align = self.bits // 8
        m.submodules.crc = crc = Crc32()
        m.submodules.buffer = buffer = Memory(
            shape=8, depth=BUFFER_BYTES, init=bytes(IDENTITY_AT) + self.identity)
        write, read = buffer.write_port(), buffer.read_port()

        # The request, and the last one that was carried out.
        received = Signal(range(FRAME_BYTES + 1))
        body = Signal(range(FRAME_BYTES))
        header = Signal(header_layout())
        tail = Signal(8 * CRC_BYTES)
        broken, damaged, known, fits, follows, again = (Signal(name=x) for x in (
            "broken", "damaged", "known", "fits", "follows", "again"))
        opened, last, last_tail, last_status = Signal(), Signal(16), Signal(8 * CRC_BYTES), Signal(Status)

        # Its execution and its answer.
        status = Signal(Status)
        at, next_at = Signal(range(BUFFER_BYTES)), Signal(range(BUFFER_BYTES))
        left = Signal(range(DATA_BYTES + 1))  # bytes of the answer's body
        rest = Signal(16)  # bytes to go; of a wait, milliseconds
        step = Signal(range(max(align, 4)))
        beat = Signal(max(self.bits, 8 * REGISTER_BYTES))  # what is written is in its upper bits, what was read in the lower ones
        end = Signal(range(BUFFER_BYTES))  # of the request's body in the buffer
        mask, masked, octet = Signal(8), Signal(), Signal(3)  # of a sparse write: which of 8 bytes are there, if known; the place
        owed = Signal()  # an access was given up, and its outcome is still to come
        timer = Signal(range(max(SILENCE, self.clock // 1000)))
        asked, offered = Signal(), Signal()  # the register's address, and its value, have been taken

        # What is read or written: registers or memory, word by word.
        sparse = header.kind == Kind.WRITE_SPARSE
        in_registers = (header.kind == REGISTERS[0]) | (header.kind == REGISTERS[1])
        writes = sparse | (header.kind == Kind.WRITE_MEMORY) | (header.kind == Kind.WRITE_REGISTERS)
        waits = header.kind == Kind.WAIT
        width = Mux(in_registers, REGISTER_BYTES, align)  # bytes of a word
        further, fewer = Signal(32), Signal(16)
        inside = max(clog2(self.memory_bytes), ADDRESS_BITS)  # bits of an address that is not refused
        m.d.comb += [
            further.eq(Cat((header.address[:inside] + width)[:inside], header.address[inside:])),
            fewer.eq(rest - Mux(waits, 1, width)),
        ]

        m.d.comb += [next_at.eq(at), read.addr.eq(next_at)]  # so that the buffer always shows byte `at`
        m.d.sync += [at.eq(next_at), timer.eq(timer + 1)]
        with m.If(self.outcomes.valid):
            m.d.sync += owed.eq(0)

        def finish(code: Status | Value) -> None:
            m.d.sync += status.eq(code)
            m.next = "HEAD"

        def carried_out(code: Status) -> None:
            m.d.sync += last_status.eq(code)
            finish(code)

        def touch() -> None:
            m.next = "ACCESS"
            with m.If(in_registers):
                m.next = "REGISTER"

        def proceed(error: Value) -> None:
            m.d.sync += [header.address.eq(further), rest.eq(fewer)]
            with m.If(error):
                carried_out(Status.BUS)
            with m.Elif(~writes):
                m.next = "KEEP"
            with m.Elif(rest == width):
                carried_out(Status.OK)
            with m.Else():
                m.next = "GATHER"

        with m.FSM() as fsm:
            receiving = fsm.ongoing("RECEIVE")
            m.d.comb += [
                self.active.eq(~receiving), crc.byte.eq(Mux(receiving, item.data, answer.data)),
                write.addr.eq(Mux(receiving, received, at)), write.data.eq(Mux(receiving, item.data, beat[:8])),
            ]
            with m.State("RECEIVE"):
                m.d.comb += self.frames.ready.eq(1)
                m.d.sync += body.eq(received - (HEADER_BYTES + CRC_BYTES))
                with m.If(self.frames.valid):
                    with m.If(item.end):
                        m.d.sync += broken.eq(broken | item.broken)
                        m.next = "JUDGE"
                    with m.Elif(received == FRAME_BYTES):
                        m.d.sync += broken.eq(1)
                    with m.Else():
                        m.d.comb += [write.en.eq(1), crc.en.eq(1)]
                        m.d.sync += [received.eq(received + 1), tail.eq(Cat(tail[8:], item.data))]
                        with m.Switch(received):
                            for i in range(header_layout().size // 8):
                                with m.Case(i):
                                    m.d.sync += Value.cast(header)[8 * i:8 * i + 8].eq(item.data)

            with m.State("JUDGE"):
                m.d.comb += crc.clear.eq(1)
                m.d.sync += [
                    damaged.eq(broken | (received < HEADER_BYTES + CRC_BYTES) | (crc.state != protocol.CRC_RESIDUE)),
                    known.eq(0), fits.eq(0),
                    follows.eq(opened & (header.sequence == (last + 1)[:16])),
                    again.eq(opened & (header.sequence == last) & (tail == last_tail)),
                    received.eq(0), broken.eq(0), left.eq(0), step.eq(0), asked.eq(0), offered.eq(0),
                    octet.eq(0), masked.eq(0), end.eq(received - CRC_BYTES),
                ]
                with m.Switch(header.kind):
                    for kind, request in REQUESTS.items():
                        low, high = protocol.size(request.fields)
                        with m.Case(kind):
                            m.d.sync += [known.eq(1), fits.eq((body >= low) & (body <= high))]
                m.next = "BEGIN"

            with m.State("BEGIN"):
                m.d.comb += next_at.eq(HEADER_BYTES)
                m.d.sync += [timer.eq(0), rest.eq(Mux(waits, header.address[:16], header.length))]
                with m.If(damaged):
                    m.d.sync += [header.kind.eq(Kind.NONE), header.sequence.eq(0)]
                    finish(Status.DAMAGED)
                with m.Elif(header.kind & ANSWER):  # somebody's answer came back
                    m.next = "RECEIVE"
                with m.Elif(~known):
                    finish(Status.UNKNOWN)
                with m.Elif(~fits):
                    finish(Status.LENGTH)
                with m.Elif((header.kind != Kind.IDENTIFY) & ~follows & ~again):
                    finish(Status.SEQUENCE)
                with m.Else():
                    m.d.sync += [opened.eq(1), last.eq(header.sequence), last_tail.eq(tail)]
                    with m.Switch(header.kind):
                        with m.Case(Kind.IDENTIFY):
                            m.d.sync += left.eq(len(self.identity))
                            finish(Status.OK)
                        with m.Case(Kind.ECHO):
                            m.d.sync += left.eq(body)
                            finish(Status.OK)
                        with m.Case(Kind.WAIT):
                            m.next = "WAIT"
                        with m.Case(Kind.READ_REGISTERS, Kind.READ_MEMORY, Kind.WRITE_SPARSE):
                            m.next = "PLACE"
                        with m.Case(Kind.WRITE_REGISTERS, Kind.WRITE_MEMORY):
                            m.d.sync += rest.eq(body - protocol.ADDRESS_BYTES)
                            m.next = "PLACE"
                            with m.If(again & (header.kind == Kind.WRITE_REGISTERS)):
                                finish(last_status)

            with m.State("WAIT"):
                with m.If(timer == self.clock // 1000 - 1):
                    m.d.sync += [timer.eq(0), rest.eq(fewer)]
                with m.If(self.irq | self.frames.valid | ~rest.any()):
                    m.d.sync += [beat.eq(self.irq), left.eq(1)]
                    m.next = "KEEP"

            # Word by word: PLACE -> (GATHER) -> REGISTER, or ACCESS -> OUTCOME -> (KEEP) -> ...
            with m.State("PLACE"):
                behind = HEADER_BYTES + protocol.ADDRESS_BYTES
                m.d.comb += next_at.eq(Mux(sparse, behind + protocol.LENGTH_BYTES, Mux(writes, behind, HEADER_BYTES)))
                most = Mux(sparse, protocol.SPARSE_BYTES, DATA_BYTES)
                behind_last = Signal(clog2(self.memory_bytes) + 1)  # where the address is not outside itself
                m.d.comb += behind_last.eq(header.address[: len(behind_last) - 1] + rest)
                outside = Mux(
                    in_registers,
                    header.address[ADDRESS_BITS:].any() | (behind_last > 1 << ADDRESS_BITS),
                    header.address[len(behind_last) - 1:].any() | (behind_last > self.memory_bytes))
                misplaced = ((header.address | rest) & (width - 1)).any() | (rest == 0) | (rest > most) | outside
                with m.If(misplaced):
                    carried_out(Status.RANGE)
                with m.Elif(in_registers | ~owed):
                    m.d.sync += left.eq(Mux(writes, 0, rest))
                    touch()
                    with m.If(writes):
                        m.next = "GATHER"
                with m.Elif(timer == SILENCE - 1):
                    carried_out(Status.SILENT)
            with m.State("GATHER"):
                there = at != end
                with m.If(sparse & ~masked):
                    m.d.comb += next_at.eq(at + there)
                    m.d.sync += [mask.eq(Mux(there, read.data, 0)), masked.eq(1)]
                with m.Else():
                    taken = ~sparse | (mask[0] & there)
                    m.d.comb += next_at.eq(at + taken)
                    m.d.sync += [
                        beat.eq(Cat(beat[8:], Mux(taken, read.data, 0))), step.eq(step + 1),
                        mask.eq(mask >> 1), octet.eq(octet + 1), masked.eq(octet != 7),
                    ]
                    with m.If(step == width - 1):
                        m.d.sync += step.eq(0)
                        touch()
            with m.State("REGISTER"):
                m.d.comb += [
                    axil.araddr.eq(header.address), axil.awaddr.eq(header.address), axil.wdata.eq(beat[-32:]),
                    axil.wstrb.eq(0b1111), axil.rready.eq(1), axil.bready.eq(1),
                    axil.arvalid.eq(~writes & ~asked), axil.awvalid.eq(writes & ~asked), axil.wvalid.eq(writes & ~offered),
                ]
                with m.If((axil.arvalid & axil.arready) | (axil.awvalid & axil.awready)):
                    m.d.sync += asked.eq(1)
                with m.If(axil.wvalid & axil.wready):
                    m.d.sync += offered.eq(1)
                with m.If(axil.bvalid | axil.rvalid):
                    m.d.sync += [asked.eq(0), offered.eq(0), beat.eq(axil.rdata)]
                    proceed((axil.bvalid & (axil.bresp != OKAY)) | (axil.rvalid & (axil.rresp != OKAY)))
            with m.State("ACCESS"):
                m.d.comb += [
                    self.accesses.valid.eq(1), self.accesses.payload.write.eq(writes),
                    self.accesses.payload.address.eq(header.address[:inside]), self.accesses.payload.data.eq(beat[-self.bits:]),
                ]
                m.d.sync += timer.eq(0)
                with m.If(self.accesses.ready):
                    m.next = "OUTCOME"
            with m.State("OUTCOME"):
                with m.If(self.outcomes.valid):
                    m.d.sync += beat.eq(self.outcomes.payload.data)
                    proceed(self.outcomes.payload.error)
                with m.Elif(timer == SILENCE - 1):
                    m.d.sync += owed.eq(1)
                    carried_out(Status.SILENT)
            with m.State("KEEP"):
                m.d.comb += [next_at.eq(at + 1), write.en.eq(1)]
                m.d.sync += [beat.eq(beat >> 8), step.eq(step + 1)]
                with m.If(step == (Mux(waits, left, width) - 1)[:len(step)]):
                    m.d.sync += step.eq(0)
                    finish(Status.OK)
                    with m.If(~waits & (rest != 0)):
                        touch()

            # The answer.
            with m.State("HEAD"):
                begin = Cat(header.kind | ANSWER, header.sequence, status, C(0, 8 - len(status)))
                m.d.comb += [
                    next_at.eq(Mux(header.kind == Kind.IDENTIFY, IDENTITY_AT, HEADER_BYTES)), self.answers.valid.eq(1),
                    answer.data.eq(begin.word_select(step[:2], 8)),
                    crc.en.eq(self.answers.ready),
                ]
                with m.If(self.answers.ready):
                    m.d.sync += step.eq(step + 1)
                    with m.If(step == HEADER_BYTES):
                        m.d.sync += step.eq(0)
                        m.next = "TAIL"
                        with m.If((status == Status.OK) & (left != 0)):
                            m.next = "BODY"
            with m.State("BODY"):
                m.d.comb += [self.answers.valid.eq(1), answer.data.eq(read.data), crc.en.eq(self.answers.ready)]
                with m.If(self.answers.ready):
                    m.d.comb += next_at.eq(at + 1)
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "TAIL"
            with m.State("TAIL"):
                m.d.comb += [self.answers.valid.eq(1), answer.data.eq((~crc.state).word_select(step[:2], 8))]
                with m.If(self.answers.ready):
                    m.d.sync += step.eq(step + 1)
                    with m.If(step == CRC_BYTES - 1):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [self.answers.valid.eq(1), answer.end.eq(1), crc.clear.eq(1)]
                with m.If(self.answers.ready):
                    m.next = "RECEIVE"
        return m

    @staticmethod
    def model(identity: bytes, align: int, memory_bytes: int, frames: Iterable[tuple[bytes, bool]], bus: Bus) -> Iterator[bytes]:
        """Twin: the answers to frames (what could be read, and whether it was broken), each with its CRC."""
        last: tuple[int, bytes] | None = None
        last_status = Status.OK
        for frame, is_broken in frames:
            kind, sequence, body = frame[0] if frame else 0, int.from_bytes(frame[1:3], "little"), frame[HEADER_BYTES:-CRC_BYTES]
            status, found = Status.OK, b""
            good = HEADER_BYTES + CRC_BYTES <= len(frame) <= FRAME_BYTES and Crc32.model(frame) == protocol.CRC_RESIDUE
            again = last == (sequence, frame[-CRC_BYTES:])
            if is_broken or not good:
                kind, sequence, status = Kind.NONE, 0, Status.DAMAGED
            elif kind & ANSWER:
                continue
            elif kind not in REQUESTS:
                status = Status.UNKNOWN
            elif not protocol.size(REQUESTS[Kind(kind)].fields)[0] <= len(body) <= protocol.size(REQUESTS[Kind(kind)].fields)[1]:
                status = Status.LENGTH
            elif kind != Kind.IDENTIFY and not again and (last is None or sequence != (last[0] + 1) % protocol.SEQUENCES):
                status = Status.SEQUENCE
            else:
                last = sequence, frame[-CRC_BYTES:]
                if kind == Kind.WRITE_REGISTERS and again:
                    status = last_status
                else:
                    status, found = _carry_out(Kind(kind), body, identity, align, memory_bytes, bus)
                if kind == Kind.WRITE_REGISTERS:
                    last_status = status
            answer = bytes([kind | ANSWER]) + sequence.to_bytes(2, "little") + bytes([status]) + found
            yield answer + (Crc32.model(answer) ^ 0xFFFFFFFF).to_bytes(CRC_BYTES, "little")


def _carry_out(kind: Kind, body: bytes, identity: bytes, align: int, memory_bytes: int, bus: Bus) -> tuple[Status, bytes]:
    """The twin's execution of one request: status, and the answer's body where that is OK."""
    values = protocol.unpack(REQUESTS[kind].fields, body)
    address, sent, packed = int(values.get("address", 0)), values.get("data", b""), values.get("packed", b"")
    assert isinstance(sent, bytes) and isinstance(packed, bytes)
    if kind == Kind.IDENTIFY:
        return Status.OK, identity
    if kind == Kind.ECHO:
        return Status.OK, sent
    if kind == Kind.WAIT:
        return Status.OK, bytes([bus.interrupt()])
    length = int(values.get("length", len(sent)))
    most = protocol.SPARSE_BYTES if kind == Kind.WRITE_SPARSE else DATA_BYTES
    width, size = (REGISTER_BYTES, 1 << ADDRESS_BITS) if kind in REGISTERS else (align, memory_bytes)
    if address % width or length % width or not 0 < length <= most or address + length > size:
        return Status.RANGE, b""
    if kind == Kind.WRITE_SPARSE:
        sent = protocol.unpack_sparse(packed, length)
    reads = kind in (Kind.READ_REGISTERS, Kind.READ_MEMORY)
    found = b""
    for at in range(0, length, width):
        word = None if reads else sent[at:at + width]
        if kind in REGISTERS:
            value, status = bus.register(address + at, None if word is None else int.from_bytes(word, "little"))
            word = value.to_bytes(REGISTER_BYTES, "little")
        else:
            word, status = bus.beat(address + at, word)
        if status != Status.OK:
            return status, b""
        found += word if reads else b""
    return Status.OK, found
