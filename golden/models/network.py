"""What all networks share: input, taps, folding of batch norm, export to the integer model."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from golden.models.graph import Node, Recorder, layer_name
from golden.models.parts import Head, Parts, full_scale
from golden.models.synapses import Quantisation, QuantSynapse
from golden.spec.encoding import Encoding
from golden.spec.model import HEAD, Layer, Model, ModelError


class Network(nn.Module):
    """A spiking network; a subclass makes its modules of ``self.parts`` and says in `run` how they follow each other.

    Parameters
    ----------
    config : SVFormerConfig or SpikeVideoFormerConfig
        Sizes and kinds.
    quant : Quantisation, optional
        None: float.

    Raises
    ------
    ModelError
        If it shall be quantised and has parts that the integer contract cannot express.
    """

    skip = 0  #: modules in front that are not run, since the input is what they made; see `golden.frozen`

    def __init__(self, config: Any, quant: Quantisation | None = None):
        super().__init__()
        if quant and (reasons := config.obstacles()):
            raise ModelError(f"'{config.name}' cannot be quantised; take a configuration without: " + "; ".join(reasons))
        self.config, self.quant = config, quant
        self.parts = Parts(encoding=config.encoding, neuron_config=config.neuron, per_step=config.per_step, quant=quant)

    def run(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of clips [T, B, C, H, W]."""
        raise NotImplementedError

    def forward(self, x: Tensor, taps: dict[str, Tensor] | None = None) -> Tensor:
        """Logits [B, classes] of encoded clips [T, B, C, H, W], see `as_input`.

        ``taps`` receives every tensor that the graph names.
        """
        x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)  # channels innermost: convolutions are twice as fast
        if taps is None:
            return self.run(x)

        def tap(name: str, node: Node, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if node.tap is not None:
                taps[name + node.tap] = output

        return self.watch(x, tap)

    def nodes(self) -> dict[str, Node]:
        """Nodes by the name of the layer or tensor that they make."""
        return {layer_name(path): module for path, module in self.named_modules() if isinstance(module, Node)}

    def watch(self, x: Tensor, see: Any) -> Tensor:
        """Run while ``see(name, node, inputs, output)`` is called after every node."""
        handles = [
            node.register_forward_hook(lambda node, inputs, output, name=name: see(name, node, inputs, output))
            for name, node in self.nodes().items()
        ]
        try:
            return self.run(x)
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def layers(self) -> tuple[Layer, ...]:
        """The fused layers of a quantised network, as the passage of an empty clip shows them."""
        t, h, w, c = self.config.encoding.shape
        x = torch.zeros(t, 1, c, h, w, device=next(self.parameters()).device)
        recorder = Recorder(x)
        self.watch(x, lambda name, node, inputs, output: node.record(recorder, name, inputs, output))
        return recorder.result()

    @cached_property
    def recorded(self) -> tuple[Layer, ...]:
        """The layers at first use: names and kinds are those of ever after, learned constants may not be."""
        return self.layers()

    def constrain(self) -> None:
        """Keep weights within the range of their quantisation; call it after each step of the optimiser."""
        for node in self.modules():
            if isinstance(node, (QuantSynapse, Head)):
                node.constrain()


N = TypeVar("N", bound=Network)


def as_input(x: np.ndarray, encoding: Encoding) -> Tensor:
    """Encoded clips [B, T, H, W, C] uint8 as networks take them, [T, B, C, H, W] float: pixels / 256, or counts.

    Floats are what a network's first modules have made of clips, and stay as they are.
    """
    clips = torch.from_numpy(x).transpose(0, 1).contiguous().permute(0, 1, 4, 2, 3).float()
    return clips if np.issubdtype(x.dtype, np.floating) else clips.div_(full_scale(encoding))


@torch.no_grad()
def fold(net: N, quant: Quantisation) -> N:
    """The quantised network that starts from a trained float network: batch norms folded into weights and biases."""
    result = type(net)(net.config, quant)
    targets = result.nodes()
    for name, node in net.nodes().items():
        if parts := node.folded():
            targets[name].load(*parts)
    return result


@torch.no_grad()
def export(net: Network, card: dict[str, str]) -> tuple[Model, dict[str, np.ndarray]]:
    """Graph and integer tensors of a quantised network; ``card`` says what made it.

    Raises
    ------
    ModelError
        If the network is not quantised, or its graph breaks a rule.
    """
    if net.quant is None:
        raise ModelError(f"'{net.config.name}' is a float network; fold it first")
    net.eval()
    nodes, config = net.nodes(), net.config
    graph = Model(name=config.name, encoding=config.encoding, u_frac=net.quant.u_frac, u_bits=net.quant.u_bits,
                  classes=config.classes, layers=net.layers(), card=card)
    tensors = {
        f"{layer.name}.{part}": value for layer in graph.layers for part, value in nodes[layer.name].integers(layer).items()
    }
    return graph, tensors


@torch.no_grad()
def as_integers(net: Network, taps: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors of a quantised forward pass in the integer model's units, [B, T, H, W, C] each and logits [B, O]."""
    assert net.quant
    nodes: dict[str, Any] = dict(net.nodes())
    result = {}
    for layer in net.recorded:
        if layer.op == HEAD:
            result[layer.name] = np.rint((taps[layer.name] / nodes[layer.name].unit()).cpu().numpy()).astype(np.int32)
        for name, scale in ((layer.u_out, net.quant.grid), (layer.spike_out, 1.0)):
            if name:
                result[name] = np.rint((taps[name] * scale).permute(1, 0, 3, 4, 2).cpu().numpy()).astype(np.int32)
    return result
