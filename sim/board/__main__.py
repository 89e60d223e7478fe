"""``python -m sim.board --preset small``: build a simulated board, print the device that opens it, run it until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path

from golden.spec.config import PRESETS, preset
from sim.board.board import ETHERNET, UART, UDP, SimulatedBoard, build


def main() -> None:
    """Read the command line, build, run."""
    parser = argparse.ArgumentParser(prog="python -m sim.board", description="a Verilated board: a serial line, UDP, or Ethernet")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--link", choices=(UART, UDP, ETHERNET), default=UART,
                        help="a serial line; UDP on this computer; the same in frames at the pins of LiteEth's core")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder to build in")
    parser.add_argument("--seed", type=int, default=1, help="of stalls and noise")
    parser.add_argument("--stall", type=int, default=0, help="per mille of cycles in which a handshake of the memory waits")
    parser.add_argument("--latency", type=int, default=20, help="cycles from a burst's address to its first beat")
    parser.add_argument("--noise", type=int, default=0, help="per mille of bytes on the line that become another one; of UDP, "
                        "of datagrams that are lost, that come twice, and that come late, each")
    arguments = parser.parse_args()
    config = preset(arguments.preset)
    try:
        library = build(config, arguments.build / arguments.preset, arguments.link)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    a = arguments
    with SimulatedBoard(library, a.seed, a.stall, a.latency, a.noise, a.link, config) as board:
        print(board.uri, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        violation = board.violation
    if violation:
        sys.exit(f"error: {violation}")


if __name__ == "__main__":
    main()
