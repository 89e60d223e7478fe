"""The classifier that begins as a logistic regression."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.modules.batchnorm import _BatchNorm

from golden import regression
from golden.examples import Choice, open_examples
from golden.models.catalogue import CONFIGS, build
from golden.models.network import as_input, fold
from golden.models.synapses import Quantisation
from golden.regression import fit_classifier
from golden.spec.model import ModelError


@pytest.fixture
def examples(tmp_path):
    encoding = CONFIGS["svformer-nano"].encoding
    return open_examples(Choice(data="digit-motion", pool=48), encoding, None, tmp_path, ("train",)).parts["train"]


@pytest.mark.parametrize("bits", [0, 8, 4])
def test_the_head_says_what_the_regression_says(examples, monkeypatch, bits) -> None:
    """In float exactly, with narrow weights nearly, and of the mean of all clips exactly."""
    torch.manual_seed(1)
    monkeypatch.setattr(regression, "STRENGTHS", (0.1,))
    net: Any = build(CONFIGS["svformer-nano"])
    x = as_input(np.stack([examples.see(i, None).x for i in range(48)]), net.config.encoding)
    for norm in (m for m in net.modules() if isinstance(m, _BatchNorm)):
        norm.momentum = None  # the mean of all that it has seen
    net(x)
    net = fold(net, Quantisation(weight_bits=bits)) if bits else net
    fit_classifier(net, examples)
    seen: list[torch.Tensor] = []
    head = net.head.layer
    handle = head.register_forward_hook(lambda node, xs, out: seen.append(head.rates(*xs)))
    with torch.no_grad():
        logits = net.eval()(x)
    handle.remove()
    rates = seen[0].double()
    told = ((rates.mean(dim=0) - rates.mean(dim=(0, 1))) / torch.sqrt(rates.var(dim=(0, 1), correction=0) + 1e-5)).numpy()
    judge = LogisticRegression(C=0.1, max_iter=300).fit(told, examples.labels)
    wanted = torch.from_numpy(judge.decision_function(told))
    if bits:
        torch.testing.assert_close(logits.double().mean(dim=0), wanted.mean(dim=0), rtol=0, atol=head.unit().item() + 1e-3)
        assert np.corrcoef(logits.flatten(), wanted.flatten())[0, 1] > (0.99 if bits == 8 else 0.95)
    else:
        torch.testing.assert_close(logits.double(), wanted, rtol=1e-3, atol=1e-3)


def test_a_class_without_clips_is_never_the_answer(examples) -> None:
    torch.manual_seed(1)
    config = CONFIGS["svformer-nano"]
    net = build(replace(config, classes=(*config.classes, "none")))
    fit_classifier(net, examples)
    x = as_input(np.stack([examples.see(i, None).x for i in range(8)]), config.encoding)
    with torch.no_grad():
        assert (net.eval()(x).argmax(dim=1) != len(config.classes)).all()


def test_refuses_other_heads(examples) -> None:
    config: Any = CONFIGS["svformer-ucf101"]
    net = build(replace(config, dims=(8, 8, 8, 8), head_dim=8))
    with pytest.raises(ModelError, match="no linear classifier"):
        fit_classifier(net, examples)
