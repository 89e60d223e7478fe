"""Random graphs over every operation of the contract, in which spikes flow: for tests of golden model, compiler and RTL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from golden.integer.graph import constants, or_pool, qk_token, sdsa
from golden.integer.network import Array, accumulate, step
from golden.integer.random_model import calibrate, random_clip
from golden.spec.encoding import Encoding
from golden.spec.model import CONV, HEAD, INPUT, JOINT, MASK, RESETS, SCOPES, SDHA, SSA, Layer, Model

SMALL = Encoding(height=12, width=8, timesteps=4, frames=2, patch=2)
RATES = (20, 50)  #: per cent of neurons that fire in each layer, aimed at
CHANNELS = (8, 16, 32)
HEAD_WIDTHS = (4, 8, 16)
LARGEST = 12  #: places in y or x that upsampling makes at most


def random_graph(
    seed: int, encoding: Encoding = SMALL, parts: int = 8, kinds: Sequence[str] = (), neurons: bool = True, u_bits: int = 16
) -> tuple[Model, dict[str, Array]]:
    """A graph of ``parts`` randomly chosen compositions with random weights, shifts and biases.

    Parameters
    ----------
    seed : int
        Same seed, same model.
    encoding : Encoding
        Shape of the input; at least 4 x 4 places.
    parts : int
        Compositions between stem and result, one or a few layers each.
    kinds : sequence of str
        Keys of `KINDS` to choose from; empty for all of them.
    neurons : bool
        Whether neurons of other leaks, resets and levels than the default are drawn, and results without a head.
    u_bits : int
        Of residual values.
    """
    growth = _Growth(seed, encoding, neurons, u_bits)
    growth.conv(INPUT, u=True)
    for _ in range(parts):
        KINDS[growth.pick(list(kinds or KINDS))](growth)
    classes: tuple[str, ...] = ("a", "b", "c")
    if neurons and growth.chance(0.3):
        classes = ()
        growth.conv(growth.spikes(), fires=False, u=True)
    else:
        growth.add(Layer(name="head", op=HEAD, inputs=(growth.spikes(),), channels=len(classes)))
    model = Model(
        name=f"random-graph-{seed}", encoding=encoding, u_bits=u_bits, classes=classes, layers=tuple(growth.layers),
        card={"weights": "random", "seed": str(seed)},
    )
    return model, growth.tensors


class _Growth:
    """A graph that grows layer by layer; two clips run along, so that every layer is made for the spikes that reach it."""

    def __init__(self, seed: int, encoding: Encoding, neurons: bool, u_bits: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.neurons = neurons
        self.u_bits = u_bits
        self.layers: list[Layer] = []
        self.tensors: dict[str, Array] = {}
        self.known: list[dict[str, Array]] = [{INPUT: random_clip(encoding, self.rng)} for _ in range(2)]

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < share)

    def pick(self, values: Sequence[Any]) -> Any:
        """One of them."""
        return values[int(self.rng.integers(len(values)))]

    def shape(self, name: str) -> tuple[int, ...]:
        """[T, H, W, C] of a tensor."""
        return self.known[0][name].shape

    def spikes(self, places: tuple[int, ...] = (), single: bool = False) -> str:
        """A spike tensor, mostly a late one: of these [T, H, W], of single bits; empty where there is none."""
        made = [x.spike_out for x in self.layers if x.spike_out and not (single and x.levels > 1)
                and self.shape(x.spike_out)[: len(places)] == places]
        return made[-1 - min(int(self.rng.exponential(1.5)), len(made) - 1)] if made else ""

    def bits(self) -> str:
        """A spike tensor of single bits, made where there is none."""
        return self.spikes(single=True) or self.conv(self.spikes(), single=True)

    def add(self, layer: Layer) -> str:
        """Make and run a layer with random tensors; the name of its spikes."""
        calibrate(layer, self.tensors, self.known, self.rng, RATES, self.u_bits)
        self.layers.append(layer)
        return layer.spike_out

    def compose(self, layers: Sequence[Layer], channels: int, choose: bool = True) -> None:
        """Make and run a composition on ``channels`` channels, with thresholds that let about 30 per cent of the neurons fire."""
        self.tensors |= constants(layers, channels)
        for x in layers:
            layer = x
            if x.op == CONV and choose:
                acc = accumulate(x, self.tensors, self.known[0])
                layer = replace(x, theta=max(1, int(np.quantile(acc, 0.7))))
            for known in self.known:
                step(layer, self.tensors, known, self.u_bits)
            self.layers.append(layer)

    def conv(
        self, *inputs: str, channels: int = 0, fires: bool = True, u: bool = False, single: bool = False, **fields: Any
    ) -> str:
        """A convolution, of one place where ``fields`` says nothing else; the name of its spikes."""
        name = f"l{len(self.layers)}"
        if fires:
            fields |= {"spike_out": f"{name}.s", **self.neuron(single)}
        fields = {"weight_bits": self.pick((4, 8)), "channels": channels or self.pick(CHANNELS), **fields}
        return self.add(Layer(name=name, op=CONV, inputs=inputs, u_out=f"{name}.u" if u else "", **fields))

    def neuron(self, single: bool) -> dict[str, Any]:
        """Fields of a neuron."""
        theta = int(self.rng.integers(16, min(200, 1 << (self.u_bits - 2))))  # well within residual values
        if not self.neurons or self.chance(0.4):
            return {"theta": theta}
        fields: dict[str, Any] = {"theta": theta, "leak": int(self.rng.integers(0, 17)), "reset": self.pick(RESETS)}
        if not single and self.chance(0.4):
            fields |= {"levels": int(self.rng.integers(2, 8)), "step": int(self.rng.integers(theta // 2, 2 * theta))}
        return fields

    def window(self, source: str) -> dict[str, Any]:
        """Kernel, stride and padding that leave at least one place."""
        kernel = self.pick((1, 2, 3, 4, 5))
        padding = max(int(self.rng.integers(0, kernel // 2 + 1)), (kernel - min(self.shape(source)[1:3]) + 1) // 2)
        return {"kernel": kernel, "stride": self.pick((1, 1, 2, 3)), "padding": padding}

    def dense(self) -> None:
        """A convolution, sometimes of the input, sometimes the begin of a residual stream."""
        source = INPUT if self.chance(0.1) else self.spikes()
        self.conv(source, u=self.chance(0.4), **self.window(source))

    def depthwise(self) -> None:
        """A convolution of every channel by itself."""
        source = self.spikes()
        channels = self.shape(source)[3]
        self.conv(source, channels=channels, groups=channels, weight_bits=4, **self.window(source))

    def grouped(self) -> None:
        """A convolution in a few groups."""
        source = self.spikes()
        groups = self.pick([g for g in (1, 2, 4, 8) if self.shape(source)[3] % g == 0])
        self.conv(source, groups=groups, **self.window(source))

    def concat(self) -> None:
        """A convolution of several tensors, sometimes twice of the same."""
        first = self.spikes()
        places = self.shape(first)[:3]
        self.conv(first, *(self.spikes(places) for _ in range(self.pick((1, 2)))), **self.window(first))

    def upsample(self) -> None:
        """A convolution of a larger picture."""
        source = self.spikes()
        factor = self.pick((2, 3))
        if max(self.shape(source)[1:3]) * factor <= LARGEST:
            self.conv(source, upsample=factor, **self.window(source))

    def residual(self) -> None:
        """The end of a branch: added to a residual stream."""
        u = self.pick([x for x in self.layers if x.u_out]).u_out
        *places, channels = self.shape(u)
        kernel = self.pick((1, 3))
        if source := self.spikes(tuple(places)):
            self.conv(source, channels=channels, kernel=kernel, padding=kernel // 2, residual=u, u=True, fires=self.chance(0.8))

    def hamming(self) -> None:
        """Hamming attention over all tokens."""
        self.attend(SDHA, JOINT)

    def attention(self) -> None:
        """Attention of any kind and scope."""
        self.attend(self.pick((SDHA, SSA)), self.pick(SCOPES))

    def attend(self, op: str, scope: str) -> None:
        """q, k, v, and attention."""
        source, channels = self.spikes(), self.pick(CHANNELS)
        qkv = tuple(self.conv(source, channels=channels, single=True) for _ in range(3))
        heads = channels // self.pick([d for d in HEAD_WIDTHS if d <= channels])
        name = f"l{len(self.layers)}"
        self.add(Layer(name=name, op=op, inputs=qkv, channels=channels, heads=heads, scope=scope, spike_out=f"{name}.s",
                       **self.neuron(False)))

    def mask(self) -> None:
        """AND of two tensors of one shape."""
        source, channels = self.spikes(), self.pick(CHANNELS)
        a, b = (self.conv(source, channels=channels, single=True) for _ in range(2))
        name = f"l{len(self.layers)}"
        self.compose([Layer(name=name, op=MASK, inputs=(a, b), channels=channels, spike_out=f"{name}.s")], channels)

    def sdsa(self) -> None:
        """Spike-driven self-attention."""
        source, channels = self.spikes(), self.pick(CHANNELS)
        q, k, v = (self.conv(source, channels=channels, single=True) for _ in range(3))
        name = f"l{len(self.layers)}"
        _, height, width, _ = self.shape(q)
        self.compose(sdsa(name, q, k, v, f"{name}.s", (height, width, channels), 1), channels)

    def qk(self) -> None:
        """Token attention."""
        source, channels = self.spikes(), self.pick(CHANNELS)
        q, k = (self.conv(source, channels=channels, single=True) for _ in range(2))
        name, heads = f"l{len(self.layers)}", self.pick((1, 2, 4))
        self.compose(qk_token(name, q, k, f"{name}.s", channels, heads, 1), channels)

    def pool(self) -> None:
        """OR-pooling."""
        source, name = self.bits(), f"l{len(self.layers)}"
        _, height, width, channels = self.shape(source)
        if min(height, width) > 1:
            self.compose(or_pool(name, source, f"{name}.s", channels, 2, 2), channels, choose=False)


#: What `random_graph` chooses from.
KINDS = {f.__name__: f for f in (
    _Growth.dense, _Growth.depthwise, _Growth.grouped, _Growth.concat, _Growth.upsample, _Growth.residual, _Growth.hamming,
    _Growth.attention, _Growth.mask, _Growth.sdsa, _Growth.qk, _Growth.pool,
)}
