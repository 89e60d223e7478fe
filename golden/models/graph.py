"""One definition of a network for float, quantised training and export: nodes, and a recorder that watches a forward pass.

A network is made of nodes (synapses, neurons, attention products, masks, additions). What is exported is what ran: hooks
on the nodes write the fused layers of `golden.spec.model` while one clip passes, so there is no second description.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from golden.spec.model import INPUT, Layer, ModelError

#: Modules whose name is left out of the names of layers: ``chain.g0.attention.mix.q.layer`` makes layer ``g0.q``.
HIDDEN = frozenset({"chain", "layer", "mix", "attention", "mlp"})


class Node(nn.Module):
    """A module that makes a layer of the graph, or a part of one. Activations are [T, B, C, H, W]."""

    #: What is appended to the node's name to name its output tensor; None: the graph does not name it.
    tap: str | None = ""

    def record(self, recorder: Recorder, name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Tell the recorder what has just been computed."""
        raise NotImplementedError

    def folded(self) -> tuple[Tensor, ...]:
        """What the quantised node of the same name loads; nothing where there is nothing to learn."""
        return ()

    @torch.no_grad()
    def load(self, *parts: Tensor) -> None:
        """Begin with what the float node has folded into."""
        raise NotImplementedError

    def integers(self, layer: Layer) -> dict[str, np.ndarray]:
        """Stored tensors of the layer that the node made: weight, bias, shift; none of a node that joins another's layer."""
        return {}


class Recorder:
    """Writes the graph of a forward pass. Tensors are known by identity, and kept so that no other takes their place."""

    def __init__(self, x: Tensor):
        self.layers: list[dict[str, Any]] = []
        self.made: dict[int, dict[str, Any]] = {}  # by tensor: the layer whose X or U it is
        self.named: dict[int, str] = {id(x): INPUT}  # by tensor: name of the spikes
        self.kept = [x]

    def spikes(self, x: Tensor) -> str:
        """Name of a spike tensor."""
        if id(x) not in self.named:
            raise ModelError(f"{self.where(x)} is read by a layer, but is no spike tensor: a neuron is missing in between")
        return self.named[id(x)]

    def maker(self, x: Tensor) -> dict[str, Any]:
        """Layer that makes the X or U that a neuron or an addition reads."""
        if id(x) not in self.made:
            raise ModelError("a neuron or an addition reads a tensor that is neither a layer's sum nor a residual tensor")
        return self.made[id(x)]

    def where(self, x: Tensor) -> str:
        """What a tensor is, for errors."""
        return f"the output of '{self.made[id(x)]['name']}'" if id(x) in self.made else "a tensor that no node has made"

    def layer(self, output: Tensor, **fields: Any) -> None:
        """A new layer; ``output`` is what it accumulates, or its spikes where it names them."""
        self.layers.append(fields)
        self.kept.append(output)
        if fields.get("spike_out"):
            self.named[id(output)] = fields["spike_out"]
        else:
            self.made[id(output)] = fields

    def neuron(self, name: str, x: Tensor, output: Tensor, constants: dict[str, Any]) -> None:
        """Neurons on X or U: part of the layer that makes it. Equal neurons on the same tensor are the same neurons."""
        layer = self.maker(x)
        if "spike_out" not in layer:
            layer.update(spike_out=name, **constants)
        elif any(layer[key] != value for key, value in constants.items()):
            raise ModelError(f"{self.where(x)} feeds unequal neurons, '{layer['spike_out']}' and '{name}'; a layer has one kind")
        self.kept.append(output)
        self.named[id(output)] = layer["spike_out"]

    def add(self, name: str, u: Tensor, y: Tensor, output: Tensor) -> None:
        """U + y: part of the layer that makes y."""
        layer, residual = self.maker(y), self.maker(u)["u_out"]
        if not residual:
            raise ModelError(f"'{name}' adds to {self.where(u)}, which begins no residual stream")
        layer.update(residual=residual, u_out=name)
        self.kept.append(output)
        self.made[id(output)] = layer

    def result(self) -> tuple[Layer, ...]:
        """The layers; a residual tensor that was added and that nobody reads is not kept."""
        read = {layer.get("residual") for layer in self.layers}
        for layer in self.layers:
            if layer.get("residual") and layer["u_out"] not in read:
                layer["u_out"] = ""
        return tuple(Layer(**layer) for layer in self.layers)


def layer_name(path: str) -> str:
    """Name of the layer or tensor of the module at ``path``."""
    return ".".join(part for part in path.split(".") if part not in HIDDEN)
