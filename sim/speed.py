"""How fast it is: ``python -m sim.speed --preset small --clips 16``, cycles and utilisation layer by layer.

Averages over test clips of the built-in data set, run by the real driver on the Verilated RTL, memory without stalls.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from golden.data.digit_motion import make
from golden.encoding import encode
from golden.spec.config import PRESETS, preset
from golden.spec.registers import SLOT_STATES
from sim.device.build import build
from sim.whole import NAME, WEIGHTS
from sw.compiler import compile_model
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.model_file import read_model

COLUMNS = ("cycles", "sops", *SLOT_STATES, "wait")


def main() -> None:
    """Read the command line, run, print the table."""
    parser = argparse.ArgumentParser(prog="python -m sim.speed", description="cycles and utilisation, layer by layer")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--latency", type=int, default=20, help="of the memory, in cycles")
    a = parser.parse_args()
    if a.clips < 1:
        parser.error("--clips must be at least 1")
    config = preset(a.preset)
    bundle = compile_model(read_model(WEIGHTS / f"{NAME}.safetensors"), config)
    frames, _ = make("test", a.clips)
    with SimDevice(build(config, Path("build") / a.preset), f"sim:{a.preset}", latency=a.latency) as device:
        driver = Driver(device)
        driver.load(bundle)
        begin, before = time.monotonic(), device.cycles
        results = [driver.run(clip) for clip in encode(frames, bundle.manifest.video)]
        seconds, simulated = time.monotonic() - begin, device.cycles - before
    layers: dict[str, dict[str, float]] = {}
    for result in results:
        for name, layer in result.layers.items():
            row = layers.setdefault(name, defaultdict(float))
            for column in COLUMNS:
                row[column] += getattr(layer, column) / a.clips
    table = Table(title=f"{a.preset}: {config.peak_sop} synaptic operations per cycle at most; mean of {a.clips} clips")
    for column in ("layer", *COLUMNS, "utilisation"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    cycles = sum(x.cycles for x in results) / a.clips
    rows = {**layers, "whole clip": {c: sum(x[c] for x in layers.values()) for c in COLUMNS} | {"cycles": cycles}}
    for name, row in rows.items():
        share = row["sops"] / (config.peak_sop * row["cycles"])
        table.add_row(name, *(f"{row[c]:,.0f}" for c in COLUMNS), f"{share:.1%}")
    console = Console(width=110)
    console.print(table)
    console.print(f"{simulated / seconds:,.0f} cycles simulated a second, {seconds / a.clips:.2f} s a clip")


if __name__ == "__main__":
    main()
