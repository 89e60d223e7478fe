"""The classifier fitted anew, by logistic regression, when the network behind which it stands has learned.

Gradient descent on a few hundred clips fits the classifier to spikes that know these clips: 9 of 10 are told right, and of others
a quarter. A regression on the same spike rates, as strict as validation clips want it, tells more of the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from golden.examples import Examples
from golden.models.network import Network, as_input
from golden.models.parts import Head

COSTS = tuple(10.0 ** (-k / 2) for k in range(8, 1, -1))  #: inverse strengths of the penalty (C) that are tried, strictest first
LEAST_SPREAD = 1e-3  #: of a channel's rate, so that one that hardly ever spikes tells little
NEVER = 8.0  #: that much below the others is the bias of a class without clips
BATCH = 32  #: clips that pass through at a time


@torch.no_grad()
def rates(net: Network, examples: Examples, forms: int, seed: int) -> Tensor:
    """Mean spikes that the classifier sees of clips as they are and of ``forms`` - 1 augmented forms: [forms, N, C]."""
    head: Head = net.head.layer  # type: ignore[assignment, union-attr]
    found: list[Tensor] = []

    def see(node: torch.nn.Module, xs: tuple[Tensor, ...], out: Tensor) -> None:
        found.append(torch.cat([x.sum((0, 3, 4)) for x in xs], dim=1).cpu())

    handle = head.register_forward_hook(see)
    net.eval()
    for k in range(forms):
        for i in range(0, len(examples), BATCH):
            clips = range(i, min(i + BATCH, len(examples)))
            seen = [examples.see(j, np.random.default_rng([seed, 3_000_000 + k, j]) if k else None).x for j in clips]
            net(as_input(np.stack(seen), net.config.encoding).to(next(net.parameters()).device))
    handle.remove()
    return torch.cat(found).unflatten(0, (forms, len(examples))) / head.places


def refit(net: Network, parts: Mapping[str, Examples], forms: int, seed: int) -> tuple[float, float]:
    """Fit the classifier of a network to training clips as strictly as is best for validation clips, then to both.

    Parameters
    ----------
    net : Network
        Float or quantised.
    parts : mapping
        Clips, ``train`` and ``val``.
    forms : int
        Forms of each clip that it is fitted to; the first is the clip as it is.
    seed : int
        Decides how the others are augmented.

    Returns
    -------
    float, float
        Share of the validation clips that get their class, and mean cross entropy, while they were not learned from.
    """
    from sklearn.linear_model import LogisticRegression

    head: Head = net.head.layer  # type: ignore[assignment, union-attr]
    x = {name: rates(net, parts[name], forms, seed).double().numpy() for name in ("train", "val")}
    y = {name: parts[name].labels for name in x}

    def fitted(cost: float, *names: str) -> None:
        rows = np.concatenate([x[name].reshape(-1, x[name].shape[2]) for name in names])
        labels = np.concatenate([np.tile(y[name], forms) for name in names])
        mean, spread = rows.mean(axis=0), rows.std(axis=0) + LEAST_SPREAD
        machine = LogisticRegression(C=cost / forms, max_iter=1000).fit((rows - mean) / spread, labels)
        weight = np.zeros((len(net.config.classes), rows.shape[1]))
        bias = np.full(len(weight), machine.intercept_.min() - NEVER)
        weight[machine.classes_] = machine.coef_ / spread
        bias[machine.classes_] = machine.intercept_ - weight[machine.classes_] @ mean
        head.set(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())

    @torch.no_grad()
    def judged() -> tuple[float, float]:
        logits = head(torch.from_numpy(x["val"][0] * head.places).float()[None, :, :, None, None])
        labels = torch.from_numpy(y["val"])
        return float((logits.argmax(1) == labels).float().mean()), float(F.cross_entropy(logits, labels))

    scores = []
    for cost in COSTS:
        fitted(cost, "train")
        scores.append(judged())
    best = min(range(len(COSTS)), key=lambda i: scores[i][1])  # of few clips, cross entropy says more than accuracy
    fitted(COSTS[best], "train", "val")
    return scores[best]
