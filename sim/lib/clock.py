"""The clock of a bench: agents that act once in each cycle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly


class Agent(Protocol):
    """Something beside the component that acts in every cycle."""

    def drive(self) -> None:
        """Set the component's inputs for the rising edge that comes."""

    def sample(self) -> None:
        """Read ports that have settled; what is seen here is what the rising edge sees."""


class Port:
    """A port by its flat name; one that does not exist (no bits) reads 0 and takes no value."""

    def __init__(self, dut: Any, name: str) -> None:
        self.handle = getattr(dut, name, None)
        self.last: int | None = None

    def get(self) -> int:
        """Unsigned value."""
        return 0 if self.handle is None else int(self.handle.value)

    def set(self, value: int) -> None:
        """Drive an unsigned value; nothing is done where it is driven already."""
        if self.handle is not None and value != self.last:
            self.handle.value = value
            self.last = value


class Bench:
    """Clock, reset and agents: each cycle drives in the middle of the period and samples when all has settled.

    Two triggers a cycle serve any number of agents; one coroutine per agent would be several times slower.
    """

    def __init__(self, dut: Any, agents: Sequence[Agent] = ()) -> None:
        self.dut = dut
        self.agents = list(agents)
        self.cycle = 0
        self.rst = Port(dut, "rst")

    async def reset(self) -> None:
        """Start the clock and hold reset for two cycles."""
        Clock(self.dut.clk, 10, unit="ns").start()
        self.rst.set(1)
        for _ in range(2):
            await FallingEdge(self.dut.clk)
        self.rst.set(0)

    async def tick(self) -> None:
        """One cycle."""
        await FallingEdge(self.dut.clk)
        for agent in self.agents:
            agent.drive()
        await ReadOnly()
        for agent in self.agents:
            agent.sample()
        self.cycle += 1

    async def until(self, condition: Callable[[], bool], limit: int, what: str) -> None:
        """Tick until a condition holds.

        Raises
        ------
        AssertionError
            If it does not within ``limit`` cycles.
        """
        for _ in range(limit):
            if condition():
                return
            await self.tick()
        raise AssertionError(f"{what} did not come within {limit} cycles")


class Wire:
    """An input that the bench sets between ticks; ``pulse`` holds for one cycle only."""

    def __init__(self, dut: Any, name: str, value: int = 0) -> None:
        self.port = Port(dut, name)
        self.value = value
        self.once: int | None = None

    def pulse(self, value: int = 1) -> None:
        """Drive a value for the next cycle."""
        self.once = value

    def drive(self) -> None:
        """See `Agent`."""
        self.port.set(self.value if self.once is None else self.once)
        self.once = None

    def sample(self) -> None:
        """See `Agent`."""


class Probe:
    """An output: its value in the last cycle, the sum over all cycles, the number of cycles in which it was not 0, and the
    most cycles in a row in which it was 0.
    """

    def __init__(self, dut: Any, name: str) -> None:
        self.port = Port(dut, name)
        self.value, self.total, self.count = 0, 0, 0
        self.longest, self.zeros = 0, 0

    def drive(self) -> None:
        """See `Agent`."""

    def sample(self) -> None:
        """See `Agent`."""
        self.value = self.port.get()
        self.total += self.value
        self.count += self.value != 0
        self.zeros = 0 if self.value else self.zeros + 1
        self.longest = max(self.longest, self.zeros)

    def reached(self, total: int) -> Callable[[], bool]:
        """Whether the sum is that high."""
        return lambda: self.total >= total
