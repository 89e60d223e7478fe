"""A whole network on a lean machine in Verilator, through the real driver, bit for bit at every layer boundary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from golden.integer import network
from golden.integer.random_model import random_clip, random_model
from golden.spec.config import PICO
from golden.spec.model import Encoding
from hw.boards.catalog import BOARDS
from sim.device.build import build
from sim.lib.runner import seed
from sim.whole import BUILD, MODEL, open_for
from sw.compiler import compile_model
from sw.device.golden import GoldenDevice
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.model_file import ModelFile, read_model
from sw.verify import compare

#: As much of `pico` as the network allows: its heads, and the memory that its program needs.
CONFIG = replace(PICO, name="lean", head_max=32, spike_words=2560, address_bits=20)


def test_preset() -> None:
    """A network that the preset and the memory of an iCEBreaker have room for, with its attention: every tensor is the golden
    model's.
    """
    start = seed()
    source = ModelFile(*random_model(1, Encoding(height=16, width=16, timesteps=4, frames=2, patch=4), local=8, wide=16))
    bundle = compile_model(source, PICO)
    clip = random_clip(source.model.encoding, np.random.default_rng(start))
    expected = network.run(source.model, source.tensors, clip)
    memory_bytes = BOARDS["icebreaker"].memory_bytes
    library = build(PICO, Path("build") / PICO.name)
    with SimDevice(library, f"sim:pico?seed={start}", start, 100, memory_bytes=memory_bytes) as rtl:
        driver = Driver(rtl, 1000.0)
        driver.load(bundle)
        result = driver.trace(clip)
    report = compare(bundle.manifest, result.tensors, expected)
    assert report.equal == report.layers, str(report)
    print(f"seed {start}: {result.cycles:,} cycles with every tensor stored, {bundle.image.size:,} bytes of image")


@pytest.mark.slow
def test_network() -> None:
    """svformer-nano, nearly all of whose tensors come and go, with a memory that stalls: every tensor is the golden model's."""
    start = seed()
    source = read_model(MODEL)
    bundle = compile_model(source, CONFIG)
    clip = open_for(source.model, None, BUILD / "cache", "test").parts["test"].see(0, None).x
    expected = network.run(source.model, source.tensors, clip)
    uri = f"sim:lean?seed={start}"
    library = build(CONFIG, Path("build") / CONFIG.name)
    with GoldenDevice(CONFIG) as golden, SimDevice(library, uri, start, 100, memory_bytes=golden.memory_bytes) as rtl:
        for device in (golden, rtl):
            driver = Driver(device, 1000.0)
            driver.load(bundle)
            result = driver.trace(clip)
            report = compare(bundle.manifest, result.tensors, expected)
            assert report.equal == report.layers, f"{device.uri}: {report}"
            assert result.sops == 0 and not any(x["adds"] for x in result.records)  # it keeps no statistics
        print(f"seed {start}: {result.cycles:,} cycles with every tensor stored")
