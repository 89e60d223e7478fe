"""Grey frames to the network's input tensor, by the encoding recorded in a model file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.spec.model import Encoding


def encode(frames: NDArray[np.uint8], encoding: Encoding) -> NDArray[np.uint8]:
    """Input tensor of a clip: patches become channels, the previous frame follows the current one.

    Parameters
    ----------
    frames : [..., T, height, width] uint8
        Luma; leading axes are a batch.
    encoding : Encoding
        Of the model.

    Returns
    -------
    [..., T, H, W, C] uint8
        Channel ``(frame * patch + row) * patch + column``; the first frame is its own predecessor.
    """
    p = encoding.patch
    *batch, t, height, width = frames.shape
    if (t, height, width) != (encoding.timesteps, encoding.height, encoding.width):
        raise ValueError(f"frames are {t} x {height} x {width}, not {encoding.timesteps} x {encoding.height} x {encoding.width}")
    previous = np.concatenate([frames[..., :1, :, :], frames[..., :-1, :, :]], axis=-3)
    stack = np.stack([frames, previous][: encoding.frames], axis=-3)  # [..., T, F, height, width]
    tiles = stack.reshape(*batch, t, encoding.frames, height // p, p, width // p, p)
    n = len(batch)
    tiles = np.transpose(tiles, (*range(n), n, n + 2, n + 4, n + 1, n + 3, n + 5))
    return np.ascontiguousarray(tiles.reshape(*batch, t, height // p, width // p, encoding.frames * p * p))
