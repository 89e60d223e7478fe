"""A classifier that is fitted by logistic regression to what its network tells of the training clips.

A few hundred clips are soon known by heart where descent looks for the classifier; here its weights are held down as far as it
takes to tell clips of recordings that it has not seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from torch import Tensor

from golden.examples import Examples
from golden.models.network import Network, as_input
from golden.models.parts import EPSILON, Head
from golden.spec.model import ModelError

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  #: C of the regression
FOLDS = 5
BATCH = 8  #: clips that pass through at a time


@torch.no_grad()
def fit_classifier(net: Network, examples: Examples) -> None:
    """Give the head the weights of a logistic regression on clips that are not augmented.

    Raises
    ------
    ModelError
        If the network has another kind of head.
    """
    outer: Any = net.head
    head = getattr(outer, "layer", None)
    if not isinstance(head, Head):
        raise ModelError(f"'{net.config.name}' has a head that is no linear classifier of spike rates")
    seen: list[Tensor] = []
    handle = head.register_forward_hook(lambda node, xs, out: seen.append(head.rates(*xs)))
    net.eval()
    for i in range(0, len(examples), BATCH):
        clips = np.stack([examples.see(j, None).x for j in range(i, min(i + BATCH, len(examples)))])
        net(as_input(clips, net.config.encoding).to(next(net.parameters()).device))
    handle.remove()
    rates = torch.cat(seen, dim=1).double().cpu()  # [T, N, C]
    mean, var = rates.mean(dim=(0, 1)), rates.var(dim=(0, 1), correction=0)
    told = ((rates.mean(dim=0) - mean) / torch.sqrt(var + EPSILON)).numpy()
    y, groups = examples.labels, list(examples.sources)

    def unlikely(strength: float) -> float:
        judge = LogisticRegression(C=strength, max_iter=300)
        p = cross_val_predict(judge, told, y, groups=groups, cv=GroupKFold(FOLDS), method="predict_proba")
        return float(-np.log(np.maximum(p[np.arange(len(y)), np.searchsorted(np.unique(y), y)], 1e-4)).mean())

    found = LogisticRegression(C=min(STRENGTHS, key=unlikely), max_iter=300).fit(told, y)
    weight, bias = torch.zeros(len(net.config.classes), told.shape[1]), torch.full((len(net.config.classes),), -10.0)
    weight[found.classes_], bias[found.classes_] = (torch.from_numpy(x).float() for x in (found.coef_, found.intercept_))
    head.begin(mean.float(), var.float(), weight, bias)
