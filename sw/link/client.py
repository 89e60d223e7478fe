"""Requests to a board over a line that may damage, lose and repeat bytes."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden.spec import link as protocol
from golden.spec.link import LENGTH_BYTES, REGISTER_BYTES, REQUESTS, SEQUENCES, SPARSE_BYTES, STATUS_TEXT, Kind, Status
from sw.device.base import DeviceLostError, DeviceMismatchError
from sw.link.codec import END, Answer, Decoder, encode, pack_sparse, sparse_sizes
from sw.link.transport import Transport

TRIES = 16  #: of a request
TIMEOUT = 0.5  #: seconds to wait for an answer, beside the time on the line
STREAK = 4  #: moves at once without a repetition, after which pieces of memory grow again
LEAST_BYTES = 32  #: of memory in a frame, on a bad line; a multiple of every width of memory
WAIT_LIMIT = 60.0  #: seconds of one WAIT
QUIET = 0.05  #: seconds without a byte after which nothing more comes
RESTLESS = 5.0  #: seconds after which a line that is never quiet is given up
BEAT_CYCLES = 256  #: of the board, for each word of memory: far more than any takes, so that a slow one is not asked in vain
SHORT_BYTES = 80  #: on the line, of the longest answer that carries neither memory nor an echo


class LinkError(DeviceLostError):
    """No good answer came."""


class RefusedError(LinkError):
    """The board did not do what it was asked.

    Attributes
    ----------
    status : Status
        Why.
    """

    def __init__(self, text: str, status: Status) -> None:
        self.status = status
        super().__init__(text)


@dataclass(frozen=True)
class Identity:
    """What a board says of itself; see docs/link.md."""

    protocol: int
    align: int
    data_bytes: int
    clock: int
    memory: int
    digest: str
    build: str
    board: str


@dataclass
class Counters:
    """What went over the line since the client was made.

    ``damaged_requests`` are those that the board says it got, ``damaged_answers`` those that came here; ``strays`` are good
    answers that nobody waits for any more.
    """

    requests: int = 0
    repeated: int = 0
    timeouts: int = 0
    damaged_requests: int = 0
    damaged_answers: int = 0
    strays: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class LinkClient:
    """One board behind a transport. A request that gets no good answer is repeated, under its number, up to `TRIES` times.

    On a bad line memory moves in smaller pieces. After an error the board is identified anew before anything else; it must be
    the same.

    Parameters
    ----------
    transport : Transport
    timeout : float
        Seconds to wait for an answer, beside the time on the line.
    """

    def __init__(self, transport: Transport, timeout: float = TIMEOUT) -> None:
        self.transport, self.timeout = transport, timeout
        self.counters = Counters()
        self._decoder = Decoder()
        self._frames: deque[Answer | None] = deque()
        self._sequence = random.randrange(SEQUENCES)  # so that answers to somebody else, before, are not taken for ours
        self._opened = False
        self._cycle = 0.0  # seconds of a cycle of the board
        self._last_good: Answer | None = None
        self.identity = self._identify()
        self._cycle = 1 / max(self.identity.clock, 1)
        self._unit = max(self.identity.align, 8)  # that pieces of memory are multiples of
        self._streak = 0
        self._piece = self._most = self.identity.data_bytes // self._unit * self._unit

    def close(self) -> None:
        """Give the line back."""
        self.transport.close()

    def read_registers(self, address: int, count: int) -> list[int]:
        """So many 32-bit registers, one behind the other."""
        values = {"address": address, "length": REGISTER_BYTES * count}
        data = bytes(self._call(Kind.READ_REGISTERS, values)["data"])
        if len(data) != REGISTER_BYTES * count:
            raise LinkError(f"{self.transport.name}: {len(data)} bytes of registers, not {REGISTER_BYTES * count}")
        return np.frombuffer(data, "<u4").tolist()

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Write 32-bit registers one behind the other, once, the first one first."""
        self._call(Kind.WRITE_REGISTERS, {"address": address, "data": np.array(values, "<u4").tobytes()})

    def read_memory(self, address: int, size: int) -> bytes:
        """Read memory; address and size are multiples of the board's ``align``."""
        parts, end = [], address + size
        while address < end:
            piece = min(self._piece, end - address)
            found = self._move(Kind.READ_MEMORY, {"address": address, "length": piece})
            if found is not None:
                parts.append(bytes(found["data"]))
                if len(parts[-1]) != piece:
                    raise LinkError(f"{self.transport.name}: {len(parts[-1])} bytes of memory, not {piece}")
                address += piece
        return b"".join(parts)

    def write_memory(self, address: int, data: bytes) -> None:
        """Write memory; address and size are multiples of the board's ``align``. Each frame carries bytes or, where it then
        fills more of memory, those that are not zero.
        """
        sizes = sparse_sizes(data) + LENGTH_BYTES
        at = 0
        while at < len(data):
            first = sizes[at // 8] - LENGTH_BYTES
            end = 8 * (int(np.searchsorted(sizes, first + self._piece, "right")) - 1)  # of all that fits a frame
            end = min(end // self._unit * self._unit if end < len(data) else len(data), at + SPARSE_BYTES)
            plain = min(at + self._piece, len(data))
            if end > plain or (end == plain and sizes[-(-end // 8)] - first < plain - at):
                values: protocol.Values = {"address": address + at, "length": end - at, "packed": pack_sparse(data[at:end])}
                moved = self._move(Kind.WRITE_SPARSE, values)
            else:
                end = plain
                moved = self._move(Kind.WRITE_MEMORY, {"address": address + at, "data": data[at:end]})
            at = end if moved is not None else at

    def wait(self, seconds: float) -> bool:
        """Wait until the interrupt line is high, at most for so long (`WAIT_LIMIT` at most); the line's state."""
        seconds = min(max(seconds, 0.0), WAIT_LIMIT)
        return bool(self._call(Kind.WAIT, {"limit": round(1000 * seconds)}, seconds)["interrupt"])

    def echo(self, data: bytes) -> bytes:
        """What the board sends back."""
        return bytes(self._call(Kind.ECHO, {"data": data})["data"])

    def _settle(self) -> None:
        """Drop what still comes of the time before: answers to somebody else, or to what the line made up."""
        end = time.monotonic() + RESTLESS
        self.transport.send(END)
        while data := self.transport.receive(QUIET + self.transport.seconds(SHORT_BYTES)):
            self.counters.bytes_received += len(data)
            if time.monotonic() > end:
                raise LinkError(f"{self.transport.name}: bytes come without end, and nobody asked for them")
        self._decoder = Decoder()
        self._frames.clear()

    def _identify(self) -> Identity:
        self._settle()
        values = self._call(Kind.IDENTIFY, {})
        if values["protocol"] != protocol.VERSION:
            raise DeviceMismatchError(
                f"{self.transport.name} speaks version {values['protocol']} of the link, this software {protocol.VERSION}")
        found = Identity(**values)
        if not (0 < found.align <= LEAST_BYTES <= found.data_bytes and not LEAST_BYTES % found.align
                and not found.data_bytes % found.align):
            raise DeviceMismatchError(f"{self.transport.name} cannot be what it says: {found}")
        return found

    def _move(self, kind: Kind, values: protocol.Values) -> dict | None:
        """A request that moves memory; None where it failed and is to be tried again with a smaller piece."""
        repeated = self.counters.repeated
        try:
            found = self._call(kind, values)
        except RefusedError:
            raise
        except LinkError:
            if self._piece == LEAST_BYTES:
                raise
            self._piece, self._streak = LEAST_BYTES, 0
            return None
        if self.counters.repeated > repeated:
            self._piece, self._streak = max(self._piece // 2 // self._unit * self._unit, LEAST_BYTES), 0
        else:
            self._streak += 1
            if self._streak % STREAK == 0:
                self._piece = min(2 * self._piece, self._most)
        return found

    def _call(self, kind: Kind, values: protocol.Values, patience: float = 0.0) -> dict:
        """Make a request and unpack its answer; ``patience``: seconds that the board may take over it.

        Raises
        ------
        RefusedError
            If the board says that it did not do it.
        LinkError
            If no good answer came.
        """
        if not self._opened and kind != Kind.IDENTIFY:
            again = self._identify()
            if again != self.identity:
                self._opened = False
                raise DeviceMismatchError(f"{self.transport.name} was {self.identity}, and is now {again}")
        self._opened = False  # until it ended well
        self._sequence = (self._sequence + 1) % SEQUENCES
        line = encode(kind, self._sequence, protocol.pack(REQUESTS[kind].fields, values))
        before = self.counters.bytes_received
        patience += BEAT_CYCLES * max(int(values.get("length", 0)), len(line)) / REGISTER_BYTES * self._cycle
        moving = 2 * len(line) + int(values.get("length", 0)) + SHORT_BYTES  # bytes, at most, until the answer is here
        self.counters.requests += 1
        for attempt in range(TRIES):
            self.counters.repeated += attempt > 0
            self.transport.send(line)
            self.counters.bytes_sent += len(line)
            answer = self._answer(kind, patience + self.timeout + self.transport.seconds(moving))
            if answer:
                break
        else:
            raise LinkError(
                f"{self.transport.name}: no good answer to {kind.name} (number {self._sequence}) in {TRIES} tries; "
                f"{TRIES * len(line)} bytes sent, {self.counters.bytes_received - before} received, "
                f"the last good answer was {self._last_good or 'none'}")
        if answer.status != Status.OK:
            what = ", ".join([f"number {self._sequence}", *(f"{k} {v:#x}" for k, v in values.items() if isinstance(v, int))])
            raise RefusedError(f"{self.transport.name}: {kind.name} ({what}): {STATUS_TEXT[answer.status]}", answer.status)
        try:
            found = protocol.unpack(REQUESTS[kind].answer, answer.body)
        except ValueError as error:
            raise LinkError(f"{self.transport.name}: the answer to {kind.name} is {error}") from None
        self._opened = True
        return found

    def _answer(self, kind: Kind, timeout: float) -> Answer | None:
        """The answer to the request just sent; None where it, or the request, was damaged, or ``timeout`` seconds are over."""
        end = time.monotonic() + timeout
        over = False
        while True:
            while self._frames:
                frame = self._frames.popleft()
                if frame is None:
                    self.counters.damaged_answers += 1
                    return None
                self._last_good = frame
                if frame.status == Status.DAMAGED:
                    self.counters.damaged_requests += 1
                    return None
                if (frame.kind, frame.sequence) == (kind, self._sequence):
                    return frame
                self.counters.strays += 1
            if over:
                self.counters.timeouts += 1
                return None
            left = end - time.monotonic()
            over = left <= 0  # one last look: this program may have been the slow one
            data = self.transport.receive(max(left, 0))
            self.counters.bytes_received += len(data)
            self._frames += self._decoder.feed(data)
