"""The cycle model of sw/cycles.py against the Verilated RTL, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.integer.random_model import NANO, random_clip, random_model
from golden.spec.config import preset
from sim.device.build import build
from sim.lib.runner import seed
from sw.compiler import compile_model
from sw.cycles import predict
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.model_file import ModelFile


@pytest.mark.parametrize(("name", "sizes"), [
    ("small", {}),
    pytest.param("small", {"local": 16, "wide": 48, "heads": 3, "ratio": 3}, marks=pytest.mark.slow),
    pytest.param("micro", {}, marks=pytest.mark.slow),
    pytest.param("base", {"local": 48, "heads": 4, "blocks": 2}, marks=pytest.mark.slow),
])
def test_cycles(name: str, sizes: dict[str, Any]) -> None:
    start, config = seed(), preset(name)
    print(f"TANDEM_SEED={start}")
    source = ModelFile(*random_model(start, **sizes))
    clip = random_clip(NANO, np.random.default_rng(start))
    bundle = compile_model(source, config)
    with SimDevice(build(config, Path("build") / name), f"sim:{name}") as device:
        driver = Driver(device)
        driver.load(bundle)
        measured = driver.run(clip)
    predicted = predict(bundle, config, clip)
    assert predicted.layers.keys() == measured.layers.keys()
    for layer in source.model.layers:
        found, expected = measured.layers[layer.name], predicted.layers[layer.name]
        # A row of weights that is loaded meanwhile holds a slot for a cycle, and all who wait for it: the machine counts these.
        assert 0.98 * expected.cycles <= found.cycles <= 1.02 * expected.cycles + found.weights, \
            f"'{layer.name}': {expected.cycles} predicted, {found.cycles} taken, {found.weights} slot cycles lost to weights"
        assert found.sops == expected.sops > 0
