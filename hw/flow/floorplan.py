"""Where the block RAMs of a machine lie on an LFE5U-85F that it nearly fills: beside what they feed.

The placers of nextpnr spread block RAMs as if they were so many tables, and each of them ties some hundred wires to its place. So
they are placed first, by what is known of the machine: docs/decisions/006-area-and-clock.md has what that is worth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from golden.spec.config import Config
from hw.flow.devices import Device

ROWS = (22, 46, 70, 82)  #: of the chip's tiles, with 52 block RAMs each
COLUMNS = 52

#: How nextpnr's router2 weighs a wire that several nets want: by how many too many they are, times a factor that grows by the
#: first of these with each iteration (by 2 if not told), and times what was learned of the wire, which grew by the second
#: whenever there was one too many (1). In a full chip the factor must not outgrow it (docs/decisions/006-area-and-clock.md).
ROUTER = {"router2/currCongWeightMult": "0.5", "router2/histCongWeight": "2.0"}


def plan_of(config: Config, device: Device) -> str:
    """All that decides where block RAMs lie and how wires are found, for digests; empty where the tools decide alone."""
    return Path(__file__).read_text() if device.device == "LFE5U-85F" and config.cores == 4 else ""


def write_places(path: Path, top: str) -> None:
    """Give each block RAM of a netlist, yosys' JSON, its place, and the router its weights."""
    netlist = json.loads(path.read_text())
    netlist["modules"][top]["settings"] = ROUTER
    cells = netlist["modules"][top]["cells"]
    for name, place in floorplan(x for x, cell in cells.items() if cell["type"] == "DP16KD").items():
        cells[name]["attributes"]["BEL"] = place
    path.write_text(json.dumps(netlist))


def bel(column: int, row: int) -> str:
    """The name that nextpnr has for a block RAM's place."""
    group, within = divmod(column, 4)
    return f"X{9 * group + 4 + 2 * (group > 6) + 2 * within}/Y{row}/EBR{within}"


def _numbers(pattern: str, cells: Iterable[str]) -> list[tuple[tuple[int, ...], str]]:
    """The numbers in the names that match, and these."""
    return [(tuple(map(int, found.groups())), x) for x in cells if (found := re.search(pattern, x))]


def floorplan(cells: Iterable[str]) -> dict[str, str]:
    """Place by cell, for the block RAMs of a machine of four cores.

    Weights: a block RAM holds the same lanes of one slot for two cores. Those of all slots for some lanes lie side by side, so
    that wires to the slots' sums are short; those of the cores 0 and 1 in the upper two rows, of 2 and 3 in the lower two. Spike
    banks lie in the middle, where the walker reads all of them; residual values and Hamming counts at the corners that are
    left; anything else where there is room.

    Parameters
    ----------
    cells : iterable of str
        Names of all block RAMs in the netlist.

    Raises
    ------
    ValueError
        If there are more than places.
    """
    cells = sorted(cells)
    rows: list[list[str]] = [[] for _ in ROWS]
    weights = _numbers(r"weights\.bank(\d)_(\d)\.(\d+)\.(\d+)$", cells)
    half = max((at[3] for at, _ in weights), default=0) // 2
    for at, name in sorted(weights, key=lambda x: (x[0][1], x[0][2], x[0][3], x[0][0])):
        outer, second = at[3] <= half, at[1] > 0
        rows[(3 if outer else 2) if second else (0 if outer else 1)].append(name)
    for at, name in sorted(_numbers(r"scratchpad\.bank(\d)_(\d)\.(\d+)\.(\d+)$", cells), key=lambda x: x[0][2:] + x[0][:2]):
        rows[1 if at[0] < 2 else 2].append(name)
    for _, name in sorted(_numbers(r"scratchpad\.residual\.(\d+)\.(\d+)$", cells)):
        rows[0].append(name)
    for _, name in sorted(_numbers(r"hamming\.counts\.(\d+)\.(\d+)$", cells)):
        rows[3].append(name)
    placed = {name for row in rows for name in row}
    rest = [name for row in rows for name in row[COLUMNS:]] + [x for x in cells if x not in placed]
    for names in rows:
        del names[COLUMNS:]
    for names in (rows[2], rows[1], rows[0], rows[3]):
        room = COLUMNS - len(names)
        names += rest[:room]
        del rest[:room]
    if rest:
        raise ValueError(f"{len(cells)} block RAMs for {COLUMNS * len(ROWS)} places")
    first = (COLUMNS - max(map(len, rows))) // 2  # the rows begin in one column, for wires between them
    return {name: bel(column, row) for names, row in zip(rows, ROWS, strict=True) for column, name in enumerate(names, first)}
