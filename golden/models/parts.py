"""What networks are made of. `Parts` makes it for one network, in float or quantised, so that a network is written once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from golden.models.graph import Node, Recorder
from golden.models.neurons import Neuron, NeuronConfig
from golden.models.synapses import FloatSynapse, Quantisation, QuantSynapse, RepConv, SharedNorm, StepNorm, linear, on_grid
from golden.spec.encoding import LUMA, RGB, Encoding
from golden.spec.model import HEAD, Layer

EPSILON = 1e-5  #: that batch norms add to variances


class Add(Node):
    """A branch's addend to the residual stream U, which saturates where the network is quantised."""

    def __init__(self, quant: Quantisation | None):
        super().__init__()
        self.quant = quant

    def forward(self, u: Tensor, y: Tensor) -> Tensor:
        """The new U."""
        u = u + y
        return self.quant.saturated(u) if self.quant else u

    def record(self, recorder: Recorder, name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Part of the layer that makes y."""
        u, y = inputs
        recorder.add(name, u, y, output)


class Head(Node):
    """Linear classifier of mean spike rates over all positions and time steps: logits [B, classes].

    Batch norm makes the rates alike in training and is part of the classifier's weights and bias afterwards. Where it is
    quantised it adds up spikes, and one scale serves all classes, so that raw accumulators compare.

    Parameters
    ----------
    places : int
        Positions times time steps.
    """

    most: Tensor

    def __init__(self, channels: int, classes: int, places: int, quant: Quantisation | None):
        super().__init__()
        self.quant, self.places = quant, places
        shape = (channels, classes, 1)
        self.conv: Any = quant.conv(*shape, per_channel=False) if quant else nn.Conv2d(*shape, bias=False)
        self.bn: Any = None if quant else nn.BatchNorm1d(channels)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.register_buffer("most", torch.tensor(math.inf), persistent=False)  # largest weight

    def forward(self, *xs: Tensor) -> Tensor:  # [T, B, C, H, W] each -> [B, O]
        """Logits of several spike tensors side by side."""
        if self.bn is not None:
            rates = self.rates(*xs)
            rates = self.bn(rates.flatten(0, 1)).unflatten(0, rates.shape[:2])
            return F.linear(rates.mean(dim=0), self.conv.weight[:, :, 0, 0], self.bias)
        weight, counts = self.conv.quant_weight(), self.counts(*xs)
        return F.linear(counts.sum(dim=0), weight.value[:, :, 0, 0], on_grid(self.bias, 1 / weight.scale.detach()))

    def counts(self, *xs: Tensor) -> Tensor:
        """Sums of spikes over the positions, [T, B, C]."""
        return torch.cat([x.sum(dim=(3, 4), dtype=torch.float32) for x in xs], dim=2)

    def rates(self, *xs: Tensor) -> Tensor:
        """Mean spikes of the positions, [T, B, C]."""
        counts = self.counts(*xs)
        return counts * (len(counts) / self.places)

    @torch.no_grad()
    def begin(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> None:
        """Begin with a classifier, ``weight`` [O, C] and ``bias`` [O], of rates less their ``mean``, over the root of ``var``."""
        if self.quant is None:
            self.bn.reset_parameters()
            self.bn.load_state_dict({**self.bn.state_dict(), "running_mean": mean, "running_var": var})
            self.conv.weight.copy_(weight[:, :, None, None])
        else:
            weight = weight / torch.sqrt(var + EPSILON)
            self.conv.weight.copy_(weight[:, :, None, None] / self.places)
            self.most.copy_(self.quant.most_of(self.conv.weight, (0, 1, 2, 3)).squeeze())
            self.constrain()
            bias = bias - self.conv.quant_weight().value[:, :, 0, 0] @ mean * self.places
        self.bias.copy_(bias)

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep weights within what the scale of least error can express, once it is chosen."""
        self.conv.weight.clamp_(-self.most, self.most)

    def folded(self) -> tuple[Tensor, ...]:
        """Weights and bias of the classifier of sums."""
        assert self.bn is not None
        gain, offset = linear(self.bn)
        weight = self.conv.weight[:, :, 0, 0]
        return (weight * gain / self.places)[:, :, None, None], self.bias + weight @ offset

    @torch.no_grad()
    def load(self, *parts: Tensor) -> None:
        """Begin with those of the float classifier."""
        weight, bias = parts
        self.conv.weight.copy_(weight)
        self.bias.copy_(bias)

    def record(self, recorder: Recorder, name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """The last layer."""
        assert self.quant
        recorder.layer(output, name=name, op=HEAD, inputs=tuple(recorder.spikes(x) for x in inputs),
                       channels=self.conv.out_channels, weight_bits=self.quant.weight_bits)

    def integers(self, layer: Layer) -> dict[str, np.ndarray]:
        """Weight and bias; shift is 0."""
        weight = self.conv.quant_weight().int().cpu().numpy().astype(np.int8)
        bias = torch.round(self.bias / self.unit()).cpu().numpy().astype(np.int32)
        return {"weight": weight, "bias": bias, "shift": np.zeros(layer.channels, np.int8)}

    def unit(self) -> Tensor:
        """What one step of a quantised logit stands for."""
        return self.conv.quant_weight().scale.detach()


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Maker of the parts of one network.

    Parameters
    ----------
    encoding : Encoding
        Of its input.
    neuron_config : NeuronConfig
        Of all its neurons.
    per_step : bool
        Batch norm has statistics of its own at each time step.
    quant : Quantisation, optional
        None: float.
    """

    encoding: Encoding
    neuron_config: NeuronConfig
    per_step: bool = False
    quant: Quantisation | None = None

    def synapse(self, i: int, o: int, kernel: int = 1, stride: int = 1, padding: int = 0, groups: int = 1, *, bias: bool = False,
                norm: bool = True, rep: bool = False, pixels: bool = False, stream: bool = False) -> FloatSynapse | QuantSynapse:
        """A convolution and its batch norm.

        Parameters
        ----------
        i, o, kernel, stride, padding, groups : int
            Of the convolution, from ``i`` to ``o`` channels.
        bias : bool
            Of the float convolution, before batch norm.
        norm : bool
            Batch norm follows.
        rep : bool
            Trained as a `RepConv`, which is a dense 3x3 in the end.
        pixels : bool
            It sees the network's input.
        stream : bool
            It begins a residual stream.
        """
        if rep:
            kernel, padding = 3, 1
        if self.quant:
            conv = self.quant.conv(i, o, kernel, stride, padding, groups=groups)
            return QuantSynapse(self.quant, conv, full_scale(self.encoding) if pixels else 1, stream)
        body = RepConv(i, o) if rep else nn.Conv2d(i, o, kernel, stride, padding, groups=groups, bias=bias)
        return FloatSynapse(body, self.norm(o) if norm else nn.Identity(), stream)

    def norm(self, channels: int) -> nn.Module:
        """Batch norm."""
        return StepNorm(self.encoding.timesteps, channels) if self.per_step else SharedNorm(channels)

    def neuron(self, threshold: float = 1.0, binary: bool = False) -> Neuron:
        """Neurons; ``threshold`` of H; ``binary``: of one level, whatever the others have."""
        config = replace(self.neuron_config, levels=1) if binary else self.neuron_config
        return Neuron(config, threshold, self.quant.grid if self.quant else 0.0)

    def most_gain(self, largest: int) -> float:
        """Largest power of two by which sums up to ``largest`` can be multiplied such that no membrane leaves its width.

        A membrane that never fires sums up inputs tau times; a quarter of the width is left for bias and threshold.
        """
        assert self.quant
        tau = 16.0 if self.neuron_config.learned else self.neuron_config.tau
        most = 2.0 ** math.floor(math.log2(0.75 * 2 ** (self.quant.acc_bits - 1) / (tau * largest * self.quant.grid)))
        return min(most, self.quant.most_scale)

    def add(self) -> Add:
        """The end of a branch."""
        return Add(self.quant)

    def head(self, channels: int, classes: int, places: int) -> Head:
        """The classifier of spikes at so many positions and time steps."""
        return Head(channels, classes, places, self.quant)


def full_scale(encoding: Encoding) -> int:
    """Input value that the network takes as 1.0: pixels are divided by 256, events and differences are counts."""
    return 256 if encoding.kind in (LUMA, RGB) else 1
