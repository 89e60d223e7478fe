"""Reading a model file on the host: graph and integers, with no use of the golden model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from golden.spec.model import Model, ModelError, model_digest
from sw.packing import Array


@dataclass(frozen=True)
class ModelFile:
    """A graph, its tensors by name, and the digest of both."""

    model: Model
    tensors: dict[str, Array]

    @property
    def digest(self) -> str:
        """What a bundle records of the model it was compiled from."""
        return model_digest(self.model.to_json(), {name: _little_endian(value) for name, value in self.tensors.items()})


def _little_endian(value: Array) -> bytes:
    return value.astype(value.dtype.newbyteorder("<")).tobytes()


def read_model(path: str | Path) -> ModelFile:
    """Read a model file.

    Raises
    ------
    ModelError
        If the file is missing or damaged or its graph is inconsistent. Whether a machine can run it, and whether the
        tensors are those of the graph, is for `sw.support` to say, for all layers at once.
    """
    if not Path(path).is_file():
        raise ModelError(f"no model file '{path}'")
    try:
        with safe_open(str(path), framework="numpy") as file:
            text = (file.metadata() or {}).get("model")
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise ModelError(f"cannot read model file '{path}': {error}") from error
    if text is None:
        raise ModelError(f"'{path}' is no model file: metadata key 'model' is missing")
    return ModelFile(Model.from_json(text), tensors)
