"""How the tensors of a model lie on chip, with those that a layer needs only for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from golden.spec.config import Config
from golden.spec.model import CONV, HEAD, Layer, Model, Shape
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
    x_gap: int = 0  #: words left out after each place
    window: int = 0  #: width of the kernel whose taps are to lie in different memories, by gaps between rows, too; 0: no gaps

    @property
    def step_words(self) -> int:
        """Bank words of one time step of one position."""
        return self.planes * self.words

    @property
    def x_stride(self) -> int:
        """Bank words of one position."""
        return self.steps * self.step_words + self.x_gap

    @property
    def y_stride(self) -> int:
        """Bank words of one row of positions, without the gap that may follow it."""
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
    gaps : bool
        Whether tensors that depthwise layers read have gaps, for their taps to be read together.
    """

    model: Model
    config: Config
    pieces: frozenset[str] = frozenset()
    head_rows: int = 0
    gaps: bool = True

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
        return self._spread(replace(layout, words=1, copies=words) if name in self.pieces else layout, self._windows.get(name, 0))

    @property
    def has_gaps(self) -> bool:
        """Whether any tensor of the model has gaps."""
        return any(self.spikes(name).window for name in self._windows)

    @cached_property
    def _windows(self) -> dict[str, int]:
        """Widest kernel with which a depthwise layer reads a tensor, by name, of tensors that may have gaps.

        That is, what a convolution makes, and only convolutions and the head read: everybody else takes words that follow each
        other, or wants two tensors to lie alike.
        """
        readers: dict[str, list[Layer]] = {}
        for layer in self.model.layers:
            for name in layer.inputs:
                readers.setdefault(name, []).append(layer)
        made = [layer.spike_out for layer in self.model.layers if layer.op == CONV and layer.spike_out]
        sound = [name for name in made if all(x.op in (CONV, HEAD) for x in readers.get(name, ()))]
        return {name: max((self._window(x) for x in readers.get(name, ()) if self._alone(x)), default=0) for name in sound}

    def _window(self, layer: Layer) -> int:
        """Width of the kernel with which a layer reads its input, if that is by channel; else 0."""
        return len(self.taps(layer)[1]) if layer.op == CONV and self.in_lanes(layer) else 0

    def _spread(self, tensor: SpikeTensor, width: int) -> SpikeTensor:
        """With gaps such that taps of a kernel of that width which follow each other lie in different memories of a bank.

        See `golden.spec.descriptor.taps_at_once`. Kernels of no more than one tap, or that are too narrow, need no gaps.
        """
        if not self.gaps or self.config.taps == 1 or not max(1, self.config.taps - 2) < width < 16:
            return tensor
        return replace(tensor, x_gap=1 - tensor.x_stride % 2, window=width)

    def _spikes(self, shape: Shape, planes: int, words: int) -> SpikeTensor:
        return SpikeTensor(shape, planes, words, -(-shape[0] // self.config.cores))

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
        bits = self._bits(layer)
        if self._alone(layer):
            return layer.inputs[0], self.spikes(layer.inputs[0]), bits
        planes = max(self.highs[x].bit_length() for x in layer.inputs)
        tensor = self._spikes(self._source_shape(layer), planes, int(bits[-1]) // self.config.word + 1)
        return f"input of {layer.name}", self._spread(tensor, self._window(layer)), bits

    def _alone(self, layer: Layer) -> bool:
        """Whether a layer reads one tensor as it is."""
        return len(layer.inputs) == 1 and layer.upsample == 1

    def _bits(self, layer: Layer) -> Array:
        """Bit of each input channel in what a layer reads."""
        channels = [self.shapes[x][3] for x in layer.inputs]
        words = np.cumsum([0, *(-(-n // self.config.word) for n in channels)])
        return np.concatenate([w * self.config.word + np.arange(n) for w, n in zip(words[:-1], channels, strict=True)])

    def _source_shape(self, layer: Layer) -> Shape:
        """Shape of what a layer reads."""
        t, h, w, _ = self.shapes[layer.inputs[0]]
        return t, h * layer.upsample, w * layer.upsample, sum(self.shapes[x][3] for x in layer.inputs)

    def in_lanes(self, layer: Layer) -> bool:
        """Whether every output channel of a ``conv`` or ``head`` sees the input channel of its own bit only."""
        bits = self._bits(layer)
        return len(bits) == layer.channels == layer.groups > 1 and bool((bits == np.arange(len(bits))).all())

    def taps(self, layer: Layer) -> tuple[range, range]:
        """Taps in y and x of a ``conv`` or ``head`` that see any place of the input; a head has one for each place."""
        shape, out = self._source_shape(layer), self.out_shape(layer)
        if layer.op == HEAD:
            return range(shape[1]), range(shape[2])
        seen = []
        for size, places in zip(shape[1:3], out[1:3], strict=True):
            starts = [o * layer.stride - layer.padding for o in range(places)]
            taps = [k for k in range(layer.kernel) if any(0 <= start + k < size for start in starts)]
            seen.append(range(taps[0], taps[-1] + 1) if taps else range(1))
        return seen[0], seen[1]

    def gate(self, layer: Layer) -> tuple[str, SpikeTensor]:
        """The second tensor of a ``mask``, with a bit for every value of the first; of the layer's own if the model's has not."""
        a, b = layer.inputs
        own = self.shapes[a] != self.shapes[b]
        return (f"gate of {layer.name}", self.spikes(a)) if own else (b, self.spikes(b))


def residual_beats(shape: Shape, config: Config) -> int:
    """Beats of residual memory of a residual tensor, with a time step of every core in each round."""
    t, h, w, c = shape
    return round_up(t, config.cores) * h * w * round_up(c, config.lanes) // config.neuron_lanes


def logit_beats(classes: int, config: Config) -> int:
    """Beats of residual memory of the logits, which take 32 bits."""
    return 2 * round_up(classes, config.lanes) // config.neuron_lanes


def chunks(total: int, size: int) -> Sequence[range]:
    """0 to ``total`` in ranges of at most ``size``."""
    return [range(first, min(first + size, total)) for first in range(0, total, size)]
