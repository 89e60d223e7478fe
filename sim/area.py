"""How large the blocks are at several sizes: ``python -m sim.area``, the points that `sw.explore` fits its area model to.

Each block is synthesised for ECP5 on its own (minutes to half an hour in all), in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from amaranth.lib import wiring
from tqdm import tqdm

from golden.spec.config import BASE, MICRO, SMALL, Config
from hw.control import Control
from hw.core import Core
from hw.hamming import Hamming
from hw.neuron import Neuron
from hw.verilog import to_verilog
from hw.walker import Walker

BLOCKS = {"core": Core, "neuron": Neuron, "hamming": Hamming, "walker": Walker, "control": Control}
SIZES = ("cores", "lanes", "issue", "word", "neuron_lanes", "ham_tokens")  #: of a configuration, that tables depend on
TABLES = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}  #: lookup tables of 4 inputs that a cell takes
SYNTHESIS = "synth_ecp5 -nowidelut -abc9 -nodsp"
_SCRIPT = "import sys\nfrom pyosys import libyosys\nfor line in sys.argv[1:]:\n    libyosys.run_pass(line)\n"


def sizes() -> Iterator[tuple[str, Config]]:
    """What is measured."""
    base = replace(BASE, axi_bits=32)  # words of 32 bits, too
    for lanes, issue, word in ((16, 1, 32), (16, 2, 32), (32, 2, 32), (32, 2, 64), (32, 4, 64), (64, 2, 64), (64, 4, 64)):
        yield "core", replace(base, lanes=lanes, issue=issue, sharing=issue, taps=issue, word=word, neuron_lanes=lanes // 2)
    for cores, lanes, neuron_lanes in ((1, 16, 8), (2, 16, 8), (4, 16, 16), (4, 32, 8), (2, 32, 16), (4, 64, 16), (4, 64, 32)):
        yield "neuron", replace(base, cores=cores, lanes=lanes, neuron_lanes=neuron_lanes)
    for lanes, tokens, word in ((16, 8, 32), (16, 16, 64), (32, 8, 64), (32, 16, 64), (64, 8, 64), (64, 16, 64)):
        yield "hamming", replace(base, lanes=lanes, ham_tokens=tokens, word=word, neuron_lanes=lanes // 2)
    for cores, issue, word in ((1, 1, 32), (2, 2, 32), (4, 2, 32), (2, 4, 64), (4, 4, 64)):
        yield "walker", replace(base, cores=cores, issue=issue, sharing=issue, taps=issue, word=word, lanes=word, neuron_lanes=32)
    for config in (MICRO, SMALL, BASE):
        yield "control", config


def tables(component: wiring.Component) -> int:
    """Lookup tables of a component by itself.

    Raises
    ------
    RuntimeError
        If yosys fails; the message ends with its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, report = Path(folder, "block.v"), Path(folder, "cells")
        source.write_text(to_verilog(component, "block"))
        lines = [f"read_verilog {source}", f"{SYNTHESIS} -top block", f"tee -o {report} stat"]
        result = subprocess.run([sys.executable, "-c", _SCRIPT, *lines], capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"yosys failed on {type(component).__name__}: {(result.stdout + result.stderr)[-2000:]}")
        text = report.read_text()
    return sum(count * int(n) for cell, count in TABLES.items() for n in re.findall(rf"^\s+(\d+)\s+{cell}\s*$", text, re.M))


def main() -> None:
    """Read the command line, measure, write the points."""
    parser = argparse.ArgumentParser(prog="python -m sim.area", description="measure the blocks' area at several sizes")
    parser.add_argument("--out", type=Path, default=Path("sw/area_points.json"))
    out = parser.parse_args().out
    points = []
    for block, config in tqdm(list(sizes()), unit="block", disable=None):
        chosen = {name: getattr(config, name) for name in SIZES}
        points.append({"block": block, **chosen, "tables": tables(BLOCKS[block](config))})
    head = {"command": "python -m sim.area", "synthesis": SYNTHESIS, "pyosys": version("pyosys"), "amaranth": version("amaranth")}
    rows = ",\n".join(f"  {json.dumps(point)}" for point in points)
    out.write_text(f"{json.dumps(head)[:-1]}, \"points\": [\n{rows}\n]}}\n")


if __name__ == "__main__":
    main()
