"""What the compute units count, by name."""

from __future__ import annotations

from collections import Counter
from typing import Any

from golden.spec.config import Config
from golden.spec.registers import SLOT_STATES
from hw.bus import counts_layout
from sim.lib.clock import Port
from sim.lib.pack import unpack


class Counts:
    """Sums of the fields of a ``counts`` port; checks that each issue slot is in one state in each cycle."""

    WARM = 4  #: cycles after reset until the states are those of slots

    def __init__(self, dut: Any, config: Config) -> None:
        self.config, self.port, self.cycle = config, Port(dut, "counts"), 0
        self.total: Counter[str] = Counter()

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        self.cycle += 1
        counts = unpack(counts_layout(self.config), self.port.get())
        self.total.update(counts)
        states = sum(counts[name] for name in SLOT_STATES)
        assert self.cycle <= self.WARM or states == self.config.cores * self.config.issue, f"{counts}: not a state for each slot"
