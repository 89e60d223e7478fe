"""Between arrays and the bytes of the machine's memory layouts (docs/architecture.md), both ways, vectorised.

Arrays are [T, H, W, C] for tensors and [O, I, KH, KW] for weights; memory is a flat uint8 array, little-endian.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.spec.config import Config

Array = NDArray[np.integer]
Bytes = NDArray[np.uint8]

SLICE_BITS = 4  #: of one weight slice


class PackingError(ValueError):
    """A value or shape that the layout cannot hold; the message shows the numbers."""


def round_up(n: int, multiple: int) -> int:
    """Smallest multiple of ``multiple`` that is at least ``n``."""
    return -(-n // multiple) * multiple


def pack_bits(bits: Array) -> Bytes:
    """Bytes of bits given lowest first along the last axis, whose length is a multiple of 8; flat."""
    return np.packbits(bits.astype(np.uint8), axis=-1, bitorder="little").reshape(-1)


def unpack_bits(data: Bytes) -> Bytes:
    """Bits of bytes, lowest first, flat: the inverse of `pack_bits`."""
    return np.unpackbits(data, bitorder="little")


def unpack_spikes(data: Bytes, shape: tuple[int, int, int, int], word: int, planes: int = 1, pieces: int = 1) -> Bytes:
    """Tensor [T, H, W, C] of the words of a spike tensor ``[piece][y][x][t][plane][word]``; bits past channel C are ignored.

    Of one piece it is the inverse of `sw.clips.ClipPacker`.
    """
    t, h, w, c = shape
    bits = unpack_bits(data).reshape(pieces, h, w, t, planes, round_up(c, word) // pieces)
    weights = (1 << np.arange(planes)).astype(np.uint8)
    return np.ascontiguousarray(np.einsum("nhwtpc,p->thwnc", bits, weights).reshape(t, h, w, -1)[..., :c])


def join_banks(data: Bytes, cores: int, place: int, timesteps: int, step: int) -> Bytes:
    """Bytes ``[place][t][byte]`` of spikes that were stored ``[place][core][byte]``, gaps included.

    Parameters
    ----------
    data : [bytes] uint8
        What was stored.
    cores, place, timesteps, step : int
        Banks, bytes of a place in each, time steps in all, bytes of a time step.
    """
    steps = data.reshape(-1, cores, place)[..., : timesteps // cores * step].reshape(-1, cores, timesteps // cores, step)
    return steps.swapaxes(1, 2).reshape(-1)


def pack_residual(u: Array, lanes: int) -> Bytes:
    """16-bit values ``[y][x][t][channel]``, channels padded with 0 to a multiple of ``lanes``."""
    t, h, w, c = u.shape
    padded = np.zeros((h, w, t, round_up(c, lanes)), "<i2")
    padded[..., :c] = u.transpose(1, 2, 0, 3)
    return padded.reshape(-1).view(np.uint8)


def unpack_residual(data: Bytes, shape: tuple[int, int, int, int], lanes: int) -> NDArray[np.int16]:
    """Tensor [T, H, W, C] int16, the inverse of `pack_residual`."""
    t, h, w, c = shape
    values = data.view("<i2").reshape(h, w, t, round_up(c, lanes))[..., :c]
    return np.ascontiguousarray(values.transpose(2, 0, 1, 3))


def split_logits(values: NDArray[np.int32], lanes: int) -> NDArray[np.int16]:
    """Beats [2n, lanes] of n * ``lanes`` logits: of so many the lower 16 bits, then the upper ones."""
    halves = values.reshape(-1, 1, lanes) >> np.array([[0], [16]], np.int32)
    return halves.reshape(-1, lanes).astype("<u2").view("<i2")


def unpack_logits(data: Bytes, classes: int, lanes: int, parts: int = 1) -> NDArray[np.int32]:
    """Logits [1, 1, 1, O] int32, sums over the parts ``[part][class]`` of beats of ``lanes`` as `split_logits` makes them;
    padding is ignored.
    """
    halves = data.view("<u2").reshape(-1, 2, lanes).astype(np.uint32)
    values = (halves[:, 0] | halves[:, 1] << 16).view(np.int32).reshape(parts, -1)
    return values[:, :classes].sum(axis=0, dtype=np.int32).reshape(1, 1, 1, classes)


def weight_slices(w: Array, slices: int) -> Bytes:
    """Four-bit slices, lowest first, on a new first axis, as bit patterns 0..15; the top one holds the sign."""
    bits = SLICE_BITS * slices
    if w.size and (w.min() < -(1 << bits - 1) or w.max() >= 1 << bits - 1):
        raise PackingError(f"weights from {w.min()} to {w.max()} do not fit {slices} signed slices of {SLICE_BITS} bits")
    wide = w.astype(np.int64)
    return np.stack([wide >> SLICE_BITS * s & 15 for s in range(slices)]).astype(np.uint8)


def join_slices(patterns: Array) -> NDArray[np.int32]:
    """Weights of the bit patterns along the first axis, the inverse of `weight_slices`."""
    total = np.zeros(patterns.shape[1:], np.int32)
    for s, pattern in enumerate(patterns):
        value = pattern.astype(np.int32)
        if s == len(patterns) - 1:
            value = value - 16 * (value >> 3)
        total += value << SLICE_BITS * s
    return total


def pack_rows(rows: Array) -> Bytes:
    """Bytes of weight rows [n, lanes] of bit patterns 0..15, lane 0 in the lowest bits."""
    low, high = rows[:, 0::2], rows[:, 1::2]
    return (low | high << SLICE_BITS).astype(np.uint8).reshape(-1)


def unpack_rows(data: Bytes, lanes: int) -> Bytes:
    """Weight rows [n, lanes] of bit patterns, the inverse of `pack_rows`."""
    pairs = data.reshape(-1, lanes // 2)
    return np.stack([pairs & 15, pairs >> SLICE_BITS], axis=-1).reshape(-1, lanes)


def broadcast_rows(w: Array, lanes: int, word: int, slices: int) -> Bytes:
    """Weight rows ``(((g*slices + s)*taps + tap)*words + word)*word + bit`` as bit patterns [n, lanes].

    Outputs are padded to a multiple of ``lanes`` and inputs to one of ``word``, with zero weights.
    """
    o, i, kh, kw = w.shape
    padded = np.zeros((round_up(o, lanes), round_up(i, word), kh, kw), np.int32)
    padded[:o, :i] = w
    patterns = weight_slices(padded, slices).reshape(slices, -1, lanes, padded.shape[1], kh * kw)
    return patterns.transpose(1, 0, 4, 3, 2).reshape(-1, lanes)  # [g, s, tap, i, lane]


def rotate(rows: Bytes, taps: int, per_tap: int, issue: int, back: bool = False) -> Bytes:
    """Broadcast rows in the order of the banks: tap n's are n banks further on, so that a busy channel burdens no one slot.

    Parameters
    ----------
    rows : [n, lanes]
        As `broadcast_rows` makes them; ``per_tap`` of them belong to each tap.
    taps, per_tap, issue : int
        Number of taps, rows of a tap, banks.
    back : bool
        The inverse.
    """
    blocks = rows.reshape(-1, taps, per_tap // issue, issue, rows.shape[1])
    turned = [np.roll(blocks[:, tap], -tap if back else tap, axis=2) for tap in range(taps)]
    return np.stack(turned, axis=1).reshape(rows.shape)


def pass_words(rows: Array, slices: int, fetches: int, config: Config, repeat: int = 1) -> int:
    """Descriptor field ``pass_words``: after how many fetches cores hand sums over such that these hold whatever comes.

    Parameters
    ----------
    rows : [n, lanes]
        Broadcast rows as they lie in the banks.
    slices, fetches : int
        Weight slices, and words of a slice.
    config : Config
        The machine; it has room for the sum of any one word.
    repeat : int
        How often a pass goes through the words (places of a head).
    """
    blocks = (-1, slices, fetches, config.rows_per_word, config.issue // config.sharing, config.sharing, config.lanes)
    values = rows.astype(np.int16).reshape(blocks)
    values[:, -1] -= 16 * (values[:, -1] >> 3)
    times = min(repeat, -(-256 // fetches))
    total = fetches * times
    sums = np.stack([np.maximum(sign * values, 0).sum(axis=(3, 5), dtype=np.int32) for sign in (1, -1)])
    upto = np.tile(sums, (1, 1, 1, times, 1, 1)).cumsum(axis=3)
    upto = np.concatenate([np.zeros_like(upto[:, :, :, :1]), upto], axis=3)
    for count in range(min(total, 256), 1, -1):
        ends = np.minimum(np.arange(0, total, count) + count, total)
        if (upto[:, :, :, ends] - upto[:, :, :, ::count][:, :, :, : len(ends)]).max() < 1 << config.sum_bits - 1:
            return 0 if count == min(fetches * repeat, 256) else count
    return 1


def join_broadcast_rows(rows: Array, groups: int, slices: int, kernel: tuple[int, int]) -> NDArray[np.int32]:
    """Weights [O, I, KH, KW], padding included: the inverse of `broadcast_rows`."""
    lanes = rows.shape[1]
    patterns = rows.reshape(groups, slices, kernel[0] * kernel[1], -1, lanes)
    return join_slices(patterns.transpose(1, 0, 4, 3, 2).reshape(slices, groups * lanes, -1, *kernel))


def lanewise_rows(w: Array, lanes: int, slices: int = 1) -> Bytes:
    """Weight rows ``(g*slices + s)*taps + tap`` of a depthwise [O, 1, KH, KW] as bit patterns [n, lanes]."""
    o, _, kh, kw = w.shape
    padded = np.zeros((round_up(o, lanes), kh * kw), np.int32)
    padded[:o] = w.reshape(o, -1)
    patterns = weight_slices(padded, slices).reshape(slices, -1, lanes, kh * kw)
    return patterns.transpose(1, 0, 3, 2).reshape(-1, lanes)  # [g, s, tap, lane]


def join_lanewise_rows(rows: Array, groups: int, kernel: tuple[int, int], slices: int = 1) -> NDArray[np.int32]:
    """Weights [O, 1, KH, KW], padding included: the inverse of `lanewise_rows`."""
    patterns = rows.reshape(groups, slices, kernel[0] * kernel[1], -1).transpose(1, 0, 3, 2)
    return join_slices(patterns.reshape(slices, -1, 1, *kernel))


def pack_parameters(bias: Array, shift: Array, lanes: int) -> Bytes:
    """32 bits a channel: bias in 23:0, ``shift + 8`` in 28:24; padding channels have bias 0 and shift 0."""
    entries = np.full(round_up(len(bias), lanes), 8 << 24, "<u4")
    entries[: len(bias)] = (bias.astype(np.int64) & 0xFFFFFF) | (shift.astype(np.int64) + 8) << 24
    return entries.view(np.uint8)


def unpack_parameters(data: Bytes) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Bias and shift of every channel, the inverse of `pack_parameters`."""
    entries = data.view("<u4").astype(np.int64)
    bias = entries & 0xFFFFFF
    return (bias - (bias >> 23 << 24)).astype(np.int32), ((entries >> 24 & 31) - 8).astype(np.int8)
