"""Every operation of the machine on NumPy integers: floor everywhere, no overflow by wrap-around.

Layouts: activations [T, H, W, C], weights [O, I, KH, KW], sums int32. Products of matrices go through floating point BLAS, which
is exact as long as every sum is an integer that the type holds; `_matmul` chooses the type by a bound on the sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from golden.spec.model import FRAME, HARD, JOINT

Array = NDArray[np.integer]
Int32 = NDArray[np.int32]

CHUNK = 1 << 22  #: values that a convolution lays out as matrix rows at a time


def join(tensors: Sequence[Array], upsample: int = 1) -> Array:
    """Concatenate along channels, then repeat every value ``upsample`` times in y and x."""
    x = tensors[0] if len(tensors) == 1 else np.concatenate(tensors, axis=3)
    return x if upsample == 1 else x.repeat(upsample, axis=1).repeat(upsample, axis=2)


def conv(x: Array, w: Array, stride: int = 1, padding: int = 0) -> Int32:
    """Accumulators of a convolution with zero padding; a 1x1 kernel is a linear layer.

    Parameters
    ----------
    x : [T, H, W, C] of 0 or 1, or of larger values such as pixels
        A value is the sum of its bit planes times their powers of two, so planes need no code of their own here.
    w : [O, I, KH, KW]
        C / I groups: output channels of group g see input channels of group g only.
    stride, padding : int
        In y and x alike.

    Returns
    -------
    [T, OH, OW, O] int32
    """
    out, inputs, kh, kw = w.shape
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))) if padding else x
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(1, 2))
    taps = windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)  # [T, OH, OW, KH, KW, C]
    t, oh, ow, c = *taps.shape[:3], taps.shape[5]
    groups = c // inputs
    acc = np.zeros((t, oh, ow, out), np.int32)
    if inputs == 1 and out == groups:  # depthwise: no product of matrices, but one of channels
        rows = w[:, 0].transpose(1, 2, 0).astype(np.int32)
        for step in range(t):
            for ky, kx in np.ndindex(kh, kw):
                acc[step] += taps[step, :, :, ky, kx] * rows[ky, kx]
        return acc
    bound = int(x.max(initial=0)) * int(np.abs(w.astype(np.int64)).reshape(out, -1).sum(axis=1).max())
    matrix = w.reshape(groups, out // groups, inputs, kh * kw).transpose(0, 3, 2, 1).reshape(groups, -1, out // groups)
    steps = max(1, CHUNK // (oh * ow * kh * kw * c))
    for first in range(0, t, steps):
        part = taps[first : first + steps].reshape(-1, kh * kw, groups, inputs)
        sums = _matmul(part.transpose(2, 0, 1, 3).reshape(groups, len(part), -1), matrix, bound)
        acc[first : first + steps] = sums.transpose(1, 0, 2).reshape(-1, oh, ow, out)
    return acc


def _matmul(a: Array, b: Array, bound: int) -> Int32:
    """``a @ b`` modulo 2**32, where no sum of products, in any order, is larger than ``bound``."""
    if bound >= 1 << 53:
        raise ValueError(f"sums of up to {bound} are not exact in double precision")
    kind = np.float32 if bound < 1 << 24 else np.float64
    product = np.matmul(a.astype(kind), b.astype(kind))
    return (product if kind == np.float32 else product.astype(np.int64)).astype(np.int32)


def affine(acc: Array, bias: Array, shift: Array) -> Int32:
    """Give y = (acc + bias[o]) >> shift[o], floor; a negative shift goes left; all within 32 bits."""
    y = acc.astype(np.int32) + bias.astype(np.int32)
    y >>= np.maximum(shift, 0).astype(np.int32)
    y <<= np.maximum(-shift.astype(np.int32), 0)
    return y


def residual(u: Array, y: Array, u_bits: int) -> tuple[NDArray[np.int16], int]:
    """U' = U + y, saturating to ``u_bits`` signed; and how many values saturated."""
    total = u.astype(np.int32) + y.astype(np.int32)
    high = (1 << (u_bits - 1)) - 1
    clipped = np.clip(total, -high - 1, high)
    return clipped.astype(np.int16), int(np.count_nonzero(clipped != total))


def lif(x: Array, theta: int, leak: int = 8, reset: str = HARD, levels: int = 1, step: int = 0) -> NDArray[np.uint8]:
    """Leaky integrate and fire along axis 0 (time): charge, fire, reset; v is 0 before the first step.

    Charge h = ((v * leak) >> 4) + x; the shift is arithmetic, so a negative v decays towards -1. Fire the number s of k in
    0..levels-1 with h >= theta + k * step. Reset: v = 0 where s > 0 (hard), or v = h - s * step (soft).

    Parameters
    ----------
    x : [T, ...]
        What neurons see, within 24 bits.
    theta, leak, reset, levels, step
        As in `golden.spec.model.Layer`; the defaults are tau = 2 and binary spikes.
    """
    step = step or theta
    v = np.zeros(x.shape[1:], np.int32)
    spikes = np.empty(x.shape, np.uint8)
    for t in range(x.shape[0]):
        h = ((v * leak) >> 4) + x[t].astype(np.int32)
        s = (h >= theta).astype(np.int32) if levels == 1 else np.clip((h - theta) // step + 1, 0, levels)
        spikes[t] = s
        v = np.where(s > 0, 0, h) if reset == HARD else h - s * step
    return spikes


def mask(a: Array, b: Array) -> NDArray[np.uint8]:
    """Give a AND b; b [T, H, W, C], [T, 1, 1, C], or [T, H, W, heads], a bit for each C / heads channels of a [T, H, W, C]."""
    return (a & b.repeat(a.shape[3] // b.shape[3], axis=3)).astype(np.uint8)


def tokens(x: Array, heads: int, scope: str = JOINT) -> Array:
    """Spikes [T, H, W, heads * d] as [..., heads, N, d]: the N tokens that see each other; first T or H*W where not joint."""
    t, h, w, c = x.shape
    split = x.reshape(t, h * w, heads, c // heads)
    if scope == JOINT:
        return split.reshape(t * h * w, heads, -1).transpose(1, 0, 2)
    return split.transpose(0, 2, 1, 3) if scope == FRAME else split.transpose(1, 2, 0, 3)


def _places(out: Int32, shape: tuple[int, ...], scope: str) -> Int32:
    """Tokens [..., heads, N, d] back in their places, [T, H, W, heads * d]: the inverse of `tokens`."""
    order = {JOINT: (1, 0, 2), FRAME: (0, 2, 1, 3)}.get(scope, (2, 0, 1, 3))
    return out.transpose(order).reshape(shape)


def correlation(k: Array, v: Array) -> Int32:
    """A = KᵀV, [..., d, d]: of how many tokens [..., N, d] K has bit i and V has bit j."""
    return _matmul(k.swapaxes(-1, -2), v, k.shape[-2])


def hamming_weights(k: Array, v: Array, heads: int, scope: str = JOINT) -> tuple[Int32, Int32]:
    """Weights and bias that make Hamming attention a linear layer on Q's spikes.

    A = KᵀV and s = column sums of V over the tokens that see each other; M = (2K-1)ᵀV = 2A - 1sᵀ.
    The published model is O = (2Q-1)M / (2D); 1/(2D) belongs to the shift that follows.

    Parameters
    ----------
    k, v : [T, H, W, heads * d] of 0 or 1
        Spikes.
    heads : int
        Number of heads.
    scope : str
        One of `golden.spec.model.SCOPES`; where it is not joint, both results have T or H*W as first axis.

    Returns
    -------
    W : [heads, d, d] int32
        2M, to be indexed [head, channel of q, channel of the output].
    bias : [heads, d] int32
        Minus the column sums of M.
    """
    kn, vn = tokens(k, heads, scope), tokens(v, heads, scope)
    m = 2 * correlation(kn, vn) - vn.sum(axis=-2, dtype=np.int32)[..., None, :]
    return 2 * m, -m.sum(axis=-2, dtype=np.int32)


def sdha(q: Array, k: Array, v: Array, heads: int, scope: str = JOINT) -> Int32:
    """Accumulators of spike-driven Hamming attention, O_h = Q_h (2M_h) - colsum(M_h): [T, H, W, O], channel head * d + j."""
    weights, bias = hamming_weights(k, v, heads, scope)
    qn = tokens(q, heads, scope)
    out = _matmul(qn, weights, _largest_sum(weights)) + bias[..., None, :]
    return _places(out, q.shape, scope)


def ssa(q: Array, k: Array, v: Array, heads: int, scope: str = JOINT) -> Int32:
    """Accumulators of dot product attention without softmax, O_h = Q_h (K_hᵀ V_h): [T, H, W, O], channel head * d + j."""
    weights = correlation(tokens(k, heads, scope), tokens(v, heads, scope))
    return _places(_matmul(tokens(q, heads, scope), weights, _largest_sum(weights)), q.shape, scope)


def _largest_sum(weights: Array) -> int:
    """Bound of what a row of bits can make of ``weights`` [..., d, d]."""
    return int(np.abs(weights).max(initial=0)) * weights.shape[-2]


def pairs(k: Array, v: Array, heads: int) -> int:
    """Additions that make KᵀV: pairs of a set bit of K and one of V in the same token and head, whatever the scope."""
    return int((tokens(k, heads).sum(axis=-1, dtype=np.int64) * tokens(v, heads).sum(axis=-1, dtype=np.int64)).sum())


def head(x: Array, w: Array) -> Int32:
    """Accumulators of the classifier, summed over every t, y and x: [O] int32."""
    return (w.reshape(w.shape[0], -1).astype(np.int64) @ x.sum(axis=(0, 1, 2), dtype=np.int64)).astype(np.int32)


def bit_count(x: Array) -> Int32:
    """Set bits of every value: 0 or 1 for spikes, up to 8 for pixels (one bit plane each)."""
    return np.bitwise_count(x.astype(np.uint8)).astype(np.int32)


def synaptic_operations(x: Array, kernel: tuple[int, int], stride: int, padding: int, fan_out: int) -> int:
    """Additions that a convolution really needs: set bits times output channels fed, taps inside the image only.

    Parameters
    ----------
    x, stride, padding
        As for `conv`.
    kernel : (int, int)
        Height and width.
    fan_out : int
        Output channels that each input channel feeds: O / groups.
    """
    bits = bit_count(x).sum(axis=(0, 3), dtype=np.int64)  # [H, W]
    y = _taps_feeding(x.shape[1], kernel[0], stride, padding)
    z = _taps_feeding(x.shape[2], kernel[1], stride, padding)
    return int((bits * y[:, None] * z[None, :]).sum()) * fan_out


def _taps_feeding(size: int, kernel: int, stride: int, padding: int) -> NDArray[np.int64]:
    """How many (output, tap) pairs read each input index along one axis."""
    pairs = np.zeros(size, np.int64)
    for out in range((size + 2 * padding - kernel) // stride + 1):
        for tap in range(kernel):
            i = out * stride + tap - padding
            if 0 <= i < size:
                pairs[i] += 1
    return pairs
