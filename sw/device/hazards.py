"""Which descriptors may run at the same time, and whether they touch the same: what the machine leaves to the compiler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from golden.spec.config import Config
from golden.spec.descriptor import Opcode

SPIKES, RESIDUAL, WEIGHTS, PARAMETERS = "spike banks", "residual memory", "weight banks", "parameter memory"
UNITS = {Opcode.LINEAR: "linear", Opcode.HAMMING: "hamming", Opcode.LOAD: "mover", Opcode.STORE: "mover"}


class HazardError(RuntimeError):
    """A program whose result depends on which of two descriptors is faster; the message names both and the place."""


@dataclass
class _Use:
    """What a descriptor reads and writes: for each memory, whether it touches an address."""

    name: str
    unit: str
    beside: bool
    reads: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    writes: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def check(self, other: _Use, how: str) -> None:
        """Fail where one writes what the other touches."""
        pairs = ((self.writes, other.writes, "writes", "writes"), (self.writes, other.reads, "writes", "reads"),
                 (self.reads, other.writes, "reads", "writes"))
        for mine, theirs, does, did in pairs:
            for memory in mine.keys() & theirs.keys():
                both = np.flatnonzero(mine[memory] & theirs[memory])
                if both.size:
                    place = f"{both.size} addresses of the {memory} from {both[0]} on"
                    raise HazardError(f"{self.name} {does} {place}, which {other.name} {did}, and {how}")


class Hazards:
    """Follows a program in its order, as the sequencer would start it at the earliest.

    Addresses are those of a bank: where one bank is touched all count as touched.

    Parameters
    ----------
    config : Config
        Sizes of the memories.
    """

    def __init__(self, config: Config) -> None:
        self.depth = {
            SPIKES: config.spike_words, RESIDUAL: config.u_beats, WEIGHTS: config.weight_rows, PARAMETERS: config.param_beats,
        }
        self._running: list[_Use] = []  #: in the order of their starts; the last one of each unit only
        self._now = _Use("", "", False)

    def begin(self, number: int, d: Mapping[str, int]) -> None:
        """The images of a descriptor are loaded, while those before it run where it has ``prefetch``."""
        opcode = Opcode(d["opcode"])
        self._now = _Use(f"descriptor {number} ({opcode.name})", UNITS[opcode], bool(d["beside"]))

    def loaded(self, d: Mapping[str, int]) -> None:
        """They are there, and it starts, when those are done that it waits for."""
        if d["prefetch"]:
            for other in self._running:
                self._now.check(other, "its weights and parameters load while that one may run: prefetch")
        self._now.writes.clear()
        gone = {self._now.unit, *(["hamming"] if d["after_hamming"] else []), *(["mover"] if d["after_move"] else [])}
        self._running = [x for x in self._running if x.unit not in gone and x.beside]

    def end(self) -> None:
        """All that it touches is known. It may run on."""
        for other in self._running:
            self._now.check(other, "does not wait for it")
        self._running.append(self._now)

    def late(self) -> None:
        """What it loads for later ones comes while it and others run, before the next one's images."""
        self._now = _Use(f"what {self._now.name} loads for later ones", "", False)

    def late_end(self) -> None:
        """All of that is known."""
        for other in self._running:
            self._now.check(other, "loads while that one may run")

    def touch(self, memory: str, index: NDArray[np.integer], writes: bool) -> None:
        """The descriptor reads or writes these addresses."""
        marks = self._now.writes if writes else self._now.reads
        marks.setdefault(memory, np.zeros(self.depth[memory], bool))[index] = True
