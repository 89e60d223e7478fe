"""The input as the first layer's windows see it, laid out so by the host: fewer words, no halo, and a 1x1 convolution is left.

Six channels of 112x112 pixels fill a tenth of their words of 64; the 3x3 windows of stride 2 on them are 54 channels of 56x56.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from golden.spec.config import Config
from golden.spec.model import CONV, INPUT, Model, Shape
from sw.packing import Array


class Windows(NamedTuple):
    """Windows of ``kernel`` x ``kernel`` places, every ``stride`` places, with zero padding; by default every place."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0

    def shape(self, shape: Shape) -> Shape:
        """Of all windows of a tensor [T, H, W, C], row, column and channel of a window as one axis."""
        t, h, w, c = shape
        k, stride, padding = self
        return t, (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1, c * k * k


def unfold(model: Model, tensors: Mapping[str, Array], config: Config) -> tuple[Model, Mapping[str, Array], Windows]:
    """The same network on windows of its input, where these take less memory: as if they were patches of a larger picture.

    Parameters
    ----------
    model : Model
        The network.
    tensors : mapping
        Of the model.
    config : Config
        For its words.

    Returns
    -------
    Model and tensors with a 1x1 convolution in place of the layer that reads the input, and the windows; or all as it is.
    """
    first, *others = [x for x in model.layers if INPUT in x.inputs]
    weight = tensors.get(f"{first.name}.weight")
    if others or first.op != CONV or len(first.inputs) > 1 or first.groups > 1 or first.upsample > 1 or weight is None:
        return model, tensors, Windows()
    windows, shape = Windows(first.kernel, first.stride, first.padding), model.encoding.shape
    seen = windows.shape(shape)
    words = [h * w * -(-c // config.word) for _, h, w, c in (shape, seen)]
    if words[1] >= words[0] or weight.shape != first.weight_shape(model.shapes()):
        return model, tensors, Windows()
    patch = model.encoding.patch * first.kernel
    encoding = replace(model.encoding, height=seen[1] * patch, width=seen[2] * patch, patch=patch)
    layers = tuple(replace(x, kernel=1, stride=1, padding=0) if x == first else x for x in model.layers)
    flat = {f"{first.name}.weight": weight.transpose(0, 2, 3, 1).reshape(len(weight), -1, 1, 1)}
    return replace(model, encoding=encoding, layers=layers), {**tensors, **flat}, windows
