"""Every operation of the machine on NumPy integers: no floats, floor everywhere, no overflow by wrap-around.

Layouts: activations [T, H, W, C], weights [O, I, KH, KW], sums int32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.integer]
Int32 = NDArray[np.int32]


def _taps(x: Array, kernel: tuple[int, int], stride: int, padding: int) -> NDArray[np.integer]:
    """Read-only view of zero-padded ``x`` as [T, OH, OW, C, KH, KW]."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))
    return windows[:, ::stride, ::stride]


def conv(x: Array, w: Array, stride: int = 1, padding: int = 0, depthwise: bool = False) -> Int32:
    """Accumulators of a convolution with zero padding; a 1x1 kernel is a linear layer.

    Parameters
    ----------
    x : [T, H, W, C] of 0 or 1, or of pixels 0..255
        A pixel is the sum of its bit planes times their powers of two, so planes need no code of their own here.
    w : [O, I, KH, KW]
        I = C, or 1 where ``depthwise``.
    stride, padding : int
        In y and x alike.
    depthwise : bool
        O = C, and channel c of the output sees channel c of the input only.

    Returns
    -------
    [T, OH, OW, O] int32
    """
    out, _, kh, kw = w.shape
    taps = _taps(x, (kh, kw), stride, padding)
    t, oh, ow, c = taps.shape[:4]
    if depthwise:
        acc = np.zeros((t, oh, ow, out), np.int32)
        for ky in range(kh):
            for kx in range(kw):
                acc += taps[..., ky, kx].astype(np.int32) * w[:, 0, ky, kx].astype(np.int32)
        return acc
    rows = taps.reshape(t * oh * ow, c * kh * kw)
    return _matmul(rows, w.reshape(out, -1).T).reshape(t, oh, ow, out)


def _matmul(a: Array, b: Array) -> Int32:
    """``a @ b`` in int32."""
    return np.matmul(a.astype(np.int32), np.ascontiguousarray(b, dtype=np.int32))


def affine(acc: Array, bias: Array, shift: Array) -> Int32:
    """Give y = (acc + bias[o]) >> shift[o], floor; a negative shift goes left."""
    total = acc.astype(np.int64) + bias.astype(np.int64)
    right = np.maximum(shift, 0).astype(np.int64)
    left = np.maximum(-shift.astype(np.int64), 0)
    return ((total >> right) << left).astype(np.int32)


def residual(u: Array, y: Array, u_bits: int) -> tuple[NDArray[np.int16], int]:
    """U' = U + y, saturating to ``u_bits`` signed; and how many values saturated."""
    total = u.astype(np.int32) + y.astype(np.int32)
    high = (1 << (u_bits - 1)) - 1
    clipped = np.clip(total, -high - 1, high)
    return clipped.astype(np.int16), int(np.count_nonzero(clipped != total))


def lif(x: Array, theta: int) -> NDArray[np.uint8]:
    """Leaky integrate and fire along axis 0 (time): charge h = (v >> 1) + x, fire at h >= theta, reset to 0.

    v is 0 before the first step. The shift is arithmetic, so a negative v decays towards -1.
    """
    v = np.zeros(x.shape[1:], np.int32)
    spikes = np.empty(x.shape, np.uint8)
    for t in range(x.shape[0]):
        h = (v >> 1) + x[t].astype(np.int32)
        fired = h >= theta
        spikes[t] = fired
        v = np.where(fired, 0, h).astype(np.int32)
    return spikes


def hamming_weights(k: Array, v: Array, heads: int) -> tuple[Int32, Int32]:
    """Weights and bias that make Hamming attention a linear layer on Q's spikes.

    A = KᵀV and s = column sums of V over all tokens of time and space jointly; M = (2K-1)ᵀV = 2A - 1sᵀ.
    The published model is O = (2Q-1)M / (2D); 1/(2D) belongs to the shift that follows.

    Parameters
    ----------
    k, v : [T, H, W, heads * d] of 0 or 1
        Spikes.
    heads : int
        Number of heads.

    Returns
    -------
    W : [heads, d, d] int32
        2M, to be indexed [head, channel of q, channel of the output].
    bias : [heads, d] int32
        Minus the column sums of M.
    """
    d = k.shape[-1] // heads
    kn = k.reshape(-1, heads, d).astype(np.int32)
    vn = v.reshape(-1, heads, d).astype(np.int32)
    a = np.stack([_matmul(kn[:, h].T, vn[:, h]) for h in range(heads)])  # [heads, d, d]
    m = 2 * a - vn.sum(axis=0, dtype=np.int32)[:, None, :]
    return 2 * m, -m.sum(axis=1, dtype=np.int32)


def sdha(q: Array, k: Array, v: Array, heads: int) -> Int32:
    """Accumulators of joint space-time spike-driven Hamming attention, O_h = Q_h (2M_h) - colsum(M_h).

    Returns
    -------
    [T, H, W, O] int32
        Channel ``head * d + j``.
    """
    weights, bias = hamming_weights(k, v, heads)
    d = q.shape[-1] // heads
    qn = q.reshape(-1, heads, d)
    out = [_matmul(qn[:, h], weights[h]) + bias[h] for h in range(heads)]
    return np.concatenate(out, axis=-1).reshape(q.shape)


def head(x: Array, w: Array) -> Int32:
    """Accumulators of the classifier, summed over every t, y and x: [O] int32."""
    counts = x.sum(axis=(0, 1, 2), dtype=np.int32)
    return _matmul(counts[None], w.reshape(w.shape[0], -1).T)[0]


def bit_count(x: Array) -> Int32:
    """Set bits of every value: 0 or 1 for spikes, up to 8 for pixels (one bit plane each)."""
    return np.bitwise_count(x.astype(np.uint8)).astype(np.int32)


def synaptic_operations(x: Array, w: Array, stride: int, padding: int, depthwise: bool) -> int:
    """Additions that a convolution really needs: set bits times output channels fed, taps inside the image only.

    Parameters
    ----------
    x, w, stride, padding, depthwise
        As for `conv`.
    """
    out, _, kh, kw = w.shape
    bits = bit_count(x).sum(axis=(0, 3), dtype=np.int64)  # [H, W]
    y = _taps_feeding(x.shape[1], kh, stride, padding)
    z = _taps_feeding(x.shape[2], kw, stride, padding)
    return int((bits * y[:, None] * z[None, :]).sum()) * (1 if depthwise else out)


def _taps_feeding(size: int, kernel: int, stride: int, padding: int) -> NDArray[np.int64]:
    """How many (output, tap) pairs read each input index along one axis."""
    pairs = np.zeros(size, np.int64)
    for out in range((size + 2 * padding - kernel) // stride + 1):
        for tap in range(kernel):
            i = out * stride + tap - padding
            if 0 <= i < size:
                pairs[i] += 1
    return pairs
