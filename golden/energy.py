"""Energy of one clip in four rows that answer different questions and are never mixed.

Figures of 45 nm: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, table 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from golden.integer.network import Count
from golden.spec.model import HEAD, INPUT, MASK, Model

MAC = 4.6e-12  #: J, 32-bit float multiplication 3.7 pJ + addition 0.9 pJ
AC = 0.9e-12  #: J, 32-bit float addition: what papers on spiking networks count
ADD = 0.1e-12  #: J, 32-bit integer addition, the next larger one to our 24 bits
SRAM_BIT = 20e-12 / 64  #: J, of a 64-bit access to 32 KB
DRAM_BIT = 1.3e-9 / 64  #: J, of a 64-bit access, the lower end of 1.3 to 2.6 nJ


@dataclass(frozen=True)
class Row:
    """One way to count."""

    name: str
    joules: float | None  #: per clip; None: not known
    formula: str  #: with the numbers that went in, or what to do to get them


@dataclass(frozen=True)
class Work:
    """Operations and traffic of one layer and one clip."""

    macs: int  #: multiplications by pixels, where the input is pixels: all of them, zeros too
    acs: int  #: additions that a spike causes: synaptic operations, and those that make attention's weights
    sram_bits: int  #: read and written on chip
    dram_bits: int  #: weights, and the clip where this layer reads it, once


def work(model: Model, counts: Mapping[str, Count], clips: int) -> dict[str, Work]:
    """Operations and traffic of every layer, mean of the clips that were counted.

    On chip: a weight for every synaptic operation, every input bit for each tap that reads it, residual values in and out,
    spikes out. Membranes live in registers, because all time steps of a place come one after the other.

    Parameters
    ----------
    model : Model
        The graph.
    counts : dict
        By layer, as `golden.integer.network.run` fills it.
    clips : int
        Number of clips in ``counts``.
    """
    shapes, highs = model.shapes(), model.highs()
    result = {}
    for layer in model.layers:
        out = next(x for x in (layer.spike_out, layer.u_out, layer.name) if x in shapes)
        made, read = (math.prod(shapes[x]) for x in (out, layer.inputs[0]))
        if layer.op == MASK:
            result[layer.name] = Work(macs=0, acs=0, sram_bits=2 * read + made, dram_bits=0)
            continue
        count, pixels = counts[layer.name], layer.inputs[0] == INPUT and model.planes > 1
        weights = math.prod(layer.weight_shape(shapes)) if "weight" in layer.parts else 0
        places = read // shapes[layer.inputs[0]][-1] if layer.op == HEAD else made // layer.channels
        taps = weights // layer.channels * layer.groups if weights else layer.channels  # inputs that one place reads
        bits = highs[layer.inputs[0]].bit_length() * places * taps  # read
        bits += (highs[layer.spike_out].bit_length() if layer.spike_out else 0) * made
        bits += model.u_bits * made * (bool(layer.residual) + bool(layer.u_out)) + layer.weight_bits * (count.sop // clips)
        result[layer.name] = Work(
            macs=places * weights if pixels else 0, acs=0 if pixels else (count.sop + count.pairs) // clips, sram_bits=bits,
            dram_bits=layer.weight_bits * weights + (model.planes * read if layer.inputs[0] == INPUT else 0),
        )
    return result


def table(model: Model, counts: Mapping[str, Count], clips: int, device: tuple[float, str] | None = None,
          board: float | None = None) -> list[Row]:
    """The four rows.

    Parameters
    ----------
    model, counts, clips
        As `work`.
    device : (joules per clip, what measured it), optional
        From hardware counters and toggles.
    board : float, optional
        Joules per clip measured at a board.
    """
    layers = work(model, counts, clips).values()
    macs, acs = sum(x.macs for x in layers), sum(x.acs for x in layers)
    sops = sum(x.sop for x in counts.values()) // clips + sum(x.pairs for x in counts.values()) // clips
    sram, dram = sum(x.sram_bits for x in layers), sum(x.dram_bits for x in layers)
    return [
        Row("1 convention of papers, 45 nm", macs * MAC + acs * AC,
            f"{macs:,} MAC x 4.6 pJ + {acs:,} AC x 0.9 pJ; no memory counted"),
        Row("2 operations and memory, 45 nm (estimate)", sops * ADD + sram * SRAM_BIT + dram * DRAM_BIT,
            f"{sops:,} additions x 0.1 pJ + {sram:,} bits on chip x 0.3125 pJ + {dram:,} bits from DRAM x 20.3 pJ"),
        Row("3 hardware counters and toggles", *(device or (None, "not measured here: needs the counters of an RTL run"))),
        Row("4 measured at the board", board, "as supplied" if board is not None else "not measured: supply it"),
    ]
