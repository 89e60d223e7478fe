"""How the tensors of a model lie on chip, with those that a layer needs only for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from golden.spec.config import Config
from golden.spec.model import Layer, Model, Shape
from sw.packing import Array, round_up


@dataclass(frozen=True)
class SpikeTensor:
    """How a spike tensor (or the input) lies in the banks: ``planes`` bits a value, ``words`` words a plane.

    It is ``copies`` pictures of so many words, one behind the other: of a tensor in pieces (`Layouts.pieces`) one for each word.
    """

    shape: Shape
    planes: int
    words: int
    steps: int
    copies: int = 1

    @property
    def step_words(self) -> int:
        """Bank words of one time step of one position."""
        return self.planes * self.words

    @property
    def x_stride(self) -> int:
        """Bank words of one position."""
        return self.steps * self.step_words

    @property
    def y_stride(self) -> int:
        """Bank words of one row of positions."""
        return self.shape[2] * self.x_stride

    @property
    def bank_words(self) -> int:
        """Words of the whole tensor in one bank."""
        return self.copies * self.shape[1] * self.y_stride


@dataclass(frozen=True)
class Layouts:
    """Where every tensor of a model has its values, for one configuration.

    Parameters
    ----------
    model : Model
    config : Config
    pieces : frozenset of str
        Spike tensors that lie in pieces, word by word, since layers that read them channel by channel need no more at a time.
    head_rows : int
        Rows of its input that the head reads at a time; 0: all.
    """

    model: Model
    config: Config
    pieces: frozenset[str] = frozenset()
    head_rows: int = 0

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Of all tensors by name."""
        return self.model.shapes()

    @cached_property
    def highs(self) -> dict[str, int]:
        """Largest value of every spike tensor by name."""
        return self.model.highs()

    def spikes(self, name: str) -> SpikeTensor:
        """Layout of a spike tensor of the model."""
        words = -(-self.shapes[name][3] // self.config.word)
        layout = self._spikes(self.shapes[name], self.highs[name].bit_length(), words)
        return replace(layout, words=1, copies=words) if name in self.pieces else layout

    def _spikes(self, shape: Shape, planes: int, words: int) -> SpikeTensor:
        return SpikeTensor(shape, planes, words, shape[0] // self.config.cores)

    def like(self, layer: Layer, planes: int) -> SpikeTensor:
        """Layout of spikes of a layer's output shape, of ``planes`` bits a value."""
        shape = self.out_shape(layer)
        return self._spikes(shape, planes, -(-shape[3] // self.config.word))

    def out_shape(self, layer: Layer) -> Shape:
        """Shape of what a layer makes; of a head, of its logits."""
        return self.shapes[layer.u_out or layer.spike_out or layer.name]

    def source(self, layer: Layer) -> tuple[str, SpikeTensor, Array]:
        """What a ``conv`` or a ``head`` reads: the name and the layout of one tensor, and the bit of each input channel.

        Several inputs, or larger pictures, are copied into a tensor of the layer's own first. There each input begins with a
        word of its own, and the bits between them are 0.
        """
        parts = [self.spikes(x) for x in layer.inputs]
        first = parts[0]
        if len(parts) == 1 and layer.upsample == 1:
            return layer.inputs[0], first, np.arange(first.shape[3])
        words = np.cumsum([0, *(x.words for x in parts)])
        bits = np.concatenate([w * self.config.word + np.arange(x.shape[3]) for w, x in zip(words[:-1], parts, strict=True)])
        t, h, w, _ = first.shape
        shape = (t, h * layer.upsample, w * layer.upsample, len(bits))
        return f"input of {layer.name}", self._spikes(shape, max(x.planes for x in parts), int(words[-1])), bits

    def gate(self, layer: Layer) -> tuple[str, SpikeTensor]:
        """The second tensor of a ``mask``, with a bit for every value of the first; of the layer's own if the model's has not."""
        a, b = layer.inputs
        own = self.shapes[a] != self.shapes[b]
        return (f"gate of {layer.name}", self.spikes(a)) if own else (b, self.spikes(b))


def residual_beats(shape: Shape, config: Config) -> int:
    """Beats of residual memory of a residual tensor."""
    t, h, w, c = shape
    return t * h * w * round_up(c, config.lanes) // config.neuron_lanes


def logit_beats(classes: int, config: Config) -> int:
    """Beats of residual memory of the logits, which take 32 bits."""
    return 2 * round_up(classes, config.lanes) // config.neuron_lanes


def chunks(total: int, size: int) -> Sequence[range]:
    """0 to ``total`` in ranges of at most ``size``."""
    return [range(first, min(first + size, total)) for first in range(0, total, size)]
