"""How fast it is: ``python -m sim.speed --preset base --clips 16 --sweeps`` writes build/bench.json and docs/results.md.

Clips run through the real driver on the Verilated RTL, memory without stalls; beside them the cycle model, PyTorch on
this CPU, and other work. Also written: build/trace.json (a timeline of the first clip) and build/roofline.png.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from golden.encoding import DataError
from golden.examples import open_for
from golden.spec.config import BASE, PRESETS, Config, preset
from golden.spec.model import ModelError
from hw.__main__ import HOMES
from sim.device.build import build
from sim.speed import roofline, timeline
from sim.speed.cpu import cpu_name, seconds
from sim.speed.measure import Run, WatchedDevice, WrongResultError, dense_macs, rows, run_clip, traffic
from sim.speed.page import page
from sim.speed.report import Hardware, Report, whole
from sim.speed.sweeps import sweep
from sw.bundle import Bundle
from sw.compiler import compile_model
from sw.cycles import Memory
from sw.driver import Driver
from sw.model_file import read_model
from sw.support import UnsupportedError

BUILD = Path("build")
MODEL = Path("golden/weights/svformer-nano.safetensors")


def hardware(config: Config, folder: Path) -> Hardware | None:
    """What place and route said of exactly this configuration on the chip that it is made for; None if nothing did."""
    path = folder / config.name / "pnr" / HOMES[config.name] / "report.json"
    report = json.loads(path.read_text()) if path.is_file() else {}
    if report.get("config") != config.digest:
        return None
    return Hardware(device=report["device"], luts=report["synthesis"]["luts"], memories=report["synthesis"]["memories"],
                    mhz=report["route"]["mhz"] if "route" in report else None, source=str(path))


def bench(a: argparse.Namespace, command: str) -> tuple[Report, list[Run], Bundle]:
    """Measure everything that the arguments ask for; the report, each clip's run, and what ran.

    Raises
    ------
    WrongResultError
        If a clip's result is not the integer golden model's.
    ModelError, DataError, UnsupportedError
        If the model, the data, or both together cannot be used.
    """
    config, source = preset(a.preset), read_model(a.model)
    bundle = compile_model(source, config)
    data = open_for(source.model, a.data, BUILD / "cache", "test", a.clips)
    examples = data.parts["test"]
    clips = [examples.see(i, None).x for i in range(len(examples))]
    runs = []
    library = build(config, BUILD / a.preset)
    with WatchedDevice(library, f"sim:{a.preset}", latency=a.latency, bandwidth=a.bandwidth) as device:
        driver = Driver(device, timeout=24 * 3600)
        driver.load(bundle)
        simulating = 0.0
        for clip in tqdm(clips, unit="clip", disable=None):
            runs.append(run_clip(device, driver, bundle, config, source, clip, Memory(a.latency, a.bandwidth)))
            simulating += device.ended - device.started
    layers = rows(runs, traffic(bundle, config), dense_macs(source.model))
    cycles, predicted = (sum(getattr(x, way).cycles for x in runs) for way in ("measured", "predicted"))
    torch.set_num_threads(1)  # beside other programs, more threads are slower or faster by chance
    before, after = (sum(x.host[i] for x in runs) / len(runs) for i in range(2))
    return Report(
        command=command, preset=a.preset, config=config.digest, network=source.model.name, model=source.digest,
        data=f"test clips of {a.data.name if a.data else 'digit motion'}", clips=len(runs), latency=a.latency,
        bandwidth=a.bandwidth, peak=config.peak_sop, slots=config.cores * config.issue, axi_bytes=config.axi_bytes, layers=layers,
        clip=whole(layers, cycles / len(runs), predicted / len(runs)), host=(before, after), hardware=hardware(config, BUILD),
        torch=seconds(a.model, source, clips), cpu=cpu_name(), simulated=cycles / simulating,
        sweeps=sweep(config, library) if a.sweeps else None,
    ), runs, bundle


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m sim.speed", description="cycles, utilisation and stalls, layer by layer")
    parser.add_argument("--preset", choices=PRESETS, default="base")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--model", type=Path, default=MODEL, help="model file")
    parser.add_argument("--data", type=Path, help="folder of the data set; without it the built-in digit motion")
    parser.add_argument("--latency", type=int, default=20, help="of the memory, in cycles")
    parser.add_argument("--bandwidth", type=int, default=0, help="of the memory, bytes a cycle; 0: as many as the bus takes")
    parser.add_argument("--sweeps", action="store_true", help="also densities and lengths, on base")
    parser.add_argument("--out", type=Path, default=BUILD, help="folder of bench.json, trace.json and roofline.png")
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    a = parser.parse_args(arguments)
    if a.clips < 1:
        parser.error("--clips must be at least 1")
    if a.sweeps and a.preset != BASE.name:
        parser.error(f"--sweeps are of the preset {BASE.name}")
    shown = {"--preset": a.preset, "--clips": a.clips, "--model": a.model if a.model != MODEL else None,
             "--data": "DIR" if a.data else None, "--latency": a.latency if a.latency != 20 else None,
             "--bandwidth": a.bandwidth or None}
    command = shlex.join(["python", "-m", "sim.speed", *(str(x) for k, v in shown.items() if v is not None for x in (k, v)),
                          *(["--sweeps"] if a.sweeps else [])])
    begin = time.monotonic()
    try:
        report, runs, bundle = bench(a, command)
    except (DataError, ModelError, UnsupportedError, WrongResultError) as error:
        sys.exit(f"error: {error}")
    report.write(a.out / "bench.json")
    a.page.write_text(page(report), encoding="utf-8")
    events = timeline.events(runs[0], bundle, report.mhz, report.slots, report.axi_bytes)
    timeline.write(a.out / "trace.json", events, report.clock)
    roofline.draw(a.out / "roofline.png", report)
    print(f"{report.clip.cycles:,.0f} cycles a clip, utilisation {report.utilisation(report.clip):.1%}, "
          f"{report.clips_per_second:,.1f} clips/s at {report.clock}; {time.monotonic() - begin:.0f} s")
    print(f"written: {a.page}, {a.out}/bench.json, {a.out}/trace.json, {a.out}/roofline.png")


if __name__ == "__main__":
    main()
