"""How many places of a GW2A a netlist takes, which its counts of tables and flip-flops do not say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

RAM = 8  #: places of a small memory: no other cell stands in its tile


def places(netlist: Mapping[str, Any], top: str) -> int:
    """The fewest places that the cells of yosys' JSON can take.

    A place has a table or a carry cell, and a flip-flop that takes what that makes: one that takes anything else (what a memory,
    another flip-flop or a pin gives) needs the place's table, too. A chain of carry cells has one more in front, one behind where
    its last carry is used, and an even number of them, as nextpnr makes it.
    """
    cells = netlist["modules"][top]["cells"].values()
    users = Counter(bit for cell in cells for port, bits in cell["connections"].items()
                    if cell["port_directions"][port] == "input" for bit in bits)
    kinds = Counter("LUT" if x["type"].startswith("LUT") else "DFF" if x["type"].startswith("DFF") else x["type"] for x in cells)
    made = {x["connections"][port][0] for x in cells for port in ("F", "SUM")
            if port in x["connections"] and x["type"].startswith(("LUT", "ALU"))}
    taken = {x["connections"]["D"][0] for x in cells if x["type"].startswith("DFF")}
    alus = [(x["connections"]["CIN"][0], *x["connections"]["COUT"]) for x in cells if x["type"] == "ALU"]
    made_carries = {out[0] for _, *out in alus if out}
    onward = {first: out for first, *out in alus if first in made_carries and users[first] == 1}
    carries = 0
    for first, *out in alus:
        if first in onward:
            continue
        length = 2
        while out and out[0] in onward:
            length, out = length + 1, onward[out[0]]
        length += bool(out and users[out[0]])
        carries += length + length % 2
    return kinds["LUT"] + carries + RAM * kinds["RAM16SDP4"] + kinds["DFF"] - len(made & taken)
