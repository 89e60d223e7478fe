"""docs/results.md, made from a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import fill

import numpy as np

from golden.spec.registers import SLOT_STATES, STATISTICS
from sim.speed.report import Attention, Density, Report, Row, Sweeps
from sim.speed.rivals import RIVALS


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column is text and all others are numbers."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]) + "\n"


def text(*sentences: str) -> str:
    """A paragraph in lines."""
    return fill(" ".join(sentences), 130, break_long_words=False, break_on_hyphens=False) + "\n"


def page(r: Report) -> str:
    """The whole page."""
    return "\n".join([
        "# Results\n",
        text(f"Made by `{r.command}`; do not edit.",
             "Cycles are those of the Verilated RTL, run by the real driver; memory without stalls,",
             f"{r.latency} cycles of latency,",
             f"at most {r.bandwidth or r.axi_bytes} bytes a cycle.",
             "The result of every clip was equal to the integer golden model's."),
        text(f"`{r.network}` (model {r.model[:12]}) on `{r.preset}` (config {r.config[:12]}; at most {r.peak:,} synaptic",
             f"operations a cycle); {r.data}, mean of {r.clips} clip(s)."),
        *_clip(r), *_layers(r), *_stalls(r), *_rivals(r), *_cpu(r), *(_sweeps(r.sweeps) if r.sweeps else []),
    ])


def _clip(r: Report) -> list[str]:
    per_second = r.clips_per_second
    before, after = (1e3 * x for x in r.host)
    values = [
        ("cycles, start to end", f"{r.clip.cycles:,.0f}"),
        ("cycles predicted", f"{r.clip.predicted:,.0f}"),
        ("waits for descriptors and weights, cycles", f"{r.clip.wait:,.0f}"),
        ("utilisation", f"{r.utilisation(r.clip):.1%}"),
        ("synaptic operations", f"{r.clip.sops:,.0f}"),
        ("external memory, bytes", f"{r.clip.bytes:,}"),
        ("clock", r.clock),
        ("start to result, ms", f"{1e3 / per_second:.3f}"),
        ("clips a second, one after the other", f"{per_second:,.1f}"),
        ("host before the start and after the end, ms (Python, measured)", f"{before:.1f} + {after:.1f}"),
        ("synaptic operations a second, in 10^9", f"{r.clip.sops * per_second / 1e9:.2f} (peak {r.peak * r.mhz / 1e3:.1f})"),
        ("dense-equivalent operations a second, in 10^9", f"{2 * r.clip.macs * per_second / 1e9:.2f}"),
        ("simulated cycles a second", f"{r.simulated:,.0f}"),
    ]
    return ["## One clip\n", table(("", "value"), values),
            text("Utilisation is real synaptic operations (a set input bit times the output channels that it feeds) over the",
                 "peak of all cycles. Dense-equivalent operations are two for each multiplication that the same layers would",
                 "need if nothing were skipped. Of the same run: `build/roofline.png`, `build/trace.json` for Perfetto.")]


def _layers(r: Report) -> list[str]:
    def line(x: Row) -> tuple[str, ...]:
        error = f"{x.predicted / x.cycles - 1:+.1%}" if x.macs else ""
        return (x.name, f"{x.sops:,.0f}", f"{x.cycles:,.0f}", f"{x.predicted:,.0f}", error, f"{r.utilisation(x):.1%}",
                f"{x.bytes:,}", f"{x.sops / x.bytes:.1f}", f"{r.attainable(x) / r.peak:.0%}" if x.sops else "")

    return ["## Layers\n",
            table(("layer", "synaptic operations", "cycles", "predicted", "error", "utilisation", "bytes", "operations a byte",
                   "roof"), map(line, (*r.layers, r.clip))),
            text("Predicted: by `sw/cycles.py` from the same spikes, without simulating the machine. Layers and transfers",
                 "overlap. Bytes: weights, parameters, descriptors and records of the layer. Roof: the part of the peak",
                 "that the memory port allows at that many operations a byte.")]


def _stalls(r: Report) -> list[str]:
    rows = [(x.name, *(f"{x.share(state):.1%}" for state in SLOT_STATES), f"{x.wait:,.0f}", f"{x.results:,.0f}")
            for x in (*r.layers, r.clip) if x.results]
    meanings = "".join(f"- **{state}**: {STATISTICS[state]}\n" for state in (*SLOT_STATES, "wait"))
    return ["## What the issue slots did\n", f"Counted by the machine in each cycle for each of its {r.slots} slots.\n",
            table(("layer", *SLOT_STATES, "wait, cycles", "results"), rows), meanings]


def _rivals(r: Report) -> list[str]:
    def ratio(value: float | None, kluts: float | None) -> str:
        return f"{value / kluts:.3g}" if value is not None and kluts else ""

    def number(value: float | None, text: str = "{:,.4g}") -> str:
        return "" if value is None else text.format(value)

    per_second = r.clips_per_second
    gsops, gops, peak = r.clip.sops * per_second / 1e9, 2 * r.clip.macs * per_second / 1e9, r.peak * r.mhz / 1e3
    kluts = r.hardware.luts / 1e3 if r.hardware else None
    size = f"{kluts:.1f} (4)" if kluts else "not synthesised"
    ours, source = (f"Verilated, {r.clock}", size, 0), ("BSD-2, open tools", "this page")
    mine = [
        (f"tANDem `{r.preset}`", *ours, f"{gsops:.3g}", ratio(gsops, kluts), f"{gops:.3g}", ratio(gops, kluts),
         f"{per_second:,.0f}", f"{r.network}, {r.data}", *source),
        (f"tANDem `{r.preset}`", *ours, f"{peak:.3g} (peak)", ratio(peak, kluts), "", "", "", "any", *source),
    ]
    theirs = [(x.name, x.platform, f"{x.kluts:g} ({x.inputs})", "" if x.dsps is None else x.dsps,
               number(x.gsops) + (" (peak)" if x.peak else ""), ratio(x.gsops, x.kluts), number(x.gops), ratio(x.gops, x.kluts),
               number(x.rate), x.network, x.open, x.source) for x in RIVALS]
    return ["## Beside others\n",
            table(("work", "platform", "kLUT (inputs)", "DSP", "GSOP/s", "per kLUT", "dense-equivalent GOP/s", "per kLUT",
                   "inferences/s", "network", "open", "source"), [*mine, *theirs]),
            text("Figures of others are as published. GSOP/s counts additions that a spike causes; dense-equivalent GOP/s counts",
                 "skipped ones, too, and two for each: never compare across the two. Networks and tasks differ, so inferences a",
                 "second do not compare at all. A table of 6 inputs holds more than one of 4; this machine's are of 4 inputs,",
                 "with carry chains and small memories counted as the tables that they take.")]


def _cpu(r: Report) -> list[str]:
    mine = 1 / r.clips_per_second
    rows = [(name, f"{1e3 * x:.2f}", f"{x / mine:,.1f}") for name, x in r.torch.items()]
    return ["## The same network on a CPU\n", text(f"{r.cpu}, the simulation's host, one clip at a time, in the same run."),
            table(("", "ms a clip", f"times the machine's {1e3 * mine:.3f} ms ({r.clock})"), rows)]


def _sweeps(s: Sweeps) -> list[str]:
    def counted(x: Density | Attention) -> tuple[str, str]:
        return f"{x.predicted:,}", "" if x.measured is None else f"{x.measured:,}"

    full = s.densities[-1].predicted
    densities = [(f"{x.density:.0%}", *counted(x), f"{full / x.predicted:.2f}", f"{1 / x.density:.2f}",
                  f"{x.density * full / x.predicted:.2f}") for x in s.densities]
    lengths, found = [], []
    for places in dict.fromkeys(x.places for x in s.attention):
        some = [x for x in s.attention if x.places == places]
        steps, taken = (np.array([getattr(x, key) for x in some]) for key in ("timesteps", "predicted"))
        slope, start = np.polyfit(steps, taken, 1, w=1 / taken)
        line = slope * steps + start
        lengths += [(f"{places}x{places}", x.timesteps, x.slices, *counted(x), f"{x.predicted / x.timesteps:,.0f}", f"{y:,.0f}")
                    for x, y in zip(some, line, strict=True)]
        found.append(f"{places}x{places} places: the line is {start:,.0f} + {slope:,.1f} T; no length is further from it than "
                     f"{np.abs(line / taken - 1).max():.1%}.")
    return ["## Skipping pays\n",
            text(f"3x3 convolution from 64 to 64 channels, 16x16 places, 16 time steps, on `{s.preset}`; independent spikes.",
                 "An array that skips nothing always takes as long as this one does for spikes everywhere, 100 %."),
            table(("density", "cycles, predicted", "measured", "speed-up", "1 / density", "speed-up x density"), densities),
            "## Attention is linear in time\n",
            text(f"SDHA, one head of 64 channels, on `{s.preset}`: HAMMING and LINEAR descriptors together."),
            table(("places", "time steps", "weight slices", "cycles, predicted", "measured", "a time step", "straight line"),
                  lengths),
            text(*found, "The weights 2M count to twice the number of tokens, so that they need a slice of four bits more for",
                 "each sixteenfold number of them: where it comes, each result takes one more pass.")]
