"""``python -m hw``: the accelerator as Verilog, its area and its clock; bitstreams of boards."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from golden.spec.config import PRESETS, preset
from hw.boards.catalog import BOARDS
from hw.boards.page import table
from hw.flow.bitstream import make_bitstream
from hw.flow.devices import DEVICES, HOMES
from hw.flow.pnr import place_and_route
from hw.flow.tools import ToolError
from hw.link.ethernet import PORT
from hw.top import Accelerator
from hw.verilog import to_verilog


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m hw")
    commands = parser.add_subparsers(dest="command", required=True)
    verilog = commands.add_parser("verilog", help="write the accelerator as Verilog")
    verilog.add_argument("--out", type=Path, required=True)
    pnr = commands.add_parser("pnr", help="place and route: area by block and clock, build/PRESET/pnr/DEVICE/report.json")
    pnr.add_argument("--device", choices=DEVICES, help="default: the chip that the preset is made for")
    pnr.add_argument("--mhz", type=float, help="the router goes on until this clock is met (else it aims at 100, ends earlier)")
    pnr.add_argument("--seed", type=int, default=1, help="of the placer (1)")
    pnr.add_argument("--synthesis-only", action="store_true", help="no place and route")
    pnr.add_argument("--lut6", action="store_true", help="instead, count 6-input tables, as other chips have them (synth_xilinx)")
    for command in (verilog, pnr):
        command.add_argument("--preset", choices=PRESETS, default="small")
    bitstream = commands.add_parser("bitstream", help="a board's bitstream, build/BOARD, and bitstream.json beside it")
    bitstream.add_argument("board", choices=BOARDS)
    bitstream.add_argument("--ip", help="IPv4 address of a board with a network (192.168.1.50)")
    bitstream.add_argument("--seeds", type=int, default=1, help="runs of the placer, of which the fastest is kept (1)")
    boards = commands.add_parser("boards", help="write docs/boards-table.md: what build/*/bitstream.json say")
    boards.add_argument("--out", type=Path, default=Path("docs/boards-table.md"))
    arguments = parser.parse_args()
    if arguments.command == "bitstream":
        program(arguments.board, arguments.seeds, arguments.ip)
        return
    if arguments.command == "boards":
        try:
            arguments.out.write_text(table(Path("build")), encoding="utf-8")
        except FileNotFoundError as error:
            sys.exit(f"error: {error}")
        print(arguments.out)
        return
    config = preset(arguments.preset)
    if arguments.command == "verilog":
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(to_verilog(Accelerator(config), "accelerator"), encoding="utf-8")
        return
    name = "xc7" if arguments.lut6 else arguments.device or HOMES[config.name]
    folder = Path("build", config.name, "pnr", name)
    try:
        report = place_and_route(config, DEVICES[name], folder, megahertz=arguments.mhz or 100, seed=arguments.seed,
                                 route=not (arguments.synthesis_only or arguments.lut6), insist=bool(arguments.mhz))
    except ToolError as error:
        sys.exit(f"error: {error}")
    show(report)
    print(f"{folder / 'report.json'}")


def program(board: str, seeds: int, ip: str | None) -> None:
    """Make a board's bitstream, and say what came of it."""
    kind = BOARDS[board]
    if ip is not None:
        if not kind.ip:
            sys.exit(f"error: {board} has no network")
        try:
            kind = replace(kind, ip=str(IPv4Address(ip)))
        except ValueError as error:
            sys.exit(f"error: --ip: {error}")
    folder = Path("build", kind.name)
    try:
        report = make_bitstream(kind, folder, range(1, seeds + 1))
    except ToolError as error:
        sys.exit(f"error: {error}")
    path, x = folder / report["bitstream"], report
    print(f"{path}: {x['preset']} on {x['device']}, build {x['build']}, {x['clock_mhz']:g} MHz of {x['fmax_mhz']:g} possible "
          f"(seed {x['seed']}), {x['tables']:,} tables, {x['flops']:,} flip-flops, {x['block_rams']} block RAMs, "
          f"{x['memory_bytes']:,} bytes of {x['memory']}")
    print(f"python -m sw program {path} --board {board}")
    if kind.ip:
        print(f"in the network, or on its serial line at {kind.baud} baud: udp://{kind.ip}:{PORT}")


def show(report: dict[str, Any]) -> None:
    """Print area by block and the critical path."""
    synthesis = report["synthesis"]
    print(f"{report['preset']} on {report['device']}: {synthesis['luts']:,} tables, {synthesis['memories']} memories")
    print(f"{'block':44} {'tables':>8} {'flops':>8} {'memories':>8}")
    for path, block in synthesis["blocks"].items():
        flops = sum(n for cell, n in block["cells"].items() if "FF" in cell)
        if block["luts"] * 200 >= synthesis["luts"] or block["memories"]:
            print(f"{'  ' * path.count('.') + path.split('.')[-1]:44} {block['luts']:8,} {flops:8,} {block['memories']:8}")
    if "route" in report:
        route = report["route"]
        print(f"{route['mhz']} MHz (aim {route['target_mhz']:g}), seed {route['seed']}; critical path:")
        for step in route["critical_path"]:
            print(f"  {step['delay']:6.2f} ns {step['type']:12} {step['to']} {step['net']}")


if __name__ == "__main__":
    main()
