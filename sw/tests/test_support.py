"""What the contract has and the machine has not is refused, all of it at once; what it has, runs."""

from dataclasses import replace
from typing import Any

import pytest

from golden.integer.random_graph import SMALL as ENCODING
from golden.integer.random_graph import random_graph
from golden.spec.config import BASE, MICRO, SMALL
from golden.spec.model import CONV, Layer
from sw.compiler import compile_model
from sw.model_file import ModelFile
from sw.support import UnsupportedError
from sw.tests.test_compiler import check_equal, clips

MACHINE = ("dense", "depthwise", "residual", "hamming")  #: kinds of `random_graph` that every preset runs


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("config", [MICRO, SMALL, BASE], ids=lambda c: c.name)
def test_random_graphs_of_what_the_machine_has(config, seed):
    large = replace(config, spike_words=1 << 16, u_beats=1 << 16, weight_rows=4096, acc_bits=24)
    check_equal(ModelFile(*random_graph(seed, kinds=MACHINE, neurons=False)), large, clips(ENCODING))


@pytest.mark.parametrize(("kind", "reason"), [
    ("grouped", "groups to"), ("concat", "inputs, the machine reads one tensor only"), ("upsample", "upsampling by"),
    ("mask", "no operation 'mask'"), ("sdsa", "no operation 'mask'"), ("qk", "no operation 'mask'"),
    ("pool", "neurons of leak 0/16"), ("attention", "no operation 'ssa'"), ("attention", "attention of scope 'frame'"),
])
def test_what_the_machine_has_not(kind, reason):
    texts = []
    for seed in range(8):
        try:
            compile_model(ModelFile(*random_graph(seed, parts=3, kinds=(kind,), neurons=False)), BASE)
        except UnsupportedError as error:
            texts += error.reasons
    assert any(text.startswith("layer 'l") and reason in text for text in texts), texts


def test_every_layer_that_is_not_possible_is_named(tiny):
    """New operations and broken rules in one model, beside a layer that is fine."""
    change: dict[str, dict[str, Any]] = {
        "local.pw1": {"leak": 3}, "local.fc1": {"reset": "soft"}, "local.pw2": {"upsample": 2, "stride": 2},
        "g0.q": {"levels": 2}, "g0.sdha": {"op": "ssa", "scope": "frame"}, "g0.proj": {"groups": 2},
    }
    layers = tuple(replace(x, **change.get(x.name, {})) for x in tiny.model.layers)
    with pytest.raises(UnsupportedError) as caught:
        compile_model(ModelFile(replace(tiny.model, layers=layers), tiny.tensors), SMALL)
    text = str(caught.value)
    for part in (
        "'local.pw1': neurons of leak 3/16, hard reset, 1 levels", "'local.fc1': neurons of leak 8/16, soft reset, 1 levels",
        "'local.pw2': upsampling by 2", "'g0.q': neurons of leak 8/16, hard reset, 2 levels",
        "'g0.sdha': the machine has no operation 'ssa'", "'g0.sdha': attention of scope 'frame'",
        "'g0.sdha': input 'g0.q.s' of 0..2 is not a tensor of single bits",
        "'g0.proj': 2 groups to 32 channels", "'g0.proj': weight is int8 [32, 32, 1, 1], not int8 [32, 16, 1, 1]",
    ):
        assert part in text, (part, text)
    assert "'local.dw'" not in text and "'head'" not in text


def test_a_result_without_logits(tiny):
    layers = (*tiny.model.layers[:-1], Layer(name="last", op=CONV, inputs=("head.s",), channels=2, u_out="dense"))
    with pytest.raises(UnsupportedError, match="a residual tensor as result, the machine gives logits only"):
        compile_model(ModelFile(replace(tiny.model, layers=layers, classes=()), tiny.tensors), SMALL)
