"""Stream source and sink with random stalls."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from sim.lib.clock import Port


class Source:
    """Sends what is queued; ``valid`` is high with probability ``rate``, and holds until the item is taken.

    ``gate``, where given, says in each cycle whether a new item may start (for senders that look at a room signal).
    """

    def __init__(self, dut: Any, name: str, rate: float = 1.0, gate: Callable[[], bool] | None = None) -> None:
        self.valid, self.ready, self.payload = (Port(dut, f"{name}_{x}") for x in ("valid", "ready", "payload"))
        self.rate, self.gate = rate, gate
        self.queue: deque[int] = deque()
        self.offering = False
        self.sent = 0

    def send(self, items: Iterable[int]) -> None:
        """Queue payloads."""
        self.queue.extend(items)

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        if not self.offering and self.queue and random.random() < self.rate and (self.gate is None or self.gate()):
            self.offering = True
            self.payload.set(self.queue[0])
        self.valid.set(int(self.offering))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`. A stream without ``ready`` is always ready."""
        if self.offering and (self.ready.handle is None or self.ready.get()):
            self.queue.popleft()
            self.offering = False
            self.sent += 1


class Sink:
    """Takes items; ``ready`` is high with probability ``rate``, drawn anew in each cycle.

    Fails if a payload that waits changes, or goes away.
    """

    def __init__(self, dut: Any, name: str, rate: float = 1.0) -> None:
        self.name, self.rate = name, rate
        self.valid, self.ready, self.payload = (Port(dut, f"{name}_{x}") for x in ("valid", "ready", "payload"))
        self.items: list[int] = []
        self.waiting: int | None = None

    def has(self, count: int) -> Callable[[], bool]:
        """A condition to wait for: that many items have come."""
        return lambda: len(self.items) >= count

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        self.ready.set(int(random.random() < self.rate))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        ready = self.ready.last or self.ready.handle is None
        if not self.valid.get():
            assert self.waiting is None, f"{self.name}: valid fell before ready"
            return
        payload = self.payload.get()
        assert self.waiting in (None, payload), f"{self.name}: payload changed while it waited"
        self.waiting = None if ready else payload
        if ready:
            self.items.append(payload)

    def reached(self, count: int) -> Callable[[], bool]:
        """Whether so many items came."""
        return lambda: len(self.items) >= count
