"""What `make bench` finds, as data: written to build/bench.json, and made into docs/results.md by `sim.speed.page`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from golden.spec.registers import SLOT_STATES

ASSUMED_MHZ = 80.0  #: clock of a machine that was not routed: what `base` is to reach on an LFE5U-85F


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer, or all transfers of one kind (``load``, ``store``), or the whole clip; means over the clips.

    Parameters
    ----------
    name : str
        Of the layer.
    cycles, predicted : float
        Of its descriptors on the Verilated machine, and by `sw.cycles` from the same spikes.
    wait : float
        Cycles in which its descriptors could not begin, because they or their weights were not there yet.
    sops : float
        Synaptic operations: set input bits times the output channels that each one feeds.
    results : float
        Results (a position, lane group and time step) that the neuron unit took.
    slots : dict
        Slot cycles by state, `golden.spec.registers.SLOT_STATES`; together slots x cycles of the LINEAR descriptors.
    bytes : int
        Moved between the machine and its external memory: weights, parameters, descriptors, records, tensors.
    macs : int
        Multiplications of the layer if nothing were skipped, see `sim.speed.measure.dense_macs`.
    """

    name: str
    cycles: float
    predicted: float
    wait: float
    sops: float
    results: float
    slots: dict[str, float]
    bytes: int
    macs: int

    def share(self, state: str) -> float:
        """Part of the slot cycles in a state; 0 where there are none."""
        total = sum(self.slots.values())
        return self.slots[state] / total if total else 0.0


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What place and route (or synthesis alone, then without ``mhz``) said of this configuration."""

    device: str
    luts: int  #: 4-input lookup tables and their equivalents, see hw/flow/devices.py
    memories: int
    mhz: float | None
    source: str  #: the report


@dataclass(frozen=True, kw_only=True)
class Density:
    """One convolution at one density of its input spikes. ``measured``: on the Verilated machine, where that was run."""

    density: float
    predicted: int
    measured: int | None


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One attention layer (HAMMING and LINEAR descriptors together) of ``places`` x ``places`` for ``timesteps``, whose weights
    take ``slices``.
    """

    places: int
    timesteps: int
    slices: int
    predicted: int
    measured: int | None


@dataclass(frozen=True, kw_only=True)
class Sweeps:
    """The same layer at several densities, the last of which is 1 (nothing to skip), and attention over several lengths."""

    preset: str
    densities: tuple[Density, ...]
    attention: tuple[Attention, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that was measured.

    Parameters
    ----------
    command : str
        That makes this report.
    preset, config, network, model : str
        Names and digests of the machine and of the network.
    data : str
        Where the clips are from.
    clips : int
        Number of clips that the figures are means of.
    latency, bandwidth : int
        Of the memory: cycles from a burst's address to its first beat, bytes a cycle at most (0: as many as the port takes).
    peak, slots, axi_bytes : int
        Of the machine: synaptic operations a cycle, issue slots, bytes that a cycle of the memory port moves.
    layers : tuple of Row
        In order of execution, transfers among them.
    clip : Row
        The whole program, from start to end.
    host : (float, float)
        Seconds of the host before the start (packing the clip) and after the end (statistics, result).
    hardware : Hardware, optional
        None where there is no report of this configuration.
    torch : dict
        Seconds a clip of the network's twins on the host's CPU, by name.
    cpu : str
        That CPU.
    simulated : float
        Cycles that were simulated a second.
    sweeps : Sweeps, optional
        Where they were asked for.
    """

    command: str
    preset: str
    config: str
    network: str
    model: str
    data: str
    clips: int
    latency: int
    bandwidth: int
    peak: int
    slots: int
    axi_bytes: int
    layers: tuple[Row, ...]
    clip: Row
    host: tuple[float, float]
    hardware: Hardware | None
    torch: dict[str, float]
    cpu: str
    simulated: float
    sweeps: Sweeps | None = None

    @property
    def mhz(self) -> float:
        """Clock of all figures in seconds: routed, else `ASSUMED_MHZ`."""
        return self.hardware.mhz if self.hardware and self.hardware.mhz else ASSUMED_MHZ

    @property
    def clock(self) -> str:
        """The clock and where it is from, as a table says it."""
        if self.hardware and self.hardware.mhz:
            return f"{self.mhz:g} MHz, routed on {self.hardware.device}"
        return f"{self.mhz:g} MHz, not routed"

    def utilisation(self, row: Row) -> float:
        """Real synaptic operations of a row over the peak of its cycles."""
        return row.sops / (self.peak * row.cycles) if row.cycles else 0.0

    def attainable(self, row: Row) -> float:
        """Synaptic operations a cycle that neither the array nor the memory port exceeds: the roofline at a row's intensity."""
        return min(float(self.peak), row.sops / row.bytes * self.axi_bytes) if row.bytes else float(self.peak)

    @property
    def clips_per_second(self) -> float:
        """Of clips one after the other, without the host."""
        return self.mhz * 1e6 / self.clip.cycles

    def write(self, path: Path) -> None:
        """Write JSON: the fields, and what follows from them for each layer."""
        values = asdict(self)
        for row, out in zip((*self.layers, self.clip), (*values["layers"], values["clip"]), strict=True):
            out |= {"utilisation": self.utilisation(row), "attainable": self.attainable(row)}
        values |= {"mhz": self.mhz, "clips_per_second": self.clips_per_second}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def whole(layers: tuple[Row, ...], cycles: float, predicted: float) -> Row:
    """The clip of these layers that took ``cycles`` from start to end, waits included, as is what was ``predicted``."""
    return Row(
        name="whole clip", cycles=cycles, predicted=predicted, wait=sum(x.wait for x in layers),
        sops=sum(x.sops for x in layers), results=sum(x.results for x in layers),
        slots={state: sum(x.slots[state] for x in layers) for state in SLOT_STATES}, bytes=sum(x.bytes for x in layers),
        macs=sum(x.macs for x in layers))
