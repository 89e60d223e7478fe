"""Graphs of fused layers: compositions that several networks use, and a small SVFormer with joint space-time attention.

A composition is layers with the tensors that its definition fixes (`constants`); only thresholds are left to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.spec.model import CONV, HEAD, INPUT, MASK, SDHA, Encoding, Layer, Model


def whole_frame(height: int, width: int) -> dict[str, Any]:
    """Kernel, stride and padding of a convolution whose one output place sees the whole frame, of whatever aspect ratio.

    The kernel is square and as small as the zero padding of the longer side allows; its taps outside the frame are never used.
    The frame begins at tap (padding, padding).
    """
    low, high = sorted((height, width))
    return {"kernel": 2 * high - low, "stride": 2 * high - low, "padding": high - low}


def constants(layers: Sequence[Layer], channels: int) -> dict[str, NDArray[np.integer]]:
    """Tensors of the convolutions of a composition: weights of one that count bits, no bias, no shift.

    ``channels`` are those that each convolution of ``layers`` reads.
    """
    tensors: dict[str, NDArray[np.integer]] = {}
    for x in layers:
        if x.op == CONV:
            tensors[f"{x.name}.weight"] = np.ones((x.channels, channels // x.groups, x.kernel, x.kernel), np.int8)
            tensors[f"{x.name}.bias"] = np.zeros(x.channels, np.int32)
            tensors[f"{x.name}.shift"] = np.zeros(x.channels, np.int8)
    return tensors


def or_pool(name: str, source: str, out: str, channels: int, kernel: int, stride: int, padding: int = 0) -> tuple[Layer]:
    """Max-pooling of single bits, which is their OR: a stateless neuron that fires at one bit."""
    return (Layer(name=name, op=CONV, inputs=(source,), channels=channels, kernel=kernel, stride=stride, padding=padding,
                  groups=channels, spike_out=out, theta=1, leak=0),)


def sdsa(name: str, q: str, k: str, v: str, out: str, shape: tuple[int, int, int], theta: int) -> tuple[Layer, Layer, Layer]:
    """Spike-driven self-attention of Spike-driven Transformer v1: g = LIF(sum over places of K AND V), out = Q AND g.

    Parameters
    ----------
    name : str
        Of the layers: ``{name}.kv``, ``{name}.g`` and ``{name}``; the first two name their spikes, too.
    q, k, v, out : str
        Spike tensors.
    shape : (H, W, C)
        Of all of them, per time step.
    theta : int
        Threshold on the sum with tau = 2: the published neuron, 0.5 of (V + X) / 2, is 1.
    """
    height, width, channels = shape
    return (
        Layer(name=f"{name}.kv", op=MASK, inputs=(k, v), channels=channels, spike_out=f"{name}.kv"),
        Layer(name=f"{name}.g", op=CONV, inputs=(f"{name}.kv",), channels=channels, groups=channels, spike_out=f"{name}.g",
              theta=theta, **whole_frame(height, width)),
        Layer(name=name, op=MASK, inputs=(q, f"{name}.g"), channels=channels, spike_out=out),
    )


def qk_token(name: str, q: str, k: str, out: str, channels: int, heads: int, theta: int) -> tuple[Layer, Layer]:
    """Token attention of QKFormer: a = LIF(sum over the channels of a head of Q), one bit per token and head; out = a AND K.

    Arguments are as for `sdsa`; the layers are ``{name}.a`` and ``{name}``.
    """
    return (
        Layer(name=f"{name}.a", op=CONV, inputs=(q,), channels=heads, groups=heads, spike_out=f"{name}.a", theta=theta),
        Layer(name=name, op=MASK, inputs=(k, f"{name}.a"), channels=channels, heads=heads, spike_out=out),
    )


def svformer_graph(
    *,
    name: str,
    encoding: Encoding,
    classes: tuple[str, ...],
    local: int = 32,
    wide: int = 64,
    heads: int = 2,
    blocks: int = 1,
    ratio: int = 2,
    u_frac: int = 6,
    u_bits: int = 16,
    card: dict[str, str] | None = None,
) -> Model:
    """Stem, one local block, strided downsampling, global blocks, head; every kind of layer the machine has.

    The layer that ends a branch also adds the residual and opens the next branch: U' = U + y, spikes = LIF(U').
    ``s`` tensors are the spikes that open a branch, ``u`` tensors the residual stream.

    ``local`` and ``wide`` are the channels of the local and of the global stage, which has ``blocks`` blocks with
    ``heads`` attention heads of ``wide / heads`` channels; ``ratio`` is the expansion inside local blocks and MLPs.
    The other arguments are those of `Model`.
    """
    theta = 2 << u_frac  # H = (V + X) / 2 fires at 1; h = 2H

    def layer(name: str, source: str, channels: int, **more: object) -> Layer:
        fields: dict[str, object] = {"op": CONV, "inputs": (source,), "theta": theta if more.get("spike_out") else 0, **more}
        return Layer(name=name, channels=channels, **fields)  # type: ignore[arg-type]

    layers = [
        layer("stem", INPUT, local, u_out="stem.u", spike_out="stem.s"),
        layer("local.pw1", "stem.s", ratio * local, spike_out="local.a"),
        layer("local.dw", "local.a", ratio * local, kernel=5, padding=2, groups=ratio * local, spike_out="local.b"),
        layer("local.pw2", "local.b", local, residual="stem.u", u_out="local.u", spike_out="local.s"),
        layer("local.fc1", "local.s", ratio * local, spike_out="local.c"),
        layer("local.fc2", "local.c", local, residual="local.u", spike_out="down.s"),
        layer("down", "down.s", wide, kernel=4, stride=2, padding=1, u_out="down.u", spike_out="g0.s"),
    ]
    u = "down.u"
    for i in range(blocks):
        g = f"g{i}"
        last = i == blocks - 1
        layers += [
            *(layer(f"{g}.{x}", f"{g}.s", wide, spike_out=f"{g}.{x}.s") for x in "qkv"),
            layer(f"{g}.sdha", "", wide, op=SDHA, inputs=(f"{g}.q.s", f"{g}.k.s", f"{g}.v.s"), heads=heads, spike_out=f"{g}.a"),
            layer(f"{g}.proj", f"{g}.a", wide, residual=u, u_out=f"{g}.u", spike_out=f"{g}.m"),
            layer(f"{g}.fc1", f"{g}.m", ratio * wide, spike_out=f"{g}.c"),
            layer(f"{g}.fc2", f"{g}.c", wide, residual=f"{g}.u", u_out="" if last else f"{g}.w",
                  spike_out="head.s" if last else f"g{i + 1}.s"),
        ]
        u = f"{g}.w"
    layers.append(layer("head", "head.s", len(classes), op=HEAD))
    return Model(
        name=name, encoding=encoding, u_frac=u_frac, u_bits=u_bits, classes=classes, layers=tuple(layers), card=card or {}
    )
