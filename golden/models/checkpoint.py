"""Networks as files: parameters as safetensors, configuration and quantisation as JSON in the metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from golden.models.catalogue import build, config_from_json, config_to_json
from golden.models.network import Network
from golden.models.synapses import Quantisation
from golden.spec.model import ModelError


def save_checkpoint(path: Path, net: Network) -> None:
    """Parameters, configuration and quantisation (``null``: float) of a network."""
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    quant = json.dumps(asdict(net.quant) if net.quant else None)
    save_file(state, str(path), metadata={"config": config_to_json(net.config), "quant": quant})


def load_checkpoint(path: Path) -> Network:
    """Network of a checkpoint, in eval mode.

    Raises
    ------
    ModelError
        If the file is missing, damaged or of another network.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            quant = json.loads(metadata["quant"])
            net = build(config_from_json(metadata["config"]), Quantisation(**quant) if quant else None)
            net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    except Exception as error:
        raise ModelError(f"cannot read checkpoint '{path}': {error!r}") from error
    return net.eval()
