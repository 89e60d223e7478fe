"""The simulated board: the RTL from its serial pins to its memory port."""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import select
import threading
import tty
from pathlib import Path
from types import TracebackType
from typing import Self

from golden.spec.config import Config
from hw.link.board import Board
from hw.link.link import Site
from sim.device.build import ROOT, build_object

MEMORY_BYTES = 1 << 26
CLOCK = 100_000  #: cycles per second that the board says it has: fewer than are simulated, so that no host loses patience
DIVISOR = 4  #: cycles of a bit
BAUD = CLOCK // DIVISOR
SLICE = 2_000  #: cycles simulated between two looks at the line
LINGER = 100_000  #: cycles for which an idle board runs on; then its time stands still until a byte comes
CHUNK = 4096  #: bytes taken from the line at once


def build(config: Config, folder: Path) -> Path:
    """Build the shared object of a board into ``folder`` and return its path.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails; the message is the end of its output.
    """
    hardware = sorted([*ROOT.glob("hw/*.py"), *ROOT.glob("hw/link/*.py")])
    text = "\n".join([config.digest, *(x.read_text() for x in hardware)])
    site = Site(board=f"sim-{config.name}", clock=CLOCK, memory_bytes=MEMORY_BYTES,
                build=hashlib.sha256(text.encode()).hexdigest()[:16])
    return build_object(folder / "libboard.so", "board", lambda: Board(config, site, DIVISOR), config,
                        Path(__file__).with_name("board.cpp"), [*hardware, Path(__file__)])


class SimulatedBoard:
    """A board that runs, in a thread, as fast as it can while there is something to do, until it is closed.

    Parameters
    ----------
    library : Path
        What `build` has built.
    seed : int
        Of stalls and noise.
    stall : int
        Per mille of cycles in which a handshake of the memory waits.
    latency : int
        Cycles from a burst's address to its first beat.
    noise : int
        Per mille of bytes, in each direction, that become another one.

    Attributes
    ----------
    uri : str
        What `sw.device.open.open_device` opens it by.
    """

    def __init__(self, library: Path, seed: int = 1, stall: int = 0, latency: int = 20, noise: int = 0) -> None:
        handle, u32, u64, data = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p
        self._library = ctypes.CDLL(str(library.resolve()))
        for name, result, arguments in (
            ("create", handle, (u64, u64, u32, u32, u32)), ("destroy", None, (handle,)), ("send", None, (handle, data, u64)),
            ("receive", u64, (handle, data, u64)), ("run", ctypes.c_int, (handle, u64)),
            ("read_memory", ctypes.c_int, (handle, u64, data, u64)), ("cycles", u64, (handle,)),
            ("violation", ctypes.c_char_p, (handle,)),
        ):
            function = getattr(self._library, f"board_{name}")
            function.restype, function.argtypes = result, arguments
        self._handle = self._library.board_create(MEMORY_BYTES, seed, stall, latency, DIVISOR)
        self._rng, self.noise = random.Random(seed), noise
        self._line, self._port = os.openpty()  # the port stays open here, so that a host may go and come again
        tty.setraw(self._port)
        os.set_blocking(self._line, False)
        self._wake, self._bell = os.pipe()
        self.uri = f"serial://{os.ttyname(self._port)}?baud={BAUD}"
        self._thread = threading.Thread(target=self._serve, name=self.uri)
        self._thread.start()

    @property
    def cycles(self) -> int:
        """Cycles simulated so far."""
        return int(self._library.board_cycles(self._handle))

    @property
    def violation(self) -> str:
        """The first rule of AXI4 that the board broke, or nothing."""
        return self._library.board_violation(self._handle).decode()

    def read_memory(self, address: int, size: int) -> bytes:
        """Bytes of the board's memory, past its link; only while nothing writes them."""
        data = ctypes.create_string_buffer(size)
        if self._library.board_read_memory(self._handle, address, data, size):
            raise ValueError(f"bytes {address} to {address + size} are not in memory")
        return data.raw

    def close(self) -> None:
        """Stop, and free everything."""
        os.write(self._bell, b"\0")
        self._thread.join()
        for descriptor in (self._line, self._port, self._wake, self._bell):
            os.close(descriptor)
        self._library.board_destroy(self._handle)

    def __enter__(self) -> Self:
        """Use the board in a ``with`` statement."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, and free everything."""
        self.close()

    def _serve(self) -> None:
        """Simulate, and carry bytes, until the bell rings."""
        buffer = ctypes.create_string_buffer(CHUNK)
        rest = 0  # cycles for which an idle board still runs
        while True:
            ready, _, _ = select.select([self._line, self._wake], [], [], 0 if rest > 0 else None)
            if self._wake in ready:
                return
            if self._line in ready:
                data = self._spoil(os.read(self._line, CHUNK))
                self._library.board_send(self._handle, data, len(data))
            idle = self._library.board_run(self._handle, SLICE)
            rest = rest - SLICE if idle and not ready else LINGER
            count = self._library.board_receive(self._handle, buffer, CHUNK)
            try:
                os.write(self._line, self._spoil(buffer.raw[:count]))
            except BlockingIOError:
                pass  # nobody reads: the bytes are lost, as on any line

    def _spoil(self, data: bytes) -> bytes:
        """What noise leaves of bytes."""
        if not self.noise:
            return data
        return bytes(x ^ self._rng.randrange(1, 256) if self._rng.randrange(1000) < self.noise else x for x in data)
