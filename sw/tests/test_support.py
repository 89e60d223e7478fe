"""What the machine cannot run is refused, all of it at once and with the numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from golden.integer.random_graph import random_graph
from golden.integer.random_model import random_model
from golden.spec.config import BASE, MICRO, PICO, SMALL
from golden.spec.model import FRAME, HEAD, SOFT, Encoding, Layer
from sw.compiler import compile_model
from sw.model_file import ModelFile
from sw.support import UnsupportedError
from sw.tests.test_contract import ROOM, conv, made, possible


def reasons(source, config):
    """Why it is refused."""
    with pytest.raises(UnsupportedError) as caught:
        compile_model(source, config)
    return str(caught.value)


def changed(source, **layers):
    """A model with other fields of some layers."""
    change: dict[str, dict[str, Any]] = {name.replace("_", "."): fields for name, fields in layers.items()}
    model = replace(source.model, layers=tuple(replace(x, **change.get(x.name, {})) for x in source.model.layers))
    return ModelFile(model, source.tensors)


def test_every_layer_that_is_not_possible_is_named(tiny):
    """Neurons that there are not and broken rules in one model, beside layers that are fine."""
    text = reasons(changed(
        tiny, stem={"levels": 16, "step": 8}, local_fc1={"reset": "soft", "leak": 3, "theta": 100},
        local_dw={"levels": 3, "step": 12}, g0_q={"levels": 2}, g0_proj={"groups": 2}, g0_fc1={"leak": 3},
    ), SMALL)
    for part in (
        "'stem': spikes of 16 levels, at most 15 are possible",
        "'local.dw': 3 levels with thresholds 12 apart, which is no power of two",
        "'g0.sdha': input 'g0.q.s' of 0..2 is not a tensor of single bits",
        "'g0.proj': weight is int8 [32, 32, 1, 1], not int8 [32, 16, 1, 1]",
    ):
        assert part in text, (part, text)
    assert "'local.fc1'" not in text and "'g0.fc1'" not in text and "'head'" not in text


def test_neurons_of_a_smaller_machine(tiny):
    text = reasons(changed(tiny, stem={"leak": 3}, local_dw={"levels": 2, "step": 8, "reset": SOFT}, local_fc1={"leak": 0}), BASE)
    assert "'stem': membranes that keep 3 sixteenths, only 0, 8 and 16 are possible" in text and "'local.fc1'" not in text
    assert "'local.dw': a soft reset of 2 levels, only a hard one is possible" in text
    text = reasons(changed(tiny, local_dw={"levels": 2, "step": 8}), replace(BASE, levels_max=1))
    assert "'local.dw': spikes of 2 levels, at most 1 are possible" in text


def test_a_lean_machine_names_its_limits_and_the_way_out():
    wide = ModelFile(*random_model(1, Encoding(height=8, width=1040, timesteps=4, frames=1, patch=4), local=8, wide=16))
    text = reasons(wide, PICO)
    limit = "'stem': descriptor field in_w = 260 is outside 0..255"
    assert f"{limit}; a machine that is not lean, such as micro, takes up to 4095" in text
    compile_model(wide, MICRO)


def test_a_head_sums_time_steps_with_one_more_bit():
    few = replace(SMALL, name="few", acc_bits=16, x_bits=16)
    source = made(conv("a", "input", 64), Layer(name="head", op=HEAD, inputs=("a.s",), channels=1))
    _, height, width, _ = source.model.shapes()["a.s"]
    steps, most = source.model.encoding.timesteps, (1 << 16) - 1
    weight, places = source.tensors["head.weight"], height * width
    weight[:] = 0
    weight[0, : most // (7 * steps * places)] = 7
    least = most - int(weight.sum()) * steps * places
    source.tensors["a.weight"][:] = source.tensors["a.bias"][:] = 0
    source.tensors["head.bias"][0] = least
    compile_model(source, few)
    source.tensors["head.bias"][0] = least + 1
    assert f"'head': sum of all time steps and bias can reach {most + 1} > {most}" in reasons(source, few)


def test_sums_in_parts_that_do_not_fit():
    """Those of the first parts, and what is to be added to a residual tensor."""
    few = replace(SMALL, **ROOM | {"weight_rows": 64, "name": "few"})
    a = conv("a", "input", 128, u_out="a.u")
    source = made(a, conv("b", "a.s", 9, kernel=5, weight_bits=8))
    source.tensors["b.weight"][:] = np.abs(source.tensors["b.weight"])
    assert "'b': a sum of parts can reach" in reasons(source, few)
    source = made(a, conv("b", "a.s", 128, residual="a.u", kernel=3, padding=1))
    source.tensors["b.shift"][:] = -8
    assert "'b': y, which goes through residual memory, can reach" in reasons(source, few)


def test_what_goes_through_residual_memory_fits_it():
    source = possible(random_graph(3, parts=1, kinds=("hamming",)))
    name = next(x.name for x in source.model.layers if x.op == "sdha")
    source = changed(source, **{name: {"scope": FRAME, "leak": 8, "levels": 1, "step": 0}})
    source.tensors[f"{name}.bias"][:] = 1 << 20
    text = reasons(source, replace(BASE, **ROOM))
    assert f"'{name}': y >> shift, which goes through residual memory, can reach" in text and "> 32767" in text


def test_weights_of_one_word():
    """Nothing is left to be divided."""
    narrow = replace(MICRO, **ROOM | {"word": 128, "weight_rows": 128, "name": "narrow"})
    assert "'a': weights of 256 rows in each bank, there are 128" in reasons(made(conv("a", "input", 4, weight_bits=8)), narrow)


def test_channels(tiny):
    text = reasons(changed(tiny, local_pw1={"channels": 4112}), SMALL)
    assert "'local.pw1': 4112 channels are 257 groups of 16 lanes, at most 256 are possible" in text


@pytest.mark.parametrize(("fields", "reason"), [
    ({"stride": 16, "padding": 1, "kernel": 4}, "descriptor field stride = 16 is outside 0..15"),
    ({"padding": 20, "kernel": 25}, "descriptor field padding = 20 is outside 0..15"),
])
def test_windows(fields, reason):
    encoding = replace(made(conv("a", "input", 4)).model.encoding, height=60, width=60)
    source = made(conv("a", "input", 4), conv("b", "a.s", 4, **fields), encoding=encoding)
    assert reason in reasons(source, replace(MICRO, **ROOM))
