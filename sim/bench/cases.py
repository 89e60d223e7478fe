"""Random LINEAR and HAMMING descriptors with their memories, and what must come out, computed by plain NumPy.

Nothing here knows how the hardware or its twins work: tensors are laid out as docs/architecture.md says, and results are
convolutions and products of whole tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from golden.integer import ops
from golden.spec.config import Config
from golden.spec.descriptor import Opcode, decode, encode
from golden.spec.model import HARD, SOFT
from sim.lib.pack import join


@dataclass
class Case:
    """One descriptor, the memories before it, and after it."""

    name: str
    values: dict[str, int]
    banks: list[list[int]]
    weights: list[list[int]] = field(default_factory=list)  #: by bank and row
    params: list[int] = field(default_factory=list)
    u: list[int] = field(default_factory=list)
    banks_after: list[list[int]] = field(default_factory=list)
    u_after: list[int] = field(default_factory=list)
    weights_after: dict[tuple[int, int], int] = field(default_factory=dict)  #: (bank, row): data that must be written
    params_after: list[int] = field(default_factory=list)
    saturations: int = 0
    adds: int = 0
    results: int = 0
    weight_rows: int = 0  #: rows of each bank that the image takes


def _garbage(rng: np.random.Generator, count: int, bits: int) -> list[int]:
    """Random words."""
    raw = rng.integers(0, 256, (count, (bits + 7) // 8), np.uint8)
    return [int.from_bytes(row.tobytes(), "little") & ((1 << bits) - 1) for row in raw]


def _wide(packed: np.ndarray) -> np.ndarray:
    """[..., bytes] -> Python integers."""
    flat = packed.reshape(-1, packed.shape[-1])
    out = np.empty(len(flat), object)
    for i, row in enumerate(flat):
        out[i] = int.from_bytes(row.tobytes(), "little")
    return out.reshape(packed.shape[:-1])


def _store(banks: list[list[int]], base: int, bits: np.ndarray, config: Config, strides: tuple[int, int]) -> None:
    """Write a tensor [T, H, W, planes, words * word] of bits to the banks; ``strides`` of y and x."""
    t_steps, height, width, planes, _ = bits.shape
    words = _wide(np.packbits(bits.astype(np.uint8), axis=-1, bitorder="little")
                  .reshape(t_steps, height, width, planes, -1, config.word // 8))
    count = words.shape[-1]
    for t, y, x, p, w in np.ndindex(words.shape):
        addr = base + y * strides[0] + x * strides[1] + (t // config.cores * planes + p) * count + w
        banks[t % config.cores][addr] = words[t, y, x, p, w]


KINDS = ("1x1", "3x3", "5x5", "4x4s2", "2x2", "depthwise5", "depthwise3", "depthwise", "head")


def linear(rng: np.random.Generator, config: Config, kind: str | None = None) -> Case:
    """A random LINEAR descriptor. ``kind`` is one of `KINDS`."""
    while True:
        case = _linear(rng, config, kind or str(rng.choice(KINDS)))
        if case is not None:
            return case


def _linear(rng: np.random.Generator, c: Config, kind: str) -> Case | None:
    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def chance(p: float) -> bool:
        return bool(rng.random() < p)

    lanewise, head = kind.startswith("depthwise"), kind == "head"
    size, stride, padding = {
        "1x1": (1, 1, 0), "3x3": (3, draw(1, 2), 1), "5x5": (5, 1, 2), "4x4s2": (4, 2, 1), "2x2": (2, 2, 0),
        "depthwise5": (5, 1, 2), "depthwise3": (3, draw(1, 2), 1), "depthwise": (draw(1, 7), 1, draw(0, 3)),
        "head": (0, 1, 0)}[kind]
    kernel_h, kernel_w = draw(1, 5) if kind == "depthwise" else size, size
    in_h, in_w = (draw(low, max(low, 5)) for low in (max(1, k - 2 * padding) for k in (kernel_h, kernel_w)))
    kernel_h, kernel_w = (in_h, in_w) if head else (kernel_h, kernel_w)
    out_h, out_w = (in_h + 2 * padding - kernel_h) // stride + 1, (in_w + 2 * padding - kernel_w) // stride + 1
    steps = draw(1, 3)
    t_steps = steps * c.cores
    taps = 1 if head else kernel_h * kernel_w
    planes = int(rng.choice([1, 1, 1, 2, 8]))
    slices = int(rng.choice([1, 1, 1, 2] if lanewise else [1, 1, 2, 3, 4]))
    if lanewise:
        words, groups, first_group = 1, draw(1, 3), draw(0, 3)
        in_words = -(-(first_group + groups) * c.lanes // c.word) + draw(0, 1)
        first_word = 0
    else:
        words, groups, first_group = draw(1, 3), draw(1, 3), draw(0, 3)
        first_word = draw(0, 2)
        in_words = first_word + words + draw(0, 1)
    first_group = 0 if head and chance(0.5) else first_group
    rows = groups * slices * taps * (1 if lanewise else words * c.word)
    rows_most = c.weight_rows * (1 if lanewise else c.issue) - c.word
    if rows > rows_most or out_h * out_w * groups * steps * taps * words * planes * slices > 4000:
        return None
    mask_low, mask_high = (draw(0, c.word // 2), draw(c.word // 2, c.word - 1)) if chance(0.4) else (0, c.word - 1)

    # Input: bits and values; only channels inside the mask count.
    density = float(rng.choice([0.0, 0.05, 0.3, 0.3, 0.7, 1.0]))
    bits = (rng.random((t_steps, in_h, in_w, planes, in_words * c.word)) < density).astype(np.int64)
    values = (bits << np.arange(planes)[:, None]).sum(axis=3)
    if lanewise:
        channels = slice(first_group * c.lanes, (first_group + groups) * c.lanes)
        x = values[..., channels]
    else:
        x = values[..., first_word * c.word:(first_word + words) * c.word].copy()
        x[..., :mask_low] = 0
        x[..., (words - 1) * c.word + mask_high + 1:] = 0
        used = bits[..., first_word * c.word:(first_word + words) * c.word].copy()
        used[..., :mask_low] = 0
        used[..., (words - 1) * c.word + mask_high + 1:] = 0

    # Weights that leave the accumulators two bits short.
    out_c = groups * c.lanes
    fan = (1 if lanewise else x.shape[-1]) * kernel_h * kernel_w * ((1 << planes) - 1)
    top = min(1 << (4 * slices - 1), max(1, (1 << c.acc_bits - 3) // fan))
    w = rng.integers(-top, top, (out_c, 1 if lanewise else x.shape[-1], *((1, 1) if head else (kernel_h, kernel_w))))
    if chance(0.2):
        w[:] = -top
    w_full = np.broadcast_to(w, (*w.shape[:2], kernel_h, kernel_w)) if head else w
    acc = ops.conv(x, w_full, stride, padding).astype(np.int64)

    # Neuron unit: what membranes that forget little see is smaller, so that none overflows.
    integrate = head
    source = "" if integrate else str(rng.choice(["", "", "residual", "residual", "partial"]))
    residual, partial = source == "residual", source == "partial"
    u_write, fire = (False, False) if integrate else (chance(0.5), chance(0.8))
    levels = draw(1, c.levels_max) if chance(0.5) else 1
    soft = chance(0.5) and (levels == 1 or c.any_neuron)
    leak = int(rng.choice([0, 8, 8, 16, draw(0, 16) if c.any_neuron else 8]))
    x_bits = c.x_bits - 3 - (t_steps.bit_length() if leak > 8 else 0)
    u_high = 1 << min(c.u_bits - 1, x_bits)
    bias = rng.integers(-(1 << 12), 1 << 12, out_c)
    peak = int(np.abs(acc).max(initial=0)) + (u_high if partial else 1 << 12)
    if peak * (t_steps if integrate else 1) >= 1 << c.acc_bits - 1:
        return None
    if integrate:
        shift = np.zeros(out_c, np.int64)
    else:
        lowest = max(-8, peak.bit_length() - x_bits)
        shift = rng.integers(lowest, min(23, max(lowest, peak.bit_length())) + 1, out_c)
    beats = c.beats
    total_groups = first_group + groups + draw(0, 1)
    u_step = total_groups * beats
    u_count = out_h * out_w * t_steps * u_step
    u = _garbage(rng, c.u_beats, c.u_beat_bits)
    u_src = draw(0, 40)
    u_dst = u_src if chance(0.5) else u_src + u_count + draw(0, 9)
    if max(u_src, u_dst) + max(u_count, 2 * u_step) > c.u_beats:
        return None
    shape = (t_steps, out_h, out_w, groups, beats)

    def beat_at(base: int, index: tuple[int, ...]) -> int:
        t, yy, xx, g, b = index
        return base + ((yy * out_w + xx) * t_steps + t) * u_step + (first_group + g) * beats + b

    old = rng.integers(-u_high, u_high, (*shape, c.neuron_lanes))
    if source:
        for index in np.ndindex(shape):
            u[beat_at(u_src, index)] = join(old[index], 16)
    added: np.ndarray = np.broadcast_to(bias, acc.shape)
    if partial:
        added = old.reshape(acc.shape)
    elif integrate:
        added = np.where(np.arange(t_steps)[:, None, None, None] == 0, bias, 0)
    y = ops.affine(acc, added, shift).astype(np.int64)
    bank_mask = (1 << c.cores) - 1 if integrate or chance(0.7) else draw(1, (1 << c.cores) - 1)
    counts = (bank_mask >> np.arange(t_steps) % c.cores & 1).astype(bool)
    idle = 0 if integrate or chance(0.5) else draw(0, c.cores - 1)
    awake = counts & (np.arange(t_steps) < t_steps - idle)
    x_neuron: np.ndarray = y
    saturations = 0
    if residual or u_write:
        before = old.reshape(y.shape) if residual else np.zeros_like(y)
        x_neuron = ops.residual(before, y, c.u_bits)[0]
        saturations = ops.residual(before[awake], y[awake], c.u_bits)[1]
    u_after = list(u)
    if integrate:
        logits = y.sum(axis=(0, 1, 2))
        for i in range(groups * beats):
            some, at = logits[i * c.neuron_lanes:(i + 1) * c.neuron_lanes], u_dst + 2 * (first_group * beats + i)
            u_after[at], u_after[at + 1] = join(some, 16), join(some >> 16, 16)
    elif u_write:
        lanes_of = x_neuron.reshape(*shape, c.neuron_lanes)
        for index in np.ndindex(shape):
            if counts[index[0]]:
                u_after[beat_at(u_dst, index)] = join(lanes_of[index], 16)

    # Memory map of the spike banks: input, output.
    step_stride = planes * in_words
    base = draw(0, 100)
    x_stride = steps * step_stride + (draw(0, 3) if lanewise and chance(0.5) else 0)
    x_stride += int(lanewise and x_stride % 2 == 0 and chance(0.6))
    y_stride = in_w * x_stride + (draw(0, 3) if lanewise and chance(0.2) else 0)
    if lanewise and chance(0.7):  # taps follow each other modulo the number of memories, from row to row, too
        y_stride += (kernel_w * x_stride - y_stride) % c.taps
    in_size = in_h * y_stride
    plane_words, out_planes = -(-total_groups * c.lanes // c.word), draw(levels.bit_length(), c.levels_max.bit_length())
    dst_words, row_skip = out_planes * plane_words, draw(0, 20) if chance(0.3) else 0
    spike_dst = base + in_size + draw(0, 9)
    if spike_dst + out_h * (out_w * steps * dst_words + row_skip) > c.spike_words:
        return None
    banks = [_garbage(rng, c.spike_words, c.word) for _ in range(c.cores)]
    _store(banks, base, bits, c, (y_stride, x_stride))
    banks_after = [list(b) for b in banks]
    peak_x = max(1, int(np.abs(x_neuron).max(initial=0)))
    theta = draw(-peak_x // 4, peak_x)
    if chance(0.5):  # exactly reached by some neuron
        theta = int(rng.choice(x_neuron[counts][0].reshape(-1)))
    step_shift = draw(0, peak_x.bit_length())
    if fire:
        spikes = np.zeros(y.shape, np.uint8)
        step = 1 << step_shift if levels > 1 else theta
        spikes[counts] = ops.lif(x_neuron[counts], theta, leak, SOFT if soft else HARD, levels, step)
        spikes[t_steps - idle:] = 0
        for t, yy, xx, g, plane in np.ndindex(*spikes.shape[:3], groups, out_planes):
            lane_group = first_group + g
            at = (spike_dst + ((yy * out_w + xx) * steps + t // c.cores) * dst_words + yy * row_skip + plane * plane_words
                  + lane_group * c.lanes // c.word)
            low = lane_group * c.lanes % c.word
            lanes_bits = join(spikes[t, yy, xx, g * c.lanes:(g + 1) * c.lanes] >> plane & 1, 1)
            bank = banks_after[t % c.cores]
            if counts[t]:
                bank[at] = bank[at] & ~(((1 << c.lanes) - 1) << low) | lanes_bits << low

    # Weight image.
    per = c.rows_per_word
    image = []
    per_tap = 1 if lanewise else words * c.word
    for g, s, tap, i in np.ndindex(groups, slices, taps, per_tap):
        lanes = w[g * c.lanes:(g + 1) * c.lanes, i, 0 if head else tap // kernel_w, 0 if head else tap % kernel_w]
        image.append(join(lanes >> (4 * s), 4))
    bank_rows = len(image) if lanewise else -(-len(image) // c.issue)
    room = c.weight_rows // per - -(-bank_rows // per)
    weight_base = draw(0, max(room - 1, 0)) * per
    weights = [_garbage(rng, c.weight_rows, c.row_bits) for _ in range(c.issue)]
    for n, row in enumerate(image):
        if lanewise:
            for bank in weights:
                bank[weight_base + n] = row
        else:  # a tap's rows are rotated by its number
            weights[(n + n // per_tap % taps) % c.issue][weight_base + n // c.issue] = row
    # as many fetches as sums can certainly hold
    most = ((1 << c.sum_bits - 1) - 1) // (15 * (1 if lanewise else c.rows_per_word) * c.sharing)

    params = _garbage(rng, c.param_beats, c.param_beat_bits)
    param_base = draw(0, c.param_beats - groups * beats)
    for i in range(groups * beats):
        some = slice(i * c.neuron_lanes, (i + 1) * c.neuron_lanes)
        params[param_base + i] = join((bias[some] & 0xFFFFFF) | (shift[some] + 8) << 24, 32)

    fields: dict[str, Any] = {
        "lanewise": lanewise, "shared_taps": head, "residual": residual, "u_write": u_write, "fire": fire, "integrate": integrate,
        "partial": partial, "soft": soft, "leak": leak, "levels": levels, "out_planes": out_planes, "step_shift": step_shift,
        "bank_mask": bank_mask, "idle": idle, "dst_plane_stride": plane_words, "dst_row_skip": row_skip,
        "weight_base": weight_base, "param_base": param_base, "out_h": out_h, "out_w": out_w, "in_h": in_h, "in_w": in_w,
        "kernel_h": kernel_h, "kernel_w": kernel_w, "stride": stride, "padding": padding, "padding_y": padding,
        "groups": groups, "steps": steps,
        "words": words, "planes": planes, "slices": slices, "origin": base + first_word - padding * (x_stride + y_stride),
        "x_stride": x_stride, "y_stride": y_stride, "ox_stride": stride * x_stride, "oy_stride": stride * y_stride,
        "step_stride": step_stride, "plane_stride": in_words, "slice_words": taps * words,
        "mask_low": mask_low, "mask_high": mask_high, "first_group": first_group, "spike_dst": spike_dst, "dst_words": dst_words,
        "dst_pos_stride": steps * dst_words, "u_src": u_src, "u_dst": u_dst, "u_step": u_step, "u_pos_stride": t_steps * u_step,
        "theta": theta, "pass_words": draw(1, min(most, 255)),
    }
    values_ = decode(encode(Opcode.LINEAR, {k: int(v) for k, v in fields.items()}))
    if lanewise:
        plane_bits = bits[..., channels]
        adds = sum(int(ops.conv(plane_bits[..., p, :], np.ones_like(w), stride, padding).sum()) for p in range(planes)) * slices
    else:
        ones = np.ones((1, x.shape[-1], kernel_h, kernel_w), np.int64)
        adds = sum(int(ops.conv(used[..., p, :], ones, stride, padding).sum()) for p in range(planes)) * slices * groups
    name = (f"{kind} in {in_h}x{in_w} steps {steps} planes {planes} slices {slices} words {words} groups {first_group}+{groups} "
            f"density {density} {source} u_write {u_write:d} fire {fire:d} mask {mask_low}..{mask_high} leak {leak} "
            f"soft {soft:d} levels {levels} theta {theta} cores {bank_mask:b} idle {idle}")
    return Case(name, values_, banks, weights, params, u, banks_after, u_after, saturations=saturations, adds=adds,
                results=out_h * out_w * groups * t_steps, weight_rows=bank_rows)


def linears(rng: np.random.Generator, config: Config, count: int) -> Iterator[Case]:
    """``count`` random LINEAR cases, every kind in turn."""
    for i in range(count):
        yield linear(rng, config, KINDS[i % len(KINDS)])


def hamming(rng: np.random.Generator, c: Config) -> Case:
    """A random HAMMING descriptor: heads narrower than a word, several in one, or one of several words."""
    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    wide = c.head_max > c.word and rng.random() < 0.4
    width = c.word * draw(2, c.head_max // c.word) if wide else c.lanes * draw(1, min(c.word, c.head_max) // c.lanes)
    mask_low = 0 if wide else c.lanes * draw(0, (c.word - width) // c.lanes)
    head = width
    while head % 2 == 0 and head > 2 and rng.random() < 0.5:
        head //= 2
    if head & (head - 1):
        head = width  # the mask can only tell heads of a power of two apart
    head_mask = 0xFF & ~(head - 1) if head & (head - 1) == 0 else 0
    words = -(-width // c.word)
    dot = bool(rng.random() < 0.3)
    positions, steps = draw(1, 9) if rng.random() < 0.8 else draw(30, 60), draw(1, 3)
    bank_tokens = positions * steps
    first_word = draw(0, 1)
    total_words = first_word + words + draw(0, 1)
    while 2 * bank_tokens * total_words + 60 > c.spike_words:
        positions //= 2
        bank_tokens = positions * steps
    tokens = bank_tokens * c.cores
    density_k, density_v = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], 2)
    shape = (steps * c.cores, 1, positions, 1, total_words * c.word)
    k, v = (rng.random(shape) < density_k), (rng.random(shape) < density_v)
    banks = [_garbage(rng, c.spike_words, c.word) for _ in range(c.cores)]
    step_stride = total_words
    k_base = draw(0, 50)
    v_base = k_base + bank_tokens * step_stride + draw(0, 9)
    strides = bank_tokens * step_stride, steps * step_stride
    _store(banks, k_base, k, c, strides)
    _store(banks, v_base, v, c, strides)
    low = first_word * c.word + mask_low
    bank_mask = (1 << c.cores) - 1 if rng.random() < 0.5 else draw(1, (1 << c.cores) - 1)
    counted = (bank_mask >> np.arange(steps * c.cores) % c.cores & 1).astype(bool)
    kn, vn = (x[counted].reshape(-1, x.shape[-1])[:, low:low + width].astype(np.int64) for x in (k, v))

    a = np.einsum("ni,nj->ij", kn, vn)
    m = a if dot else 2 * a - vn.sum(axis=0)
    same = np.arange(width)[:, None] // head == np.arange(width) // head
    m = np.where(same, m, 0)
    w = m if dot else 2 * m
    slices = draw(-(-(int(np.abs(w).max()).bit_length() + 1) // 4), 4)

    groups = width // c.lanes
    per = c.rows_per_word
    room = c.weight_rows // per - groups * slices * words
    weight_base = draw(0, room) * per
    written = {}
    for g, s, i in np.ndindex(groups, slices, width):
        bit = mask_low + i
        n = ((g * slices + s) * words + bit // c.word) * c.word + bit % c.word
        written[n % c.issue, weight_base + n // c.issue] = join(w[i, g * c.lanes:(g + 1) * c.lanes] >> (4 * s), 4)
    params = _garbage(rng, c.param_beats, c.param_beat_bits)
    param_base = draw(0, c.param_beats - groups * c.beats)
    params_after = list(params)
    colsum = np.zeros(width, np.int64) if dot else m.sum(axis=0)
    for b in range(groups * c.beats):
        lanes = []
        for i in range(c.neuron_lanes):
            old = params[param_base + b] >> (32 * i) & 0xFFFFFFFF
            lanes.append(old & 0xFF000000 | (old - int(colsum[b * c.neuron_lanes + i])) & 0xFFFFFF)
        params_after[param_base + b] = join(lanes, 32)
    fields = {
        "dot": dot, "weight_base": weight_base, "param_base": param_base, "slices": slices, "slice_words": words,
        "step_stride": step_stride, "plane_stride": total_words, "mask_low": mask_low,
        "mask_high": (mask_low + width - 1) % c.word, "k_src": k_base + first_word, "v_src": v_base + first_word, "width": width,
        "head_mask": head_mask, "bank_tokens": bank_tokens, "words": words, "bank_mask": bank_mask,
    }
    values = decode(encode(Opcode.HAMMING, {name: int(value) for name, value in fields.items()}))
    name = (f"width {width} at {mask_low} heads of {head} tokens {tokens} slices {slices} density {density_k} {density_v} "
            f"dot {dot:d} cores {bank_mask:b}")
    return Case(name, values, banks, params=params, weights_after=written, params_after=params_after)
