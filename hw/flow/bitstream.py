"""From a board to its bitstream, and what is to be said of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable

from hw.boards.catalog import BoardKind
from hw.boards.top import BoardTop
from hw.flow import ethernet_core
from hw.flow.floorplan import plan_of, write_places
from hw.flow.pnr import area, check_room, steps
from hw.flow.tools import ToolError, beside_python, cached, digest, mend_names, run, synthesis_passes, yosys

TOP = "top"
BUILD_DIGITS = 16  #: of the hash that a board says when it is identified
CONSTRAINTS = (".lpf", ".pcf", ".cst")


class ClockError(ToolError):
    """A design that was routed, but not for the clock that its board declares."""


def make_bitstream(kind: BoardKind, folder: Path, seeds: Iterable[int],
                   make: Callable[[BoardKind, str], Elaboratable] = BoardTop) -> dict[str, Any]:
    """Synthesise a board's chip, place and route it once for each seed, and pack the fastest.

    The build hash is made of the design, its pins, the commands and the tools' versions, but not of seeds: it says what the
    board does. What was made before from the same inputs is not made again.

    Parameters
    ----------
    kind : BoardKind
        What is built.
    folder : Path
        Where bitstream, ``bitstream.json``, netlist and logs go.
    seeds : iterable of int
        Of the placer; the best is kept, the first of equals.
    make : callable
        Makes the chip's design from the board and the build hash.

    Returns
    -------
    dict
        What ``bitstream.json`` holds: the board, its build hash, ``fmax_mhz`` after routing, area in all and by block, the
        bitstream's name and SHA-256, tools and their versions.

    Raises
    ------
    ToolError
        If a tool fails, or the chip is too small; `ClockError`, after ``bitstream.json`` was written, if no seed reaches the
        declared clock. Then there is no bitstream.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chip, tool = kind.chip, kind.chip.place[0]
    try:
        text, constraints, cores = design(kind, make, "0" * BUILD_DIGITS)
    except ethernet_core.CoreError as error:
        raise ToolError(str(error)) from None
    tools = {name: version(name) for name in (
        "amaranth", "amaranth-boards", "pyosys", tool, *(ethernet_core.PACKAGES if kind.ip else ()))}
    passes = synthesis_passes(text, chip.synthesis, TOP, cores=cores)
    place = [*chip.place[1:], *(x.format(constraints[0]) for x in chip.constrain), "--json", "netlist.json"]
    if constraints[0].endswith(".cst"):  # which says nothing of clocks
        place += ["--freq", f"{kind.clock / 1e6:g}"]
    plan = plan_of(kind.config, chip)
    build = digest(tools, text, *cores.values(), *constraints, *passes, plan, *place, *kind.pack, *kind.output)[:BUILD_DIGITS]

    synthesis = cached(folder / "synthesis.json", build)
    if synthesis is None or not (folder / "netlist.json").exists():
        (folder / "design.il").write_text(design(kind, make, build)[0])
        (folder / constraints[0]).write_text(constraints[1])
        for core, verilog in cores.items():
            (folder / f"{core}.v").write_text(verilog)
        yosys(passes, folder)
        synthesis = {"digest": build, **area(json.loads((folder / "netlist.json").read_text()), chip, TOP, TOP)}
        if plan and synthesis["memories"] <= chip.blocks:
            write_places(folder / "netlist.json", TOP)
        (folder / "synthesis.json").write_text(json.dumps(synthesis, indent=1))

    check_room(synthesis, chip)
    routes = {seed: _route(kind, folder, build, place, seed) for seed in seeds}
    best = max(routes, key=lambda seed: (routes[seed]["reached"], -seed))
    route = routes[best]
    met = route["reached"] >= 1
    bitstream = folder / f"{kind.name}{kind.suffix}"
    bitstream.unlink(missing_ok=True)
    if met:
        pack = [beside_python(kind.pack[0]), *kind.pack[1:], route["file"], *kind.output, bitstream.name]
        run(kind.pack[0], pack, folder, folder / "pack.log")
    report = {
        "board": kind.name, "device": chip.device, "preset": kind.config.name, "config": kind.config.digest, "build": build,
        "clock_mhz": kind.clock / 1e6, "fmax_mhz": route["fmax_mhz"], "met": met, "clocks": route["clocks"],
        "seed": best, "seeds": {seed: x["fmax_mhz"] for seed, x in routes.items()}, "baud": kind.baud, "ip": kind.ip,
        "memory": kind.memory, "memory_bytes": kind.memory_bytes,
        "tables": synthesis["luts"], "flops": sum(n for x, n in synthesis["cells"].items() if "FF" in x or "DFF" in x),
        "block_rams": synthesis["memories"], "utilisation": route["utilisation"], "critical_path": route["critical_path"],
        "blocks": {path: {"tables": x["luts"], "flops": sum(n for c, n in x["cells"].items() if "FF" in c),
                          "block_rams": x["memories"]} for path, x in synthesis["blocks"].items()},
        "bitstream": bitstream.name if met else "", "bytes": bitstream.stat().st_size if met else 0,
        "sha256": hashlib.sha256(bitstream.read_bytes()).hexdigest() if met else "", "tools": tools,
    }
    (folder / "bitstream.json").write_text(json.dumps(report, indent=1))
    if not met:
        slow = "; ".join(f"{name}: {x['mhz']} of {x['needed']} MHz"
                         for name, x in route["clocks"].items() if x["mhz"] < x["needed"])
        raise ClockError(f"{kind.name}: no seed of {', '.join(map(str, routes))} meets the clock ({slow}): no bitstream. "
                         "Try more seeds (SEEDS=8), or a lower clock in hw/boards/catalog.py")
    return report


def design(kind: BoardKind, make: Callable[[BoardKind, str], Elaboratable], build: str,
           ) -> tuple[str, tuple[str, str], dict[str, str]]:
    """RTLIL of a board's chip, name and text of its constraints, and the Verilog of modules that it names only.

    The same for the same sources.
    """
    platform = kind.platform()
    plan = platform.prepare(make(kind, build), TOP, emit_src=False)
    files = {name: x if isinstance(x, str) else x.decode() for name, x in plan.files.items()}
    name = next(x for x in files if x.endswith(CONSTRAINTS))
    cores = {x.removesuffix(".v"): files[x] for x in platform.extra_files}
    return mend_names(files[f"{TOP}.il"]), (name, files[name]), cores


def _route(kind: BoardKind, folder: Path, build: str, place: list[str], seed: int) -> dict[str, Any]:
    """Place and route with one seed: the clocks, and the file that is to be packed."""
    tool, name = kind.chip.place[0], f"seed{seed}"
    suffix, option = kind.chip.routed
    output = f"{name}{suffix}"
    key = digest(build, seed)
    found = cached(folder / f"{name}.json", key)
    if found is None or not (folder / output).exists():
        command = [beside_python(tool), *place, "--seed", str(seed), "--timing-allow-fail", "--report", f"{name}.timing.json",
                   option, output]
        seconds = run(tool, command, folder, folder / f"{name}.log")
        report = json.loads((folder / f"{name}.timing.json").read_text())
        clocks = {clock: {"mhz": round(x["achieved"], 2), "needed": round(x["constraint"], 2)}
                  for clock, x in report["fmax"].items()}
        slowest = min(clocks, key=lambda clock: clocks[clock]["mhz"] / clocks[clock]["needed"])
        own = min(clocks, key=lambda clock: abs(clocks[clock]["needed"] - kind.clock / 1e6))  # the machine's
        path = next(x for x in report["critical_paths"] if slowest in x["from"] and x["from"] == x["to"])
        found = {
            "digest": key, "seconds": round(seconds), "file": output, "clocks": clocks,
            "reached": clocks[slowest]["mhz"] / clocks[slowest]["needed"], "fmax_mhz": clocks[own]["mhz"],
            "utilisation": {x: n for x, n in report["utilization"].items() if n["used"]}, "critical_path": steps(path["path"]),
        }
        (folder / f"{name}.json").write_text(json.dumps(found, indent=1))
    return found
