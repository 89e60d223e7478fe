"""``sim:PRESET``: the Verilated accelerator in this process, opened as the shared object that sim/device built."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import numpy as np

from sw.device.base import Device, DeviceError, DeviceUnavailableError

MEMORY_BYTES = 1 << 26


def library_path(preset: str) -> Path:
    """Where the shared object of a preset lies: in ``$TANDEM_BUILD``, or ``build`` where that is not set."""
    return Path(os.environ.get("TANDEM_BUILD", "build"), preset, "libdevice.so")


class SimDevice(Device):
    """One Verilated accelerator with a memory that stalls at random.

    Parameters
    ----------
    path : Path
        The shared object.
    uri : str
        What it was opened by.
    seed : int
        Of the random stalls.
    stall : int
        Per mille of cycles in which a handshake of the memory waits.
    latency : int
        Cycles from a burst's address to its first beat.
    bandwidth : int
        Bytes that the memory moves in a cycle at most, there and back together; 0: as many as the bus takes.
    memory_bytes : int
        Size of the memory; beyond it every access gets an error response.

    Raises
    ------
    DeviceUnavailableError
        If the shared object has not been built.
    """

    slice = 20_000  #: cycles simulated between two looks at the clock

    def __init__(self, path: Path, uri: str, seed: int = 1, stall: int = 0, latency: int = 20, bandwidth: int = 0,
                 memory_bytes: int = MEMORY_BYTES) -> None:
        self.uri = uri
        self.memory_bytes = memory_bytes
        build = f"make sim-device PRESET={path.parent.name}"
        if not path.exists():
            raise DeviceUnavailableError(f"{path} does not exist: run '{build}'")
        try:
            library = ctypes.CDLL(str(path.resolve()))
        except OSError as error:
            raise DeviceUnavailableError(f"{path} cannot be opened ({error}): build it again with '{build}'") from error
        u32, u64, handle, data = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p
        for name, result, arguments in (
            ("create", handle, (u64, u64, u32, u32, u32)), ("destroy", None, (handle,)),
            ("write_memory", ctypes.c_int, (handle, u64, data, u64)), ("read_memory", ctypes.c_int, (handle, u64, data, u64)),
            ("write_register", ctypes.c_int, (handle, u32, u32)),
            ("read_register", ctypes.c_int, (handle, u32, ctypes.POINTER(u32))),
            ("run", ctypes.c_int, (handle, u64)), ("cycles", u64, (handle,)), ("fault", None, (handle, u32, u64, u64)),
            ("violation", ctypes.c_char_p, (handle,)),
        ):
            function = getattr(library, f"device_{name}")
            function.restype, function.argtypes = result, arguments
        self._library = library
        self._handle: int | None = library.device_create(memory_bytes, seed, stall, latency, bandwidth)

    def close(self) -> None:
        """Free the simulation."""
        if self._handle is not None:
            self._library.device_destroy(self._handle)
            self._handle = None

    def read_memory(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes of memory."""
        self.check_range(address, size)
        data = np.empty(size, np.uint8)
        self._library.device_read_memory(self._handle, address, data.ctypes.data, size)
        return data.tobytes()

    def write_memory(self, address: int, data: bytes | memoryview) -> None:
        """Write bytes to memory."""
        self.check_range(address, len(data))
        array = np.frombuffer(data, np.uint8)
        self._library.device_write_memory(self._handle, address, array.ctypes.data, len(data))

    def read_register(self, address: int) -> int:
        """Read a 32-bit register by an AXI4-Lite transaction; an error response is a `DeviceError`."""
        value = ctypes.c_uint32()
        self._answered(self._library.device_read_register(self._handle, address, ctypes.byref(value)), "read", address)
        return value.value

    def write_register(self, address: int, value: int) -> None:
        """Write a 32-bit register by an AXI4-Lite transaction; an error response is a `DeviceError`."""
        self._answered(self._library.device_write_register(self._handle, address, value), "write", address)

    def wait_interrupt(self, timeout: float) -> bool:
        """Simulate until the interrupt line is high or ``timeout`` seconds have passed; the line's state."""
        end = time.monotonic() + timeout
        while not self._library.device_run(self._handle, self.slice):
            self._check_protocol()
            if time.monotonic() >= end:
                return False
        self._check_protocol()
        return True

    @property
    def cycles(self) -> int:
        """Cycles simulated since the device was opened."""
        return int(self._library.device_cycles(self._handle))

    def fault(self, kind: str, low: int = 0, high: int = 0) -> None:
        """Let the memory misbehave from now on.

        Parameters
        ----------
        kind : str
            ``none``; ``read`` or ``write``: error responses from ``low`` to ``high``; ``silent``: it never answers.
        low, high : int
            Addresses, ``high`` excluded.
        """
        self._library.device_fault(self._handle, ("none", "read", "write", "silent").index(kind), low, high)

    def _answered(self, response: int, what: str, address: int) -> None:
        if response:
            how = "no answer" if response < 0 else f"error response {response}"
            raise DeviceError(f"{self.uri}: register {what} at {address:#x} got {how}")

    def _check_protocol(self) -> None:
        text = self._library.device_violation(self._handle)
        if text:
            raise DeviceError(f"{self.uri}: the accelerator broke a rule of its bus: {text.decode()}")
