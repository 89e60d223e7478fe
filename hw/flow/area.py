"""How many cells each block of a mapped netlist takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

Cells = Counter[str]


def by_block(netlist: Mapping[str, Any], top: str) -> dict[str, Cells]:
    """Cells of each block by type, from yosys' JSON of a flat design whose cells carry their block's path in ``src``.

    Memories have lost ``src`` but begin with the path in their names. Lookup tables have lost both: each belongs to the block
    that most of its sinks belong to, so the logic before a register is the register's. Where several blocks share a cell
    it is the first one's.

    Returns
    -------
    dict of str to Counter
        By path, which begins with ``top``, the block's own cells without those of the blocks in it.
    """
    cells = netlist["modules"][top]["cells"]
    owner: dict[str, str] = {}
    unmarked = []
    sinks: dict[int, list[str]] = defaultdict(list)
    for name, cell in cells.items():
        paths = [x for x in cell["attributes"].get("src", "").split("|") if f"{x}.".startswith(f"{top}.")]
        if paths:
            owner[name] = paths[0]
        elif not cell["type"].startswith("LUT"):
            unmarked.append(name)
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    sinks[bit].append(name)

    known = {top, *(f"{top}.{name}" for name, cell in cells.items() if cell["type"] == "$scopeinfo")}
    for name in unmarked:
        parts = f"{top}.{name}".split(".")
        owner[name] = next(x for x in (".".join(parts[:i]) for i in range(len(parts), 0, -1)) if x in known)

    def find(first: str) -> None:
        """Own ``first`` and the unowned cells behind it; depth first, without recursion."""
        stack = [first]
        while stack:
            name = stack[-1]
            users = [x for port, bits in cells[name]["connections"].items() if cells[name]["port_directions"][port] == "output"
                     for bit in bits for x in sinks[bit]]
            missing = [x for x in users if x not in owner]
            if missing and name not in entered:
                entered.add(name)
                stack += missing
                continue
            stack.pop()
            votes = Counter(owner[x] for x in users if x in owner)
            owner[name] = votes.most_common(1)[0][0] if votes else top

    entered: set[str] = set()
    for name in cells:
        if name not in owner:
            find(name)
    blocks: dict[str, Cells] = defaultdict(Counter)
    for name, cell in cells.items():
        if not cell["type"].startswith("$"):
            blocks[owner[name]][cell["type"]] += 1
    return dict(blocks)


def subtotal(blocks: Mapping[str, Cells], path: str) -> Cells:
    """Cells of a block and of everything in it."""
    return sum((cells for block, cells in blocks.items() if f"{block}.".startswith(f"{path}.")), Counter())
