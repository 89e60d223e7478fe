"""What lies between a host and a simulated board: a pseudo-terminal, or a socket for datagrams; either can be bad."""

from __future__ import annotations

import os
import random
import socket
import tty
from abc import ABC, abstractmethod

CHUNK = 4096  #: bytes taken at once
DATAGRAM = 1 << 16  #: bytes of the longest datagram


class Line(ABC):
    """A line, as the board sees it.

    Attributes
    ----------
    uri : str
        What `sw.device.open.open_device` opens it by.
    descriptor : int
        To wait for what comes.
    """

    uri: str
    descriptor: int

    @abstractmethod
    def read(self) -> bytes:
        """Bytes that have come, of which there are some, as far as the line has left them."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Give the host what is left of a frame, or of a part of one."""

    @abstractmethod
    def close(self) -> None:
        """Free everything."""


class Terminal(Line):
    """A pseudo-terminal.

    Parameters
    ----------
    baud : int
        What the host shall open it with.
    noise : int
        Per mille of bytes, in each direction, that become another one.
    rng : Random
        Of the noise.
    """

    def __init__(self, baud: int, noise: int, rng: random.Random) -> None:
        self._noise, self._rng = noise, rng
        self.descriptor, self._port = os.openpty()  # the port stays open here, so that a host may go and come again
        tty.setraw(self._port)
        os.set_blocking(self.descriptor, False)
        self.uri = f"serial://{os.ttyname(self._port)}?baud={baud}"

    def read(self) -> bytes:
        """See `Line`."""
        return self._spoil(os.read(self.descriptor, CHUNK))

    def write(self, data: bytes) -> None:
        """See `Line`."""
        try:
            os.write(self.descriptor, self._spoil(data))
        except BlockingIOError:
            pass  # nobody reads: the bytes are lost, as on any line

    def close(self) -> None:
        """See `Line`."""
        os.close(self.descriptor)
        os.close(self._port)

    def _spoil(self, data: bytes) -> bytes:
        if not self._noise:
            return data
        return bytes(x ^ self._rng.randrange(1, 256) if self._rng.randrange(1000) < self._noise else x for x in data)


class Network(Line):
    """A socket for UDP on this computer. Answers go to whoever sent last.

    Parameters
    ----------
    noise : int
        Per mille of datagrams, in each direction, that are lost; so many come twice; so many come behind the next one.
    rng : Random
        Of the noise.
    """

    def __init__(self, noise: int, rng: random.Random) -> None:
        self._noise, self._rng = noise, rng
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._host: tuple[str, int] | None = None
        self._late: dict[str, list[bytes]] = {"in": [], "out": []}
        self.descriptor = self._socket.fileno()
        self.uri = "udp://{}:{}".format(*self._socket.getsockname())

    def read(self) -> bytes:
        """See `Line`."""
        data, self._host = self._socket.recvfrom(DATAGRAM)
        return b"".join(self._through(data, "in"))

    def write(self, data: bytes) -> None:
        """See `Line`."""
        if data and self._host:
            for datagram in self._through(data, "out"):
                self._socket.sendto(datagram, self._host)

    def close(self) -> None:
        """See `Line`."""
        self._socket.close()

    def _through(self, datagram: bytes, way: str) -> list[bytes]:
        """What arrives when a datagram is sent."""
        lost, twice, late = (self._rng.randrange(1000) < self._noise for _ in range(3))
        before, self._late[way] = self._late[way], []
        if lost:
            return before
        if late:
            self._late[way] = [datagram]
            return before
        return [datagram] * (1 + twice) + before
