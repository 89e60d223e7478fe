"""Clips into the words of the machine's memory: what the first layer sees of them, then bit planes."""

from __future__ import annotations

import numpy as np

from golden.spec.model import Shape
from sw.packing import Array, Bytes, PackingError, round_up
from sw.windows import Windows

CHUNK = 1 << 18  #: bytes of values that are made planes of at a time, so that they stay in the processor's cache


class ClipPacker:
    """Packs clips of one shape into words ``[y][x][t][plane][word]``; bits past the last channel are 0.

    Its arrays are made once: to get large ones takes longer than what is done with them. Not for several threads.

    Parameters
    ----------
    shape : tuple of int
        [T, H, W, C] of a clip.
    windows : Windows
        That the input consists of.
    word : int
        Channels per word.
    planes : int
        Bits of a value, at most 8.
    cores : int
        The words are those of a multiple of so many time steps, of which the last ones are 0.
    """

    def __init__(self, shape: Shape, windows: Windows, word: int, planes: int = 1, cores: int = 1) -> None:
        t, h, w, c = windows.shape(shape)
        self.windows, self.planes = windows, planes
        self.step = round_up(c, word) // 8  #: bytes of a plane of a place
        size = -(-c // 8)  # of them with channels
        if size <= 8:  # NumPy is quickest with items of 1, 2, 4 and 8 bytes
            size = min(1 << (size - 1).bit_length(), self.step)
        self._item = np.dtype(f"V{size}")
        pad = windows.padding
        self._wide = np.zeros((shape[0], shape[1] + 2 * pad, shape[2] + 2 * pad, shape[3]), np.uint8)
        self._inside = self._wide[:, pad : pad + shape[1], pad : pad + shape[2]]
        self._values = np.zeros((h, w, round_up(t, cores), 8 * size), np.uint8)
        self._places = max(1, CHUNK // (8 * size))  # of a chunk
        self._masked = np.empty((min(self._places, h * w * self._values.shape[2]), 8 * size), np.uint8)

    def __call__(self, clip: Array, out: Bytes | None = None) -> Bytes:
        """Words of a clip. ``out`` is what an earlier call has returned, to be filled again.

        Raises
        ------
        PackingError
            If a value does not fit.
        """
        self.fold(clip)
        return self.pack(out)

    def fold(self, clip: Array) -> Bytes:
        """Windows [H', W', T', C'] of a clip, each with row, column and channel as one axis, behind it some zeros.

        They are good until the next call.

        Raises
        ------
        PackingError
            If a value does not fit.
        """
        if clip.dtype != np.uint8 or clip.shape != self._inside.shape:
            raise PackingError(f"a clip of {clip.dtype} {list(clip.shape)}, not uint8 {list(self._inside.shape)}")
        if self.planes < 8 and clip.size and clip.max() >> self.planes:
            raise PackingError(f"values up to {clip.max()} do not fit {self.planes} bit planes")
        kernel, stride, padding = self.windows
        if padding:
            self._inside[...] = clip
        wide = self._wide if padding else np.ascontiguousarray(clip)
        in_t, in_y, in_x, _ = wide.strides
        row = np.dtype(f"V{kernel * in_x}")  # of a window: in one piece in the clip as it is here
        for i in range(kernel):
            size = *self._values.shape[:2], len(clip)
            source = np.ndarray(size, row, wide, i * in_y, (stride * in_y, stride * in_x, in_t))
            target = np.ndarray(source.shape, row, self._values, i * row.itemsize, self._values.strides[:3])
            target[...] = source
        return self._values

    def pack(self, out: Bytes | None = None) -> Bytes:
        """Words of the clip that was folded last; ``out`` as above."""
        values = self._values.reshape(-1, self._values.shape[3])
        if out is None:
            out = np.zeros(len(values) * self.planes * self.step, np.uint8)
        planes = np.ndarray((len(values), self.planes), self._item, out, 0, (self.planes * self.step, self.step))
        for begin in range(0, len(values), self._places):
            chunk = values[begin : begin + self._places]
            masked = self._masked[: len(chunk)]
            for i in range(self.planes):
                np.bitwise_and(chunk, 1 << i, out=masked)
                planes[begin : begin + len(chunk), i] = np.packbits(masked, bitorder="little").view(self._item)
        return out
