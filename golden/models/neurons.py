"""Spiking neurons: LIF, PLIF and integer-LIF, hard and soft reset, in float and on integer grids.

As published (SpikingJelly's order charge, fire, reset): H = V + (X - V) / tau, S = H >= threshold, then V = 0 where it fired, or
V = H - threshold (soft reset). Here everything is kept in units of h = tau H, where X needs no factor:

    h = leak v + x     leak = 1 - 1 / tau     s = h >= theta = tau threshold     v = 0 where s > 0, or h - s step (soft)

PLIF learns one tau a layer. Integer-LIF counts thresholds: s = #{k < D: h >= theta + k step}, theta = step / 2; with tau = 1 that
is clip(floor(x / step + 1/2), 0, D).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from golden.models.graph import Node, Recorder
from golden.spec.model import HARD, RESETS, SOFT

SURROGATES = ("atan", "sigmoid")
SIGMOID_SLOPE = 4.0


@dataclass(frozen=True, kw_only=True)
class NeuronConfig:
    """What all neurons of a network have in common."""

    tau: float = 2.0  #: in time steps, at least 1; where it starts if ``learned``
    learned: bool = False  #: PLIF, one tau a layer
    reset: str = HARD  #: or ``soft``
    levels: int = 1  #: largest spike value D; more than 1 is integer-LIF
    surrogate: str = "atan"  #: gradient of a spike, or ``sigmoid``; integer-LIF always has that of a clipped line

    def __post_init__(self) -> None:
        """Check every field."""
        if self.tau < 1 or (self.learned and self.tau == 1):
            raise ValueError(f"tau = {self.tau} time steps: at least 1 is needed, and more where it is learned")
        if self.reset not in RESETS or self.surrogate not in SURROGATES or self.levels < 1:
            raise ValueError(f"a neuron has reset {' or '.join(RESETS)}, surrogate {' or '.join(SURROGATES)} and some level, "
                             f"not {self.reset}, {self.surrogate}, {self.levels}")


class Fire(torch.autograd.Function):
    """Spikes of neurons over axis 0.

    Backward: the surrogate of the spike, no gradient through the reset. With u = (h - theta) / tau = H - threshold it is
    1 / (1 + (pi u)^2) for ``atan`` (SpikingJelly's, of alpha = 2), a s(a u) s(-a u) with a = 4 for ``sigmoid``, as ds/du; for
    integer-LIF 1 where 0 <= h <= D step, as ds/d(h / step). Without du/dh = 1 / tau gradients grow tau times with every neuron on
    their way, 10^6 times in a network of twenty.
    """

    @staticmethod
    def forward(ctx, x: Tensor, leak: Any, theta: Any, step: float, config: NeuronConfig, grid: float) -> Tensor:  # type: ignore[override]
        """``leak`` and ``theta`` are numbers, or tensors that want a gradient; ``grid`` > 0: leak v is floored to 1 / grid."""
        keep, high = float(leak), float(theta)
        h, s, v = torch.empty_like(x), torch.empty_like(x), torch.zeros_like(x[0])
        for t in range(x.shape[0]):
            if grid:
                v.mul_(keep * grid).floor_()
            torch.add(x[t], v, alpha=1 / grid if grid else keep, out=h[t])  # charge
            if config.levels == 1:  # fire
                torch.ge(h[t], high, out=s[t])
            else:
                torch.sub(h[t], high, out=s[t]).div_(step).floor_().add_(1).clamp_(0, config.levels)
            reset(h[t], s[t], step, config, out=v)
        ctx.save_for_backward(h, s)
        ctx.constants = keep, high, step, config
        return s

    @staticmethod
    def backward(ctx, grad):
        """From the last step to the first."""
        h, s = ctx.saved_tensors
        leak, theta, step, config = ctx.constants
        g, part = torch.empty_like(h), torch.empty_like(h[0])  # by h; the part that came through the membrane
        by_leak, by_theta = (torch.zeros_like(h[0, 0].sum()) if need else None for need in ctx.needs_input_grad[1:3])
        for t in range(h.shape[0] - 1, -1, -1):
            surrogate(h[t], grad[t], leak, theta, step, config, out=g[t])
            if by_theta is not None:
                by_theta -= (g[t] * h[t]).sum() / theta
            if t + 1 < h.shape[0]:
                if by_leak is not None:
                    by_leak += (g[t + 1] * reset(h[t], s[t], step, config, out=part)).sum()
                carried = g[t + 1] if config.reset == SOFT else reset(g[t + 1], s[t], step, config, out=part)
                g[t].add_(carried, alpha=leak)
        return g, by_leak, by_theta, None, None, None


def reset(h: Tensor, s: Tensor, step: float, config: NeuronConfig, out: Tensor) -> Tensor:
    """Membrane after the spikes."""
    if config.reset == SOFT:
        return torch.sub(h, s, alpha=step, out=out)
    return torch.addcmul(h, h, s if config.levels == 1 else s.clamp(max=1), value=-1, out=out)


def surrogate(h: Tensor, grad: Tensor, leak: float, theta: float, step: float, config: NeuronConfig, out: Tensor) -> None:
    """Gradient by h of the spikes of one step, as if nothing came after it."""
    by_h = 1 - leak  # du/dh
    if config.levels > 1:
        torch.mul(grad, (h >= 0) & (h <= config.levels * step), out=out).div_(step)
        return
    u = torch.sub(h, theta, out=out)
    if config.surrogate == "atan":
        torch.addcmul(u.new_full((), 1 / by_h), u, u, value=torch.pi**2 * by_h, out=out)
        torch.div(grad, out, out=out)
    else:
        u.mul_(SIGMOID_SLOPE * by_h).sigmoid_()
        torch.addcmul(u, u, u, value=-1, out=out).mul_(grad).mul_(SIGMOID_SLOPE * by_h)


class Neuron(Node):
    """Neurons that see X or the residual stream, [T, ...] in and out.

    Parameters
    ----------
    config : NeuronConfig
        Of the network.
    threshold : float
        Of H, in units of X.
    grid : float
        Steps per 1.0 of U in a quantised network, where leak is in sixteenths and thresholds are whole steps; else 0.
    """

    def __init__(self, config: NeuronConfig, threshold: float, grid: float):
        super().__init__()
        self.config, self.threshold, self.grid = config, threshold, grid
        self.w: nn.Parameter | None = None
        if config.learned:  # 1 / tau = sigmoid(w)
            self.w = nn.Parameter(torch.tensor(-math.log(config.tau - 1)))

    def constants(self) -> tuple[Any, Any, float]:
        """Leak, theta and step; leak and theta are tensors where tau is learned."""
        leak = 1 - (torch.sigmoid(self.w) if self.w is not None else torch.tensor(1 / self.config.tau, dtype=torch.double))
        if self.grid:
            leak = through(leak, lambda x: torch.round(x * 16).clamp(0, 15) / 16)
        step = self.threshold / (1 - leak)
        theta = step if self.config.levels == 1 else step / 2
        if self.grid:
            step, theta = (through(x, lambda x: torch.round(x * self.grid).clamp(min=1) / self.grid) for x in (step, theta))
        return (leak, theta, step.item()) if self.w is not None else (leak.item(), theta.item(), step.item())

    def forward(self, x: Tensor) -> Tensor:
        """Spikes, 0 to D."""
        return Fire.apply(x, *self.constants(), self.config, self.grid)

    def folded(self) -> tuple[Tensor, ...]:
        """The learned tau, if it is."""
        return () if self.w is None else (self.w,)

    @torch.no_grad()
    def load(self, *parts: Tensor) -> None:
        """Begin with a float neuron's tau."""
        assert self.w is not None
        self.w.copy_(parts[0])

    def record(self, recorder: Recorder, name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Join the layer that makes x."""
        with torch.no_grad():
            leak, theta, step = (float(x) for x in self.constants())
        recorder.neuron(name, inputs[0], output, {
            "theta": round(theta * self.grid), "leak": round(leak * 16), "reset": self.config.reset, "levels": self.config.levels,
            "step": round(step * self.grid) if self.config.levels > 1 else 0,
        })


def through(x: Tensor, function) -> Tensor:
    """``function(x)``, to the last bit, with the gradient of x (straight through)."""
    return function(x).detach() + (x - x.detach())
