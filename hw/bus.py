"""What the blocks hand to each other: the descriptor in hardware form and the ports of the on-chip memories."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, PureInterface, Signature

from golden.spec.config import Config, clog2
from golden.spec.descriptor import FIELDS, field_bits
from golden.spec.registers import SLOT_STATES


def descriptor_layout() -> data.StructLayout:
    """Every field of `golden.spec.descriptor` under its name."""
    return data.StructLayout({f.name: signed(f.bits) if f.signed else unsigned(f.bits) for f in FIELDS.values()})


def lasts(m: Module, config: Config, descriptor: data.View, names: Sequence[str]) -> dict[str, Signal]:
    """Registers with the last index of each loop, the field less 1; they follow the descriptor one cycle behind."""
    registers = {name: Signal(field_bits(name, config), name=f"last_{name}") for name in names}
    m.d.sync += [register.eq(descriptor[name] - 1) for name, register in registers.items()]
    return registers


def is_last(m: Module, config: Config, descriptor: data.View, name: str, counter: Value) -> Value:
    """Whether a loop's counter is at the last index, the field less 1: of a register as `lasts` makes it, or, where that would
    take as many cells again as the counter, by what comes behind the counter.
    """
    if config.lean:
        return (counter + 1)[:len(counter)] == descriptor[name][:len(counter)]
    return counter == lasts(m, config, descriptor, (name,))[name]


def parameter_layout() -> data.StructLayout:
    """One channel's entry of the parameter memory: y = ((acc + bias) << 8) >> shift8, so shift8 = r + 8, 0..31."""
    return data.StructLayout({"bias": signed(24), "shift8": 5, "_": 3})


def counts_layout(config: Config) -> data.StructLayout:
    """What the compute units did in a cycle, by name of `golden.spec.registers.STATISTICS`."""
    slots = config.cores * config.issue
    return data.StructLayout({
        "adds": range(slots * config.lanes + 1), "results": 1, **dict.fromkeys(SLOT_STATES, range(slots + 1)),
    })


class SpikeRead(Signature):
    """Read port of the spike banks, as seen by the reader: an address for each of the ``taps`` memories that banks are made of,
    the same in all banks; data by memory and core one cycle after ``en``, held until the next ``en``.

    Word a of a bank is word ``a // taps`` of memory ``a mod taps``.
    """

    def __init__(self, config: Config) -> None:
        super().__init__({
            "en": Out(1),
            "addr": Out(data.ArrayLayout(clog2(config.spike_words // config.taps), config.taps)),
            "data": In(data.ArrayLayout(data.ArrayLayout(config.word, config.cores), config.taps)),
        })


def read_word(m: Module, read: PureInterface, address: Value) -> data.View:
    """Words by core, a cycle after ``en``, of a reader that wants the one at ``address`` of each bank."""
    taps = read.addr.shape().length
    memory = Signal(clog2(taps))
    m.d.comb += [own.eq(address >> clog2(taps)) for own in read.addr]
    with m.If(read.en):
        m.d.sync += memory.eq(address)
    return read.data[memory]


class SpikeWrite(Signature):
    """Write ports of the spike banks, as seen by the writer, one for each bank; bit i of a bank's ``mask`` enables the channels
    of beat i.
    """

    def __init__(self, config: Config) -> None:
        super().__init__({
            "mask": Out(data.ArrayLayout(config.word // config.neuron_lanes, config.cores)),
            "addr": Out(data.ArrayLayout(clog2(config.spike_words), config.cores)),
            "data": Out(data.ArrayLayout(config.word, config.cores)),
        })


class MemoryRead(Signature):
    """Read port of a plain memory, as seen by the reader; data one cycle after ``en``, held until the next."""

    def __init__(self, depth: int, bits: int) -> None:
        super().__init__({"en": Out(1), "addr": Out(clog2(depth)), "data": In(bits)})


class MemoryWrite(Signature):
    """Write port of a plain memory, as seen by the writer."""

    def __init__(self, depth: int, bits: int) -> None:
        super().__init__({"en": Out(1), "addr": Out(clog2(depth)), "data": Out(bits)})


class WeightWrite(Signature):
    """Write port of the weight banks, as seen by the writer: one row of one bank, or with ``every`` of each bank; of the row the
    lanes that the Hamming engine makes at once, for each bit of ``parts``.
    """

    def __init__(self, config: Config) -> None:
        super().__init__({
            "en": Out(1),
            "every": Out(1),
            "parts": Out(config.lanes // config.ham_lanes),
            "bank": Out(clog2(config.issue)),
            "row": Out(clog2(config.weight_rows)),
            "data": Out(config.row_bits),
        })


class Unit(Signature):
    """How the sequencer runs a unit, as seen by the sequencer.

    ``start`` pulses for one cycle; the descriptor is stable from then on until ``done``. The unit pulses ``done`` in the cycle
    after its last effect (all its writes have reached memory), never in the cycle of ``start``. ``progress`` is high in each
    cycle in which the unit moves on, or in the one after it; the watchdog counts the others.
    """

    def __init__(self) -> None:
        super().__init__({"start": Out(1), "descriptor": Out(descriptor_layout()), "done": In(1), "progress": In(1)})


def mover_waits(config: Config) -> data.StructLayout:
    """Ports of the scratchpad that LINEAR uses, and the mover asks nothing of: those that read in this cycle, those that write in
    the next one, of spikes by bank.
    """
    return data.StructLayout({"spike_read": 1, "spike_write": config.cores, "u_read": 1, "u_write": 1})


def hamming_waits() -> data.StructLayout:
    """Read ports, of spikes and of parameters, that others use in this cycle: HAMMING asks nothing of them."""
    return data.StructLayout({"read": 1, "params": 1})


def u_read(config: Config) -> MemoryRead:
    """Read port of the residual memory."""
    return MemoryRead(config.u_beats, config.u_beat_bits)


def u_write(config: Config) -> MemoryWrite:
    """Write port of the residual memory."""
    return MemoryWrite(config.u_beats, config.u_beat_bits)


def param_read(config: Config) -> MemoryRead:
    """Read port of the parameter memory."""
    return MemoryRead(config.param_beats, config.param_beat_bits)


def param_write(config: Config) -> MemoryWrite:
    """Write port of the parameter memory: it is written as the bus brings it, part by part of a beat, the first one lowest."""
    return MemoryWrite(config.param_beats * config.param_parts, config.axi_bits)


__all__ = [
    "In", "MemoryRead", "MemoryWrite", "SpikeRead", "SpikeWrite", "Unit", "WeightWrite", "counts_layout",
    "descriptor_layout", "hamming_waits", "is_last", "lasts", "mover_waits", "param_read", "param_write", "parameter_layout",
    "read_word", "u_read", "u_write",
]
