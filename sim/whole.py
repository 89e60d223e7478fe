"""Whole clips, four ways: quantised torch = integer golden = golden device = Verilated RTL, at every layer boundary.

``python -m sim.whole --preset small --clips 64`` prints accuracy, cycles and one digest of everything that the RTL made;
exit code 1 at the first value that differs.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from golden.comparison import first_divergence
from golden.data.digit_motion import make
from golden.encoding import encode
from golden.integer import network
from golden.models.checkpoint import load_checkpoint
from golden.models.network import as_input, as_integers
from golden.spec.config import PRESETS, preset
from sim.device.build import build
from sw.compiler import compile_model
from sw.device.golden import GoldenDevice
from sw.device.sim import SimDevice
from sw.driver import Driver, Result
from sw.model_file import read_model

WEIGHTS = Path(__file__).parents[1] / "golden" / "weights"
NAME = "svformer_nano"
BATCH = 16


@dataclass(frozen=True)
class Clip:
    """One clip: its label, what the RTL made of it, and where it first differs from one of the others, if it does."""

    label: int
    result: Result
    difference: str


def clips(name: str, count: int, seed: int, stall: int, latency: int, folder: Path = Path("build")) -> Iterator[Clip]:
    """Run the first ``count`` test clips every way and compare each layer boundary bit for bit.

    Parameters
    ----------
    name : str
        Preset.
    count : int
        Clips, classes in turn.
    seed, stall, latency : int
        Of the memory's random stalls; per mille; cycles.
    folder : Path
        Where the Verilated device is built.
    """
    config = preset(name)
    model, tensors = network.load(WEIGHTS / f"{NAME}.safetensors")
    qat = load_checkpoint(WEIGHTS / f"{NAME}_qat.safetensors")
    bundle = compile_model(read_model(WEIGHTS / f"{NAME}.safetensors"), config)
    frames, labels = make("test", count)
    torch.set_num_threads(1)
    uri = f"sim:{name}?seed={seed}&stall={stall}&latency={latency}"
    with SimDevice(build(config, folder / name), uri, seed, stall, latency) as device, GoldenDevice(config) as golden:
        rtl, reference = Driver(device), Driver(golden)
        rtl.load(bundle)
        reference.load(bundle)
        for first in range(0, count, BATCH):
            x = encode(frames[first:first + BATCH], model.encoding)
            taps: dict[str, torch.Tensor] = {}
            with torch.no_grad():
                qat(as_input(x, model.encoding), taps)
            quantised = as_integers(qat, taps)
            for i, clip in enumerate(x):
                integer = network.run(model, tensors, clip)
                result = rtl.trace(clip)
                others = {
                    "quantised torch": {k: v[i].reshape(integer[k].shape) for k, v in quantised.items()},
                    "golden device": reference.trace(clip).tensors, "RTL": result.tensors,
                }
                text = ""
                for who, values in others.items():
                    same = {k: v.reshape(integer[k].shape) for k, v in values.items()}
                    if difference := first_divergence(model, same, integer, first + i, who):
                        text = (f"{who} differs from the integer golden: {difference}, replay: python -m sim.whole "
                                f"--preset {name} --clips {first + i + 1} --seed {seed} --stall {stall}")
                        break
                yield Clip(int(labels[first + i]), result, text)


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(prog="python -m sim.whole", description="whole clips, bit for bit")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1, help="of the memory's random stalls")
    parser.add_argument("--stall", type=int, default=100, help="per mille of cycles in which a handshake waits")
    parser.add_argument("--latency", type=int, default=20, help="cycles")
    a = parser.parse_args()
    if a.clips < 1:
        parser.error("--clips must be at least 1")
    digest, right, cycles, sops = hashlib.sha256(), 0, 0, 0
    begin = time.monotonic()
    for clip in tqdm(clips(a.preset, a.clips, a.seed, a.stall, a.latency), total=a.clips, unit="clip", disable=None):
        if clip.difference:
            sys.exit(clip.difference)
        for name in sorted(clip.result.tensors):
            digest.update(np.ascontiguousarray(clip.result.tensors[name]).tobytes())
        right += clip.result.index == clip.label
        cycles += clip.result.cycles
        sops += clip.result.sops
    layers = len(clip.result.layers) - sum(x in clip.result.layers for x in ("load", "store"))
    print(f"bit-exact: {a.clips}/{a.clips} clips, {layers} layers each: quantised torch = integer golden = golden device = RTL")
    print(f"right: {right}/{a.clips}; {cycles / a.clips:,.0f} cycles a clip with every tensor stored, "
          f"{sops / a.clips:,.0f} synaptic operations; {cycles / (time.monotonic() - begin):,.0f} cycles a second, all included")
    print(f"digest of every tensor: {digest.hexdigest()[:32]}")


if __name__ == "__main__":
    main()
