"""``python -m sim.netlist --preset small``: a clip through the driver on the synthesised netlist, every layer bit for bit."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from golden.encoding import DataError
from golden.examples import open_for
from golden.spec.config import PRESETS, preset
from golden.spec.model import ModelError
from hw.flow.devices import DEVICES, HOMES
from hw.flow.tools import ToolError
from sim.netlist.build import build
from sw.compiler import compile_model
from sw.device.base import DeviceError
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.model_file import read_model
from sw.support import UnsupportedError
from sw.verify import compare, expect

LIMIT = 7200.0  #: seconds of a run: a netlist makes some ten thousand cycles a second
MODEL = Path("golden/weights/svformer-nano.safetensors")


def main() -> None:
    """Read the command line, build, run, compare."""
    parser = argparse.ArgumentParser(prog="python -m sim.netlist", description="a clip on the synthesised netlist, bit for bit")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--device", choices=DEVICES, help="default: the chip that the preset is made for")
    parser.add_argument("--model", type=Path, default=MODEL, help="checkpoint with integer weights")
    parser.add_argument("--clip", type=int, default=0, help="number in the test part of digit motion")
    parser.add_argument("--stall", type=int, default=200, help="per mille of cycles in which a handshake of the memory waits")
    a = parser.parse_args()
    name = a.device or HOMES[a.preset]
    replay = f"python -m sim.netlist --preset {a.preset} --device {name} --model {a.model} --clip {a.clip} --stall {a.stall}"
    try:
        source = read_model(a.model)
        bundle = compile_model(source, preset(a.preset))
        clip = open_for(source.model, None, Path("build/cache"), "test").parts["test"].see(a.clip, None).x
        begin = time.monotonic()
        library = build(preset(a.preset), DEVICES[name], Path("build", a.preset, "netlist", name))
        print(f"{library} ({time.monotonic() - begin:.0f} s)", flush=True)
        begin = time.monotonic()
        with SimDevice(library, f"netlist of {a.preset} for {DEVICES[name].device}", stall=a.stall) as device:
            driver = Driver(device, timeout=LIMIT)
            driver.load(bundle)
            result = driver.trace(clip)
        report = compare(bundle.manifest, result.tensors, expect(bundle, source, clip))
    except (ToolError, RuntimeError, ValueError, IndexError, DataError, ModelError, UnsupportedError, DeviceError) as error:
        sys.exit(f"error: {error}")
    print(f"{device.uri}: {result.cycles:,} cycles, {time.monotonic() - begin:.0f} s")
    print(report.text(replay))
    sys.exit(0 if report.exact else 1)


if __name__ == "__main__":
    main()
