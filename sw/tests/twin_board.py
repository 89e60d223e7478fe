"""A board for the host's tests: the twin of the gateware's link in front of any device, on a line that can be bad."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator

from golden.spec.config import SMALL
from golden.spec.link import Status
from hw.link.cobs import CobsDecoder, CobsEncoder
from hw.link.link import Site
from hw.link.machine import LinkMachine
from sw.device.base import Device, DeviceLostError, DeviceUnavailableError
from sw.device.golden import GoldenDevice
from sw.link.transport import Transport

SITE = Site(board="twin", clock=1_000_000, memory_bytes=1 << 26, build="00" * 8)


class TwinBoard(Transport):
    """The board and the line to it, in memory; notes what is written.

    Parameters
    ----------
    device : Device, optional
        What its registers and memory are; a golden ``small`` by default.
    noise : float
        Probability that a byte becomes another one.
    site : Site
        What it says of itself.
    """

    name = "twin"

    def __init__(self, device: Device | None = None, noise: float = 0.0, site: Site = SITE, seed: int = 1) -> None:
        self.device = device or GoldenDevice(SMALL)
        self.noise, self.site, self.rng = noise, site, random.Random(seed)
        self.broken: Status | None = None  #: how every access ends
        self.silent = self.gone = False  #: no byte comes back; the port is lost
        self.echoes = 1  #: how often each answer comes
        self.register_writes: list[tuple[int, int]] = []
        self.beats_written: set[int] = set()
        self.to_board, self.to_host = bytearray(), bytearray()
        self.reset()

    def reset(self) -> None:
        """As after power-up: nobody has been identified."""
        self.frames: deque[tuple[bytes, bool]] = deque()
        self.answers = LinkMachine.model(
            self.site.identity(SMALL), SMALL.axi_bytes, self.site.memory_bytes, self._requests(), self)

    def _requests(self) -> Iterator[tuple[bytes, bool]]:
        while True:
            yield self.frames.popleft()

    def register(self, address: int, value: int | None) -> tuple[int, Status]:
        """See `hw.link.machine.Bus`."""
        if self.broken:
            return 0, self.broken
        if value is None:
            return self.device.read_register(address), Status.OK
        self.register_writes.append((address, value))
        self.device.write_register(address, value)
        return 0, Status.OK

    def beat(self, address: int, word: bytes | None) -> tuple[bytes, Status]:
        """See `hw.link.machine.Bus`."""
        if self.broken:
            return b"", self.broken
        if word is None:
            return self.device.read_memory(address, SMALL.axi_bytes), Status.OK
        self.beats_written.add(address)
        self.device.write_memory(address, word)
        return b"", Status.OK

    def interrupt(self) -> bool:
        """See `hw.link.machine.Bus`."""
        return self.device.wait_interrupt(0.1)

    def _spoil(self, data: bytes) -> bytes:
        return bytes(x ^ self.rng.randrange(1, 256) if self.rng.random() < self.noise else x for x in data)

    def send(self, data: bytes) -> None:
        """The board takes the bytes, and answers at once."""
        if self.gone:
            raise DeviceLostError("twin is lost")
        self.to_board += self._spoil(data)
        whole = self.to_board.rfind(0) + 1
        line, self.to_board = self.to_board[:whole], self.to_board[whole:]
        for frame in CobsDecoder.model(line):
            self.frames.append(frame)
            answer = CobsEncoder.model(next(self.answers))
            self.to_host += b"" if self.silent else self._spoil(answer * self.echoes)

    def receive(self, timeout: float) -> bytes:
        """Some of what has come."""
        count = self.rng.randrange(1, 700)
        data, self.to_host = bytes(self.to_host[:count]), self.to_host[count:]
        return data

    def seconds(self, count: int) -> float:
        """No time at all."""
        return 0.0

    def reconnect(self) -> None:
        """The port is there again, unless it is gone for good."""
        if self.gone:
            raise DeviceUnavailableError("twin cannot be opened")

    def close(self) -> None:
        """See `Transport`."""
