"""The simulated board: the RTL from its serial pins, the streams of a UDP core, or the pins of LiteEth's, to its memory port."""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import select
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from golden.spec.config import SMALL, Config
from hw.boards.catalog import BOARDS
from hw.flow.ethernet_core import ethernet_core
from hw.link.board import Board, EthernetBoard, UdpBoard
from hw.link.ethernet import CORE, PORT
from hw.link.link import Site
from sim.board.line import BOARD_IP, CHUNK, Cable, Line, Network, Terminal
from sim.device.build import ROOT, build_object

CLOCK = 100_000  #: cycles per second that the board says it has: fewer than are simulated, so that no host loses patience
SLICE = 2_000  #: cycles simulated between two looks at the line
LINGER = 100_000  #: cycles for which an idle board runs on; then its time stands still until a byte comes
UART, UDP, ETHERNET = "uart", "udp", "ethernet"  #: what leads to a board


def memory_bytes(config: Config) -> int:
    """Size of a board's memory: 64 MB, or as much as the machine can address."""
    return 1 << min(config.address_bits, 26)


def divisor(config: Config) -> int:
    """Cycles of a bit on the serial line, as in board.cpp; a lean machine's link takes some 80 from a byte to the next."""
    return 12 if config.lean else 4


def build(config: Config, folder: Path, link: str = UART) -> Path:
    """Build the shared object of a board into ``folder`` and return its path.

    Parameters
    ----------
    config : Config
        Of the accelerator.
    folder : Path
        To build in.
    link : str
        `UART`; `UDP`, the streams of a UDP core; or `ETHERNET`, the pins of LiteEth's core, the same Verilog as on ECPIX-5.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails; the message is the end of its output. If LiteEth is needed and not installed.
    """
    hardware = sorted([*ROOT.glob("hw/*.py"), *ROOT.glob("hw/link/*.py")])
    text = "\n".join([config.digest, *(x.read_text() for x in hardware)])
    site = Site(board=f"sim-{config.name}", clock=CLOCK, memory_bytes=memory_bytes(config),
                build=hashlib.sha256(text.encode()).hexdigest()[:16])
    here = Path(__file__)
    name, kind = {UART: ("board", Board), UDP: ("udp_board", UdpBoard), ETHERNET: ("ethernet_board", EthernetBoard)}[link]
    cells = []
    if link == ETHERNET:
        ecpix = BOARDS["ecpix5-85f"]
        core = folder / name / f"{CORE}.v"
        core.parent.mkdir(parents=True, exist_ok=True)
        core.write_text(ethernet_core(CORE, ecpix.chip.device, ecpix.clock, BOARD_IP, PORT))
        cells = [core, here.with_name("rgmii.v")]
    return build_object(folder / name / "libboard.so", "board", lambda: kind(config, site, divisor(config)), config,
                        here.with_name(f"{name}.cpp"), [*hardware, here, here.with_name("interface.h")], cells)


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
        Of its line, see `sim.board.line`.
    link : str
        `UART`, `UDP` or `ETHERNET`, as it was built.
    config : Config
        Of the accelerator, as it was built.

    Attributes
    ----------
    uri : str
        What `sw.device.open.open_device` opens it by.
    """

    def __init__(self, library: Path, seed: int = 1, stall: int = 0, latency: int = 20, noise: int = 0,
                 link: str = UART, config: Config = SMALL) -> None:
        handle, u32, u64, data = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p
        self._library = ctypes.CDLL(str(library.resolve()))
        for name, result, arguments in (
            ("create", handle, (u64, u64, u32, u32)), ("destroy", None, (handle,)), ("send", None, (handle, data, u64)),
            ("receive", u64, (handle, data, u64)), ("run", ctypes.c_int, (handle, u64)),
            ("read_memory", ctypes.c_int, (handle, u64, data, u64)), ("cycles", u64, (handle,)),
            ("violation", ctypes.c_char_p, (handle,)),
        ):
            function = getattr(self._library, f"board_{name}")
            function.restype, function.argtypes = result, arguments
        self._handle = self._library.board_create(memory_bytes(config), seed, stall, latency)
        rng = random.Random(seed)
        serial = CLOCK // divisor(config)
        self._line: Line = Terminal(serial, noise, rng) if link == UART else {UDP: Network, ETHERNET: Cable}[link](noise, rng)
        self._wake, self._bell = os.pipe()
        self.uri = self._line.uri
        self._thread = threading.Thread(target=self._serve, name=self.uri)
        self._thread.start()

    @property
    def cycles(self) -> int:
        """Cycles simulated so far."""
        return int(self._library.board_cycles(self._handle))

    @property
    def violation(self) -> str:
        """The first rule of AXI4, or of its line, that the board broke, or nothing."""
        return self._library.board_violation(self._handle).decode() or self._line.violation

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
        self._line.close()
        os.close(self._wake)
        os.close(self._bell)
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
            ready, _, _ = select.select([self._line.descriptor, self._wake], [], [], 0 if rest > 0 else None)
            if self._wake in ready:
                return
            if ready:
                data = self._line.read()
                self._library.board_send(self._handle, data, len(data))
            idle = self._library.board_run(self._handle, SLICE)
            rest = rest - SLICE if idle and not ready else LINGER
            count = self._library.board_receive(self._handle, buffer, CHUNK)
            said = self._line.write(buffer.raw[:count])
            self._library.board_send(self._handle, said, len(said))
            if said:
                rest = LINGER
