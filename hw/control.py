"""The memory side of the machine as one component."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config
from golden.spec.registers import ADDRESS_BITS
from hw.axi import AxiLite, AxiRead, AxiWrite
from hw.bus import (
    SpikeRead,
    SpikeWrite,
    Unit,
    WeightWrite,
    descriptor_layout,
    param_write,
    u_read,
    u_write,
)


class Control(wiring.Component):
    """Registers, DMA engines, loader, mover and sequencer: everything but the compute units and their memories.

    The descriptor is stable from a unit's ``start`` to its ``done``. While ``flush`` is high (whenever no program runs)
    compute units must be held in reset; memory contents may stay. The loader may write weights and parameters while
    LINEAR runs (the compiler sees to it that they are others), never while HAMMING runs. Spike and residual ports are
    used only while LOAD or STORE runs; the read ports' memories must hold their data while ``en`` is low.

    Ports
    -----
    axil : AxiLite, in
    axi_read : AxiRead, out
    axi_write : AxiWrite, out
    irq : Signal(), out
    descriptor : Signal(descriptor_layout()), out
    linear, hamming : Unit, out
    flush : Signal(), out
    weight_write : WeightWrite, out
    param_write : MemoryWrite, out
    spike_read : SpikeRead, out
    spike_write : SpikeWrite, out
    u_read : MemoryRead, out
    u_write : MemoryWrite, out
    adds : Signal(), in
        Rows or lanes added in this cycle.
    results, busy, starved, blocked : Signal(), in
        Levels behind the statistics of the same names, counted per cycle. What happens before ``done`` may come up to
        one cycle after it.
    saturations : Signal(), in
        Residual values that saturated in this cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "axil": In(AxiLite(ADDRESS_BITS)),
            "axi_read": Out(AxiRead(config.axi_bits)),
            "axi_write": Out(AxiWrite(config.axi_bits)),
            "irq": Out(1),
            "descriptor": Out(descriptor_layout()),
            "linear": Out(Unit()),
            "hamming": Out(Unit()),
            "flush": Out(1),
            "weight_write": Out(WeightWrite(config)),
            "param_write": Out(param_write(config)),
            "spike_read": Out(SpikeRead(config)),
            "spike_write": Out(SpikeWrite(config)),
            "u_read": Out(u_read(config)),
            "u_write": Out(u_write(config)),
            "adds": In(range(config.cores * config.issue * config.lanes + 1)),
            "results": In(1),
            "busy": In(1),
            "starved": In(1),
            "blocked": In(1),
            "saturations": In(range(config.neuron_lanes + 1)),
        })

    def elaborate(self, platform: object) -> Module:
        return Module()
