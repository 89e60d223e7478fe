"""AXI4 and AXI4-Lite: the rules that a manager must keep, a memory that answers at random times, a manager, a host."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sim.lib.clock import Bench, Port

PAGE = 4096  #: bytes that no burst may leave


class _Channel:
    """One channel: notes what is transferred, fails where something on offer changes or goes away."""

    def __init__(self, dut: Any, prefix: str, name: str, *payload: str) -> None:
        self.name = f"{prefix}_{name}"
        self.valid, self.ready = Port(dut, f"{self.name}valid"), Port(dut, f"{self.name}ready")
        self.payload = [Port(dut, self.name + x) for x in payload]
        self.waiting: list[int] | None = None

    def sample(self) -> list[int] | None:
        """The payload that is transferred at the rising edge to come."""
        if not self.valid.get():
            assert self.waiting is None, f"{self.name}valid fell before {self.name}ready"
            return None
        now = [x.get() for x in self.payload]
        assert self.waiting in (None, now), f"{self.name}: payload changed while it waited, from {self.waiting} to {now}"
        self.waiting = None if self.ready.get() else now
        return now if self.waiting is None else None


class Rules:
    """Watches the AXI4 port ``prefix`` (read half, write half, or both) and fails where a rule is broken.

    Bursts are aligned, of at most 16 beats, within a page; what is on offer stays until it is taken; ``wlast`` marks the
    last beat of its burst and no other; every burst has one answer, never before its data.
    """

    def __init__(self, dut: Any, prefix: str, bits: int) -> None:
        self.size = bits // 8
        self.ar, self.aw = _Channel(dut, prefix, "ar", "addr", "len"), _Channel(dut, prefix, "aw", "addr", "len")
        self.r, self.w = _Channel(dut, prefix, "r", "data", "resp", "last"), _Channel(dut, prefix, "w", "data", "last")
        self.b = _Channel(dut, prefix, "b", "resp")
        self.reads: deque[int] = deque()  #: beats of each burst that are still to come
        self.writes: deque[int] = deque()
        self.beats: deque[int] = deque()  #: ``wlast`` of each beat whose burst is not complete
        self.unanswered = 0
        self.bursts: list[tuple[int, int]] = []  #: address and beats of all

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        if burst := self.ar.sample():
            self.reads.append(self._burst(*burst))
        if beat := self.r.sample():
            assert self.reads, f"{self.r.name}: a beat that nobody asked for"
            self.reads[0] -= 1
            assert bool(beat[2]) == (not self.reads[0]), f"{self.r.name}last is {beat[2]} with {self.reads[0]} beats to come"
            if not self.reads[0]:
                self.reads.popleft()
        if burst := self.aw.sample():
            self.writes.append(self._burst(*burst))
        if beat := self.w.sample():
            self.beats.append(beat[1])
        while self.writes and len(self.beats) >= self.writes[0]:
            lasts = [self.beats.popleft() for _ in range(self.writes.popleft())]
            assert lasts == [0] * (len(lasts) - 1) + [1], f"{self.w.name}last in a burst of {len(lasts)} beats: {lasts}"
            self.unanswered += 1
        assert not self.writes or not any(self.beats), f"{self.w.name}last before the end of a burst of {self.writes[0]} beats"
        if self.b.sample():
            assert self.unanswered, f"{self.b.name}: an answer before its burst"
            self.unanswered -= 1

    def _burst(self, address: int, length: int) -> int:
        beats = length + 1
        what = f"burst of {beats} beats at {address:#x}"
        assert address % self.size == 0, f"{what} is not aligned to {self.size} bytes"
        assert beats <= 16, f"{what} is too long"
        assert address // PAGE == (address + beats * self.size - 1) // PAGE, f"{what} leaves its page"
        self.bursts.append((address, beats))
        return beats

    def settled(self) -> bool:
        """Whether every burst has been carried out and answered."""
        return not (self.reads or self.writes or self.beats or self.unanswered or self.ar.waiting or self.aw.waiting
                    or self.w.waiting)


class AxiMemory:
    """Memory behind the AXI4 port ``prefix``; each channel moves with probability ``rate`` in a cycle, answers keep their order.

    What was never written reads as random bits. Two ports may share ``words``: beats by number (address / beat bytes).
    """

    def __init__(self, dut: Any, prefix: str, bits: int, rate: float = 1.0, words: dict[int, int] | None = None) -> None:
        self.size, self.bits, self.rate = bits // 8, bits, rate
        self.words = {} if words is None else words
        self.bad: set[int] = set()  #: beats that answer with an error
        self.log: list[tuple[int, int]] = []  #: beats written, in order
        self.reads: deque[tuple[int, int]] = deque()
        self.writes: deque[tuple[int, int]] = deque()
        self.data: deque[int] = deque()
        self.answers: deque[int] = deque()
        names = ("araddr", "arlen", "arvalid", "arready", "rdata", "rresp", "rlast", "rvalid", "rready", "awaddr", "awlen",
                 "awvalid", "awready", "wdata", "wlast", "wvalid", "wready", "bresp", "bvalid", "bready")
        self.port = {name: Port(dut, f"{prefix}_{name}") for name in names}
        self.offer_r = self.offer_b = False

    def put(self, address: int, items: Iterable[int], bits: int) -> None:
        """Store items of ``bits`` bits one behind the other."""
        data = b"".join(item.to_bytes(bits // 8, "little") for item in items)
        assert address % self.size == 0 and len(data) % self.size == 0
        for i in range(0, len(data), self.size):
            self.words[(address + i) // self.size] = int.from_bytes(data[i:i + self.size], "little")

    def _moves(self) -> bool:
        return random.random() < self.rate

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        p = self.port
        for name in ("arready", "awready", "wready"):
            p[name].set(self._moves())
        if not self.offer_r and self.reads and self._moves():
            self.offer_r = True
            beat, last = self.reads[0]
            for name, value in (("rdata", self.words.setdefault(beat, random.getrandbits(self.bits))), ("rlast", last),
                                ("rresp", 2 * (beat in self.bad))):
                p[name].set(value)
        if not self.offer_b and self.answers and self._moves():
            self.offer_b = True
            p["bresp"].set(self.answers[0])
        p["rvalid"].set(int(self.offer_r))
        p["bvalid"].set(int(self.offer_b))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        p = self.port
        if self.offer_r and p["rready"].get():
            self.reads.popleft()
            self.offer_r = False
        if self.offer_b and p["bready"].get():
            self.answers.popleft()
            self.offer_b = False
        for queue, name in ((self.reads, "ar"), (self.writes, "aw")):
            if p[f"{name}valid"].get() and p[f"{name}ready"].get():
                first, length = p[f"{name}addr"].get() // self.size, p[f"{name}len"].get()
                queue.extend((first + i, int(i == length)) for i in range(length + 1))
        if p["wvalid"].get() and p["wready"].get():
            self.data.append(p["wdata"].get())
        while self.writes and self.data:
            (beat, last), word = self.writes.popleft(), self.data.popleft()
            self.words[beat] = word
            self.log.append((beat, word))
            if last:
                self.answers.append(2 * (beat in self.bad))


class Host:
    """AXI4-Lite manager on port ``prefix``: one access at a time; address and data of a write in any order.

    ``rate`` is the probability that a channel moves in a cycle.
    """

    def __init__(self, dut: Any, bench: Bench, prefix: str = "axil", rate: float = 1.0) -> None:
        self.bench, self.rate = bench, rate
        self.channels = {
            "ar": _Channel(dut, prefix, "ar", "addr"), "aw": _Channel(dut, prefix, "aw", "addr"),
            "w": _Channel(dut, prefix, "w", "data", "strb"), "r": _Channel(dut, prefix, "r", "data", "resp"),
            "b": _Channel(dut, prefix, "b", "resp"),
        }
        self.wanted: dict[str, tuple[int, ...]] = {}
        self.answer: list[int] | None = None

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        for name in ("ar", "aw", "w"):
            channel = self.channels[name]
            offer = channel.waiting is not None or (name in self.wanted and random.random() < self.rate)
            if offer:
                for port, value in zip(channel.payload, self.wanted[name], strict=True):
                    port.set(value)
            channel.valid.set(int(offer))
        for name in ("r", "b"):
            self.channels[name].ready.set(int(random.random() < self.rate))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        for name, channel in self.channels.items():
            taken = channel.sample()
            if taken and name in ("r", "b"):
                assert not self.wanted and self.answer is None, f"{channel.name}: an answer that nobody asked for"
                self.answer = taken
            elif taken:
                del self.wanted[name]

    async def _access(self, wanted: Mapping[str, tuple[int, ...]]) -> list[int]:
        self.wanted, self.answer = dict(wanted), None
        await self.bench.until(lambda: self.answer is not None, 2000, f"the answer to {dict(wanted)}")
        assert self.answer is not None
        answer, self.answer = self.answer, None
        return answer

    async def read(self, address: int) -> tuple[int, int]:
        """Data and response."""
        data, response = await self._access({"ar": (address,)})
        return data, response

    async def write(self, address: int, value: int, strobe: int = 15) -> int:
        """Response."""
        return (await self._access({"aw": (address,), "w": (value, strobe)}))[0]


class Manager:
    """AXI4 manager on port ``prefix``: bursts on both halves at once, each in order.

    Every channel moves with probability ``rate`` in a cycle. Data of a write may come before its address. What is answered is
    checked to stay until it is taken.
    """

    def __init__(self, dut: Any, prefix: str, rate: float = 1.0) -> None:
        self.rate = rate
        self.out = {"ar": _Channel(dut, prefix, "ar", "addr", "len"), "aw": _Channel(dut, prefix, "aw", "addr", "len"),
                    "w": _Channel(dut, prefix, "w", "data", "last")}
        self.back = {"r": _Channel(dut, prefix, "r", "data", "resp", "last"), "b": _Channel(dut, prefix, "b", "resp")}
        self.offers: dict[str, deque[tuple[int, ...]]] = {name: deque() for name in self.out}
        self.left: deque[int] = deque()  #: beats to come of each read
        self.reads: list[list[tuple[int, int]]] = []  #: data and response of the beats of each read that was answered
        self.responses: list[int] = []  #: of each write
        self._beats: list[tuple[int, int]] = []

    def read(self, address: int, beats: int) -> None:
        """Ask for a burst."""
        self.offers["ar"].append((address, beats - 1))
        self.left.append(beats)

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write a burst."""
        self.offers["aw"].append((address, len(words) - 1))
        self.offers["w"].extend((word, int(i == len(words) - 1)) for i, word in enumerate(words))

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        for name, channel in self.out.items():
            offer = channel.waiting is not None or (bool(self.offers[name]) and random.random() < self.rate)
            channel.valid.set(int(offer))
            if offer:
                for port, value in zip(channel.payload, self.offers[name][0], strict=True):
                    port.set(value)
        for channel in self.back.values():
            channel.ready.set(int(random.random() < self.rate))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        for name, channel in self.out.items():
            if channel.sample():
                self.offers[name].popleft()
        if beat := self.back["r"].sample():
            data, response, last = beat
            self._beats.append((data, response))
            assert last == (len(self._beats) == self.left[0]), f"rlast is {last} in beat {len(self._beats)} of {self.left[0]}"
            if last:
                self.left.popleft()
                self.reads.append(self._beats)
                self._beats = []
        if answer := self.back["b"].sample():
            self.responses.append(answer[0])
