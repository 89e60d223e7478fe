"""``python -m hw verilog --preset small --out FILE``: the accelerator as Verilog."""

from __future__ import annotations

import argparse
from pathlib import Path

from golden.spec.config import PRESETS, preset
from hw.top import Accelerator
from hw.verilog import to_verilog


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(prog="python -m hw")
    command = parser.add_subparsers(dest="command", required=True).add_parser("verilog", help="write the accelerator as Verilog")
    command.add_argument("--preset", choices=PRESETS, default="small")
    command.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(to_verilog(Accelerator(preset(arguments.preset)), "accelerator"), encoding="utf-8")


if __name__ == "__main__":
    main()
