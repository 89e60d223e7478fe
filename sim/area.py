"""How large the blocks are at several sizes: ``python -m sim.area``, the points that `sw.explore` fits its area model to.

Each block is synthesised for ECP5 on its own (minutes to half an hour in all).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from amaranth.lib import wiring
from tqdm import tqdm

from golden.spec.config import BASE, BASE_85F, MEDIUM, MICRO, SMALL, Config
from hw.control import Control
from hw.core import Core
from hw.flow.devices import DEVICES
from hw.flow.pnr import area
from hw.flow.tools import mend_names, synthesis_passes, yosys
from hw.hamming import Hamming
from hw.neuron import Neuron
from hw.top import Accelerator
from hw.verilog import to_rtlil
from hw.walker import Walker

BLOCKS = {"core": Core, "neuron": Neuron, "hamming": Hamming, "walker": Walker, "control": Control, "machine": Accelerator}
#: Of a configuration, that tables depend on.
SIZES = ("cores", "lanes", "issue", "sharing", "word", "neuron_lanes", "ham_tokens", "taps", "any_neuron")
CHIP = DEVICES["lfe5u-85f"]
TOP = "block"


def sizes() -> Iterator[tuple[str, Config]]:
    """What is measured."""
    base = replace(BASE, axi_bits=32, param_beats=64)  # words of 32 bits, too
    for lanes, issue, word, taps in (
        (16, 1, 32, 1), (16, 2, 32, 1), (16, 2, 32, 2), (32, 2, 32, 1), (32, 2, 32, 2), (32, 2, 64, 2), (32, 4, 64, 2),
        (32, 4, 64, 4), (64, 2, 64, 2), (64, 4, 64, 2), (64, 4, 64, 4),
    ):
        yield "core", replace(
            base, lanes=lanes, issue=issue, sharing=min(issue, 2), taps=taps, word=word, neuron_lanes=lanes // 2)
    for lanes, word, taps in ((16, 32, 1), (32, 64, 2), (64, 64, 2)):
        yield "core", replace(base, lanes=lanes, sharing=4, taps=taps, word=word, neuron_lanes=lanes // 2)
    for cores, lanes, neuron_lanes in ((1, 16, 8), (2, 16, 8), (4, 16, 16), (4, 32, 8), (2, 32, 16), (4, 64, 16), (4, 64, 32)):
        yield "neuron", replace(base, cores=cores, lanes=lanes, neuron_lanes=neuron_lanes)
    for cores, lanes, neuron_lanes in ((1, 8, 2), (2, 16, 8), (4, 32, 16)):
        yield "neuron", replace(base, cores=cores, lanes=lanes, neuron_lanes=neuron_lanes, any_neuron=True)
    for lanes, tokens, word in ((16, 8, 32), (16, 16, 64), (32, 8, 64), (32, 16, 64), (64, 8, 64), (64, 16, 64)):
        yield "hamming", replace(base, lanes=lanes, ham_tokens=tokens, word=word, neuron_lanes=lanes // 2)
    for cores, issue, word in ((1, 1, 32), (2, 2, 32), (4, 2, 32), (2, 4, 64), (4, 4, 64)):
        yield "walker", replace(base, cores=cores, issue=issue, sharing=min(issue, 2), taps=issue, word=word, lanes=word,
                                neuron_lanes=32)
    for config in (MICRO, SMALL, MEDIUM, BASE):
        yield "control", config
    for config in (SMALL, MEDIUM, BASE, BASE_85F):
        yield "machine", config


def tables(component: wiring.Component) -> int:
    """Lookup tables of a component by itself, by the flow that makes the machine's netlists.

    Raises
    ------
    hw.flow.tools.ToolError
        If yosys fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = mend_names(to_rtlil(component, TOP, CHIP))
        (folder / "design.il").write_text(text)
        yosys(synthesis_passes(text, CHIP.synthesis, TOP), folder)
        return int(area(json.loads((folder / "netlist.json").read_text()), CHIP, TOP, TOP)["luts"])


def main() -> None:
    """Read the command line, measure, write the points."""
    parser = argparse.ArgumentParser(prog="python -m sim.area", description="measure the blocks' area at several sizes")
    parser.add_argument("--out", type=Path, default=Path("sw/area_points.json"))
    out = parser.parse_args().out
    points = []
    for block, config in tqdm(list(sizes()), unit="block", disable=None):
        chosen = {name: getattr(config, name) for name in SIZES}
        points.append({"block": block, **chosen, "tables": tables(BLOCKS[block](config))})
    head = {"command": "python -m sim.area", "synthesis": CHIP.synthesis, **{x: version(x) for x in ("pyosys", "amaranth")}}
    rows = ",\n".join(f"  {json.dumps(point)}" for point in points)
    out.write_text(f"{json.dumps(head)[:-1]}, \"points\": [\n{rows}\n]}}\n")


if __name__ == "__main__":
    main()
