"""Synthesises the accelerator, places and routes it, and says how large and how fast each part is."""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from golden.spec.config import Config
from hw.flow.area import by_block, subtotal
from hw.flow.devices import DEVICES, HOMES, RESETS, Device
from hw.flow.floorplan import plan_of, write_places
from hw.flow.harness import Harness
from hw.flow.places import places
from hw.flow.tools import ToolError, beside_python, cached, digest, mend_names, run, synthesis_passes, yosys
from hw.top import Accelerator
from hw.verilog import to_rtlil

TOP = "harness"
_FLOW_VERSION = 4  #: count up when what a report holds changes


def place_and_route(config: Config, device: Device, folder: Path, *, megahertz: float, seed: int,
                    route: bool = True, insist: bool = False) -> dict[str, Any]:
    """Take the accelerator, in a harness, to a routed design; nothing runs again that has run with the same inputs.

    Parameters
    ----------
    config : Config
        What is built.
    device : Device
        What it is built for.
    folder : Path
        Where netlist, logs and ``report.json`` go.
    megahertz : float
        The clock that the tools aim at.
    insist : bool
        The router takes wires up again until that clock is met, where it knows how; else it ends when no two share a wire.
    seed : int
        Of the placer.
    route : bool
        False: synthesis only.

    Returns
    -------
    dict
        The report: ``synthesis`` with cells, tables and memories in all and by block, ``route`` with the clock and its
        critical path, and the tools' versions and a digest of all inputs.

    Raises
    ------
    ToolError
        If a tool fails, or the chip is too small.
    """
    folder.mkdir(parents=True, exist_ok=True)
    harness = Harness(Accelerator(config))
    text = mend_names(to_rtlil(harness, TOP, device))
    full = device is DEVICES[HOMES[config.name]]
    passes = synthesis_passes(text, device.synthesis, TOP, RESETS.get(config.name, 0) if full else 0)
    plan = plan_of(config, device)
    key = digest(_FLOW_VERSION, version("pyosys"), text, *passes, plan)
    synthesis = cached(folder / "synthesis.json", key)
    if synthesis is None or not (folder / "netlist.json").exists():
        (folder / "design.il").write_text(text)
        seconds = yosys(passes, folder)
        netlist = json.loads((folder / "netlist.json").read_text())
        synthesis = {"digest": key, "seconds": round(seconds), **area(netlist, device, TOP, f"{TOP}.machine")}
        if plan and synthesis["memories"] <= device.blocks:
            write_places(folder / "netlist.json", TOP)
        (folder / "synthesis.json").write_text(json.dumps(synthesis, indent=1))
    tools = {"pyosys": version("pyosys")}
    report = {"preset": config.name, "device": device.device, "config": config.digest, "tools": tools, "synthesis": synthesis}
    if route:
        if not device.place:
            raise ToolError(f"{device.device}: this flow can only synthesise for it")
        check_room(synthesis, device)
        tool = device.place[0]
        tools[tool] = version(tool)
        pinned = [x.format("pins.cst") for x in device.constrain] if device.pins else device.unpinned
        command = [beside_python(tool), *device.place[1:], *pinned, "--json", "netlist.json", "--seed", str(seed),
                   "--freq", f"{megahertz:g}", "--timing-allow-fail", "--report", "timing.json",
                   *(device.insist if insist else ())]
        key = digest(key, version(tool), *command[1:], device.pins)
        (folder / "pins.cst").write_text(device.pins)
        routed = cached(folder / "route.json", key)
        if routed is None:
            seconds = run(tool, command, folder, folder / "nextpnr.log")
            routed = {"digest": key, "seed": seed, "seconds": round(seconds), "target_mhz": megahertz,
                      **timing(json.loads((folder / "timing.json").read_text()))}
            (folder / "route.json").write_text(json.dumps(routed, indent=1))
        report["route"] = routed
    report["digest"] = key
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    return report


def area(netlist: dict[str, Any], device: Device, top: str, machine: str) -> dict[str, Any]:
    """Cells, tables and memories: of block ``machine``, of what is in no block of ``top``, and of each block of the machine."""
    own = by_block(netlist, top)

    def count(cells: Counter[str]) -> dict[str, Any]:
        return {
            "luts": sum(cells[x] * n for x, n in device.luts.items()),
            "memories": sum(cells[x] * n for x, n in device.memories.items()), "cells": dict(sorted(cells.items())),
        }

    paths = {path[:i] for path in own for i in (*(i for i, x in enumerate(path) if x == "."), len(path)) if i > len(machine)}
    room = {"places": places(netlist, top)} if device.places else {}
    return {**count(subtotal(own, machine)), **room, "harness": count(own.get(top, Counter())),
            "blocks": {path[len(machine) + 1:]: count(subtotal(own, path)) for path in sorted(paths)}}


def check_room(synthesis: dict[str, Any], device: Device) -> None:
    """Refuse what cannot be placed, which the placer would try without an end.

    Raises
    ------
    ToolError
        If a netlist that `area` has counted takes more places or block RAMs than the chip has.
    """
    if device.blocks and synthesis["memories"] > device.blocks:
        raise ToolError(
            f"{device.device} has {device.blocks} blocks of memory, this takes {synthesis['memories']}: nothing can place it. "
            "Choose a configuration with smaller memories; synthesis.json beside the netlist says which blocks take them")
    if device.places and synthesis["places"] > device.places:
        raise ToolError(
            f"{device.device} has {device.places:,} places for a table or carry cell and the flip-flop behind it, this takes "
            f"at least {synthesis['places']:,}: nothing can place it. Choose a smaller configuration: fewer lanes, for example")


def timing(report: dict[str, Any]) -> dict[str, Any]:
    """Clock and the path that limits it, from nextpnr's report of a design with one clock."""
    (clock,) = report["fmax"].values()
    worst = next(x for x in report["critical_paths"] if x["from"] == x["to"])
    return {"mhz": round(clock["achieved"], 1), "utilisation": report["utilization"], "critical_path": steps(worst["path"])}


def steps(path: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is worth reading of a critical path."""
    return [{"type": x["type"], "delay": round(x["delay"], 2), "net": x.get("net", ""), "to": x["to"]["cell"]} for x in path]
