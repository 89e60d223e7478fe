"""Quantised network against integer model: every spike, residual value and logit of every layer must be equal.

``python -m golden.comparison svformer-ucf101-hw`` shows it for any configuration, with random weights and one random clip.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from golden.integer import network
from golden.models.catalogue import CONFIGS, Config, build
from golden.models.network import Network, as_input, as_integers, export, fold
from golden.models.synapses import Quantisation
from golden.spec.model import Model

Inputs = NDArray[np.uint8]  #: encoded clips, [N, T, H, W, C]


@dataclass(frozen=True)
class Divergence:
    """First value that differs, in the order in which layers run."""

    clip: int
    layer: str
    tensor: str
    t: int
    y: int
    x: int
    channel: int
    found: int
    integer: int
    who: str  #: what is compared with the integer model

    def __str__(self) -> str:
        return (f"clip {self.clip}: layer '{self.layer}', tensor '{self.tensor}' at t={self.t} y={self.y} x={self.x} "
                f"channel={self.channel}: {self.who} {self.found}, integer {self.integer}")


def first_divergence(
    model: Model, found: Mapping[str, np.ndarray], integer: Mapping[str, np.ndarray], clip: int = 0, who: str = "QAT"
) -> Divergence | None:
    """Compare two runs of one clip, both tensors by name, [T, H, W, C] each; None if they are equal."""
    for layer in model.layers:
        for name in (layer.u_out, layer.spike_out, layer.name if layer is model.layers[-1] else ""):
            if name and not np.array_equal(found[name], integer[name]):
                t, y, x, c = np.argwhere(found[name] != integer[name])[0].tolist()
                values = int(found[name][t, y, x, c]), int(integer[name][t, y, x, c])
                return Divergence(clip, layer.name, name, t, y, x, c, *values, who)
    return None


@torch.no_grad()
def compare(
    qat: Network, model: Model, tensors: network.Tensors, inputs: Inputs, batch: int = 32
) -> tuple[int, Divergence | None]:
    """Run both on all clips; number of values that were equal, and the first that was not.

    Parameters
    ----------
    qat : Network
        Quantised network.
    model, tensors
        Integer model.
    inputs : [N, T, H, W, C] uint8
        Encoded clips.
    batch : int
        Clips that the network sees at once.
    """
    qat.eval()
    equal = 0
    for first in range(0, len(inputs), batch):
        x = inputs[first : first + batch]
        taps: dict[str, torch.Tensor] = {}
        qat(as_input(x, model.encoding), taps)
        values = as_integers(qat, taps)
        for i in range(len(x)):
            known = network.run(model, tensors, x[i])
            mine = {name: value[i].reshape(known[name].shape) for name, value in values.items()}
            if difference := first_divergence(model, mine, known, first + i):
                return equal, difference
            equal += sum(value.size for value in mine.values())
    return equal, None


@dataclass(frozen=True)
class IntegerScore:
    """The integer model on a set of clips."""

    right: int
    clips: int
    rates: dict[str, float]  #: share of set bits of every spike tensor
    counts: dict[str, network.Count]  #: sums over the clips

    @property
    def accuracy(self) -> float:
        """Share of the clips that get their class."""
        return self.right / self.clips


def integer_score(model: Model, tensors: network.Tensors, inputs: Inputs, labels: np.ndarray) -> IntegerScore:
    """Classify every encoded clip with the integer model; count spikes, operations and saturations."""
    counts: dict[str, network.Count] = {}
    rates = {layer.spike_out: 0.0 for layer in model.layers if layer.spike_out}
    right = 0
    for clip, label in zip(inputs, labels, strict=True):
        known = network.run(model, tensors, clip, counts)
        right += network.classify(model, known) == label
        for name in rates:
            rates[name] += float(known[name].mean()) / len(inputs)
    return IntegerScore(right, len(inputs), rates, counts)


@torch.no_grad()
def random_qat(config: Config, quant: Quantisation, clips: int = 1, seed: int = 0) -> tuple[Network, Inputs]:
    """A quantised network with random parameters in which spikes flow, and random clips.

    Batch norms have the statistics of the clips, and gains and biases that make neurons fire.
    """
    torch.manual_seed(seed)
    t, h, w, c = config.encoding.shape
    inputs = np.random.default_rng(seed).integers(0, 2**config.encoding.planes, (clips, t, h, w, c), np.uint8)
    net = build(config).train()
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # statistics are the plain average of all passes: of one
    for value in net.parameters():
        if value.ndim <= 1 and value.requires_grad:
            value.add_(0.5 + torch.randn_like(value) * 0.5)
    net(as_input(inputs, config.encoding))
    return fold(net, quant).eval(), inputs


def main() -> None:
    """Read the command line, compare, print."""
    parser = argparse.ArgumentParser(prog="python -m golden.comparison", description=__doc__.splitlines()[0])
    parser.add_argument("config", choices=[name for name, config in CONFIGS.items() if not config.obstacles()])
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    start = time.monotonic()
    qat, inputs = random_qat(CONFIGS[a.config], Quantisation(), seed=a.seed)
    model, tensors = export(qat, {})
    network.check(model, tensors)
    network.accumulator_bounds(model, tensors)
    equal, difference = compare(qat, model, tensors, inputs)
    if difference:
        sys.exit(f"different: {difference}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"equal: {a.config}, {len(model.layers)} layers, {equal:,} values, {time.monotonic() - start:.0f} s, "
          f"peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
