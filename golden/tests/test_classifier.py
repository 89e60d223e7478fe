"""The classifier fitted anew: it is a logistic regression of mean rates, float or quantised, chosen by validation clips."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden import classifier
from golden.classifier import rates, refit
from golden.examples import open_examples
from golden.models.catalogue import build
from golden.models.network import as_input, fold
from golden.models.synapses import Quantisation
from golden.prediction import predict
from golden.recipe import Phase, Recipe
from golden.training import Run, train

PHASE = Phase(epochs=2, lr=4e-3, batch=8, clips=16)
RECIPE = Recipe(name="tiny", network="svformer-nano", data="digit-motion", pool=64, val_pool=24, float=PHASE, qat=PHASE, refit=2)


@pytest.fixture
def parts(tmp_path):
    return open_examples(RECIPE, RECIPE.config.encoding, None, tmp_path, ("train", "val")).parts


def spiking(parts):
    """A network that has learned nothing, but whose batch norms know the clips, so that neurons spike."""
    torch.manual_seed(1)
    net = build(RECIPE.config).train()
    for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.constant_(norm.bias, 0.5)
    with torch.no_grad():
        for _ in range(20):
            net(as_input(np.stack([parts["train"].see(i, None).x for i in range(16)]), net.config.encoding))
    return net.eval()


@pytest.mark.parametrize("quant", [None, Quantisation(), Quantisation(weight_bits=8)], ids=["float", "4 bits", "8 bits"])
def test_the_network_says_what_the_regression_says(parts, quant, monkeypatch):
    """The scores are those of the network with the best penalty, fitted to training clips alone."""
    from sklearn.linear_model import LogisticRegression

    net = spiking(parts)
    if quant:
        net = fold(net, quant)
    before = rates(net, parts["val"], 1, 1)
    assert before.shape == (1, 24, 64) and 0 < before.max() <= 1
    monkeypatch.setattr(classifier, "COSTS", (1e-2,))
    machines = []
    fit = LogisticRegression.fit

    def kept(self, x, y):
        machines.append((fit(self, x, y), x))
        return self

    monkeypatch.setattr(LogisticRegression, "fit", kept)
    top1, loss = refit(net, parts, 1, 1)
    assert [len(x) for _, x in machines] == [64, 88] and 0 < loss < 10
    machine, x = machines[1]
    logits = predict(net, parts["val"]).numpy()
    said = machine.decision_function(x[64:])
    assert torch.equal(before, rates(net, parts["val"], 1, 1)), "refit changed more than the classifier"
    assert np.allclose(logits, said, atol={None: 1e-4}.get(quant, 0.2 if quant and quant.weight_bits == 8 else 2.0))
    assert 0 <= top1 <= 1


def test_the_best_penalty_on_validation_clips_is_taken(parts, monkeypatch):
    net = spiking(parts)
    scores = []
    for cost in classifier.COSTS:
        with monkeypatch.context() as patch:
            patch.setattr(classifier, "COSTS", (cost,))
            scores.append(refit(net, parts, 2, 1))
    assert refit(net, parts, 2, 1) == min(scores, key=lambda score: score[1])
    assert len(set(scores)) > 2


def test_a_class_without_clips_is_never_chosen(parts):
    net = spiking(parts)
    kept = np.flatnonzero(parts["train"].labels != 3)
    some = replace(parts["train"], frames=parts["train"].frames[kept], classes=parts["train"].classes[kept])
    others = np.flatnonzero(parts["val"].labels != 3)
    val = replace(parts["val"], frames=parts["val"].frames[others], classes=parts["val"].classes[others])
    refit(net, {"train": some, "val": val}, 1, 1)
    assert 3 not in predict(net, parts["val"]).argmax(1)


def test_training_fits_it_after_each_phase(tmp_path, monkeypatch):
    scores = []

    def kept(*x):
        scores.append(refit(*x))
        return scores[-1]

    monkeypatch.setattr("golden.training.refit", kept)
    card = train(RECIPE, Run(out=tmp_path))
    assert [f"{s[0]:.4f}" for s in scores] == [card["float validation accuracy"], card["QAT validation accuracy"]]
