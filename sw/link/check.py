"""The test of a link: does every pattern come back, how fast, with what losses."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sw.link.client import Counters, LinkError
from sw.link.device import LinkDevice

MEMORY_BYTES = 4096  #: at the end of memory, written, read and put back as they were
LATENCY_ECHOES = 10
PATTERNS = (b"\0", b"\1", b"\xff", b"\x55", bytes(range(256)))


@dataclass(frozen=True)
class LinkReport:
    """Outcome of a test in which everything came back right.

    Attributes
    ----------
    echoes : int
        Bodies sent and got back.
    latency : float
        Seconds for a request without a body, median.
    echo_rate, write_rate, read_rate : float
        Bytes per second of bodies back, of memory written, of memory read.
    write_overhead, read_overhead : float
        Bytes on the line, both ways, for each byte of memory, less that byte.
    counters : Counters
        Of the link since it was opened.
    """

    echoes: int
    latency: float
    echo_rate: float
    write_rate: float
    read_rate: float
    write_overhead: float
    read_overhead: float
    counters: Counters


def check_link(device: LinkDevice) -> LinkReport:
    """Send patterns to and fro, then write and read a piece of memory, which is put back as it was.

    Raises
    ------
    LinkError
        If something else came back, or no answer came in spite of all tries.
    """
    link, most = device.link, device.link.identity.data_bytes

    def timed(action: Callable[[], Any]) -> tuple[Any, float, int]:
        """Result, seconds and bytes on the line."""
        lines, begin = link.counters.bytes_sent + link.counters.bytes_received, time.perf_counter()
        result = action()
        return result, time.perf_counter() - begin, link.counters.bytes_sent + link.counters.bytes_received - lines

    bodies = [(pattern * most)[:size] for pattern in PATTERNS for size in (1, 253, 254, 255, most)]
    bodies += [random.randbytes(size) for size in (most // 2, most)]
    seconds = 0.0
    for body in bodies:
        back, spent, _ = timed(partial(link.echo, body))
        seconds += spent
        if back != body:
            raise LinkError(f"{device.uri}: an echo of {len(body)} bytes came back as other {len(back)} bytes")
    latency = statistics.median(timed(partial(link.echo, b""))[1] for _ in range(LATENCY_ECHOES))

    size = min(MEMORY_BYTES, device.memory_bytes)
    at, data = device.memory_bytes - size, random.randbytes(size)
    before = device.read_memory(at, size)
    try:
        _, write_seconds, write_bytes = timed(partial(device.write_memory, at, data))
        back, read_seconds, read_bytes = timed(partial(device.read_memory, at, size))
    finally:
        device.write_memory(at, before)
    if back != data:
        raise LinkError(f"{device.uri}: memory from {at:#x} reads other than it was written")
    return LinkReport(
        len(bodies), latency, sum(map(len, bodies)) / seconds, size / write_seconds, size / read_seconds,
        write_bytes / size - 1, read_bytes / size - 1, link.counters)
