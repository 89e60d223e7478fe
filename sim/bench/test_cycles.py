"""The cycle model of sw/cycles.py against the Verilated RTL, descriptor by descriptor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.integer.random_model import NANO, random_clip, random_model
from golden.spec.config import preset


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
    with SimDevice(build(config, Path("build") / name), f"sim:{name}") as device:
        driver = Driver(device)
        driver.load(compile_model(source, config))
        measured = driver.run(clip).layers
    costs = predict(source.model, source.tensors, config, network.run(source.model, source.tensors, clip))
    assert {x.opcode for x in costs} == {Opcode.LINEAR, Opcode.HAMMING}
    layers = source.model.layers
    for layer, following in zip(layers, (*layers[1:], layers[-1]), strict=True):
        predicted, found = sum(x.cycles for x in costs if x.layer == layer.name), measured[layer.name].cycles
        parts = [part for x in (layer, following) for part in layer_passes(source.model, x, source.tensors, config)]
        loading = sum(part.fields.get("weight_rows", 0) for part in parts) // config.issue
        # a row of weights that is loaded meanwhile can cost a core a cycle, see hw/weight_banks.py
        assert 0.98 * predicted <= found <= 1.02 * predicted + loading, f"'{layer.name}': {predicted} predicted, {found} taken"
        assert sum(x.sops for x in costs if x.layer == layer.name) == measured[layer.name].sops
