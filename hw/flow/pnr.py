"""Synthesises the accelerator, places and routes it, and says how large and how fast each part is."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Fragment

from golden.spec.config import Config
from hw.flow.area import by_block, subtotal
from hw.flow.devices import Device
from hw.flow.harness import Harness
from hw.top import Accelerator
from hw.verilog import flat_ports

TOP = "harness"
#: Selects the registers that `hw.near` makes.
NEAR = r"w:*_near* %ci1 t:$dff t:$dffe %u %i"
#: A program that runs its arguments as passes of yosys.
PASSES = "import sys\nfrom pyosys import libyosys\nfor line in sys.argv[1:]:\n    libyosys.run_pass(line)\n"
_FLOW_VERSION = 3  #: count up when what a report holds changes


class ToolError(RuntimeError):
    """A tool failed; the message names it, its log and the log's last lines."""


def place_and_route(config: Config, device: Device, folder: Path, *, megahertz: float, seed: int,
                    route: bool = True) -> dict[str, Any]:
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
        If a tool fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    harness = Harness(Accelerator(config))
    text, _ = rtlil.convert_fragment(Fragment.get(harness, device), flat_ports(harness), TOP, emit_src=False)
    text = re.sub(r"(?<=\S)\[(\d+)\]", r".\1", text)  # abc9 takes a wire that is named "x[1]" for a bit of x, and fails
    passes = _synthesis_passes(text, device)
    key = _digest(_FLOW_VERSION, version("pyosys"), text, *passes)
    synthesis = _cached(folder / "synthesis.json", key)
    if synthesis is None or not (folder / "netlist.json").exists():
        (folder / "design.il").write_text(text)
        seconds = _run("yosys", [sys.executable, "-c", PASSES, *passes], folder, folder / "yosys.log")
        synthesis = {"digest": key, "seconds": round(seconds), **_area(json.loads((folder / "netlist.json").read_text()), device)}
        (folder / "synthesis.json").write_text(json.dumps(synthesis, indent=1))
    tools = {"pyosys": version("pyosys")}
    report = {"preset": config.name, "device": device.device, "config": config.digest, "tools": tools, "synthesis": synthesis}
    if route:
        if not device.place:
            raise ToolError(f"{device.device}: this flow can only synthesise for it")
        tool = device.place[0]
        tools[tool] = version(tool)
        command = [str(Path(sys.executable).with_name(tool)), *device.place[1:], "--json", "netlist.json", "--seed", str(seed),
                   "--freq", f"{megahertz:g}", "--timing-allow-fail", "--report", "timing.json"]
        key = _digest(key, version(tool), *command[1:], device.pins)
        (folder / "pins.cst").write_text(device.pins)
        routed = _cached(folder / "route.json", key)
        if routed is None:
            seconds = _run(tool, command, folder, folder / "nextpnr.log")
            routed = {"digest": key, "seed": seed, "seconds": round(seconds), "target_mhz": megahertz,
                      **_timing(json.loads((folder / "timing.json").read_text()))}
            (folder / "route.json").write_text(json.dumps(routed, indent=1))
        report["route"] = routed
    report["digest"] = key
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    return report


def _synthesis_passes(text: str, device: Device) -> list[str]:
    """Before the design is flattened every cell is marked with its module's path, which its name does not keep.

    Registers that are copies on purpose stay apart. No block reads an address in the cycle in which it is written, so that
    memories need not keep the old data for it.
    """
    modules = [line.split("\\")[1] for line in text.splitlines() if line.startswith("module \\")]
    marks = [f'setattr -set src "{name}" {name}/c:*' for name in modules]
    return ["read_rtlil design.il", "proc", *marks, "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i",
            f"setattr -set keep 1 {NEAR}", f"{device.synthesis} -top {TOP}", "write_json netlist.json"]


def _digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def _cached(path: Path, key: str) -> dict[str, Any] | None:
    """A result on disk, if it was made from the same inputs."""
    result = json.loads(path.read_text()) if path.exists() else {}
    return result if result.get("digest") == key else None


def _run(tool: str, command: Sequence[str], folder: Path, log: Path) -> float:
    """Run a tool in ``folder``, everything it says in ``log``, its last line on the terminal; seconds it took."""
    start = said = time.monotonic()
    terminal = sys.stderr.isatty()
    with open(log, "w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - said > (1 if terminal else 60):
                    said = time.monotonic()
                    line = f"{tool} {said - start:5.0f} s: {_tail(log, 1):.90}"
                    print(f"\r{line:120}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
        finally:
            process.kill()
            process.wait()
    if terminal:
        print(f"\r{'':120}\r", end="", file=sys.stderr)
    if process.returncode:
        raise ToolError(f"{tool} failed with status {process.returncode}; all it said is in {log}, last:\n{_tail(log, 8)}")
    return time.monotonic() - start


def _tail(path: Path, lines: int) -> str:
    """The last lines of a file that are not empty."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return "\n".join([x for x in file.read().decode(errors="replace").splitlines() if x.strip()][-lines:])


def _area(netlist: dict[str, Any], device: Device) -> dict[str, Any]:
    """Cells, tables and memories: of the machine, of the harness, and of each block with the blocks in it."""
    own = by_block(netlist, TOP)

    def count(cells: Counter[str]) -> dict[str, Any]:
        return {
            "luts": sum(cells[x] * n for x, n in device.luts.items()),
            "memories": sum(cells[x] * n for x, n in device.memories.items()), "cells": dict(sorted(cells.items())),
        }

    machine = f"{TOP}.machine"
    paths = {path[:i] for path in own for i in (*(i for i, x in enumerate(path) if x == "."), len(path)) if i > len(machine)}
    return {**count(subtotal(own, machine)), "harness": count(own[TOP]),
            "blocks": {path[len(machine) + 1:]: count(subtotal(own, path)) for path in sorted(paths)}}


def _timing(timing: dict[str, Any]) -> dict[str, Any]:
    """Clock and the path that limits it, from nextpnr's report."""
    (clock,) = timing["fmax"].values()
    worst = next(x for x in timing["critical_paths"] if x["from"] == x["to"])
    steps = [{"type": x["type"], "delay": round(x["delay"], 2), "net": x.get("net", ""), "to": x["to"]["cell"]}
             for x in worst["path"]]
    return {"mhz": round(clock["achieved"], 1), "utilisation": timing["utilization"], "critical_path": steps}
