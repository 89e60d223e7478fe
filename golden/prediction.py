"""What a float or quantised network says of clips."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from golden.examples import Examples
from golden.models.network import Network, as_input


@torch.no_grad()
def predict(net: Network, examples: Examples, batch: int = 32) -> Tensor:
    """Logits [N, classes] of all clips; the network is in eval mode afterwards."""
    net.eval()
    parts, device = [], next(net.parameters()).device
    for i in range(0, len(examples), batch):
        inputs = np.stack([examples.see(j, None).x for j in range(i, min(i + batch, len(examples)))])
        parts.append(net(as_input(inputs, net.config.encoding).to(device)).float().cpu())
    return torch.cat(parts)
