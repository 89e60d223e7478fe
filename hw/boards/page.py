"""The table of boards in the documentation, from what their bitstreams' reports say."""

from __future__ import annotations

import json
from pathlib import Path

COLUMNS = ("board", "chip", "preset", "memory", "clock, MHz", "possible, MHz", "seeds", "tables", "flip-flops",
           "block RAMs", "build")


def table(build: Path) -> str:
    """Markdown of all ``bitstream.json`` in the folders of ``build``.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    reports = [json.loads(path.read_text()) for path in sorted(build.glob("*/bitstream.json"))]
    if not reports:
        raise FileNotFoundError(f"no */bitstream.json in {build}: run make bitstream")
    lines = ["# Bitstreams", "Made by `python -m hw boards` from `build/*/bitstream.json`; do not edit.", "",
             f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for x in reports:
        possible = f"{x['fmax_mhz']:g}{'' if x['met'] else ' (not met)'}"
        cells = (
            x["board"], x["device"], x["preset"], f"{x['memory_bytes'] >> 10:,} KB {x['memory']}", f"{x['clock_mhz']:g}",
            possible, str(len(x["seeds"])), f"{x['tables']:,}", f"{x['flops']:,}", str(x["block_rams"]), f"`{x['build']}`",
        )
        lines.append(f"| {' | '.join(cells)} |")
    tools = sorted({f"{name} {version}" for x in reports for name, version in x["tools"].items()})
    lines += ["", "Tables are LUT4 + 2 for each carry cell CCU2C + 4 for each TRELLIS_DPR16X4, before placement; possible is the",
              f"clock that nextpnr finds after routing. Tools: {', '.join(tools)}."]
    for x in reports:
        lines += ["", f"## {x['board']}", "", "| block | tables | flip-flops | block RAMs |", "|---|---:|---:|---:|"]
        for path, block in x["blocks"].items():
            if path.count(".") < 3 and (block["tables"] >= 40 or block["block_rams"]):
                lines.append(f"| {path} | {block['tables']:,} | {block['flops']:,} | {block['block_rams']} |")
    return "\n".join(lines) + "\n"
