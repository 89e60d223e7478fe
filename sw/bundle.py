"""The compiled artefact: one safetensors file with the image for segment 0 and a JSON manifest, fully checked on reading."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save_file

from golden.spec import descriptor
from golden.spec.descriptor import DescriptorError
from golden.spec.model import Encoding
from sw.clips import ClipPacker
from sw.packing import Bytes, round_up
from sw.windows import Windows

FORMAT = 6
SPIKES, RESIDUAL, LOGITS = "spikes", "residual", "logits"


class BundleError(ValueError):
    """A bundle that is missing, damaged or inconsistent."""


@dataclass(frozen=True)
class Tensor:
    """Where a program stores a tensor of a layer: ``kind`` (the layout), shape [T, H, W, C], offset and bytes in segment 2.

    ``parts`` are the bit planes of a spike, or the numbers whose sum is a logit; of residual values there is one. Spikes may
    lie in ``pieces``, each with its share of the words of channels. Of those with gaps, ``place_words`` of a place are stored of
    each bank in turn, ``[place][core][bank word]``; 0: there are no gaps.
    """

    layer: str
    kind: str
    shape: tuple[int, int, int, int]
    offset: int
    size: int
    parts: int
    pieces: int
    place_words: int = 0


@dataclass(frozen=True)
class Step:
    """One descriptor: opcode, layer it belongs to; one of its adds is ``sop_num / sop_den`` synaptic operations."""

    opcode: str
    layer: str
    sop_num: int
    sop_den: int


@dataclass(frozen=True)
class Program:
    """One program of the image: offset of its first descriptor, bytes of its results, descriptors, stored tensors."""

    offset: int
    result_bytes: int
    steps: tuple[Step, ...]
    tensors: dict[str, Tensor]

    @property
    def result(self) -> str:
        """Name of the tensor that every program stores, at offset 0: the logits, or residual values."""
        return next(name for name, x in self.tensors.items() if x.offset == 0)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the driver must know of a bundle; digests name the configuration and the model it was made from."""

    preset: str
    config: str
    model: str
    name: str
    classes: tuple[str, ...]
    encoding: dict[str, Any]
    planes: int
    cores: int
    lanes: int
    neuron_lanes: int
    word: int
    peak_sop: int
    windows: Windows  #: of a clip, that the input consists of
    input_bytes: int
    spill_bytes: int  #: behind the image, for tensors that come and go
    records: bool  #: the machine leaves a statistics record of each descriptor
    programs: dict[str, Program]

    @cached_property
    def video(self) -> Encoding:
        """How a clip becomes the input tensor."""
        return Encoding(**self.encoding)

    def packer(self) -> ClipPacker:
        """Makes clips the words that are loaded."""
        return ClipPacker(self.video.shape, self.windows, self.word, self.planes, self.cores)


@dataclass(frozen=True)
class Bundle:
    """A manifest and the image of segment 0."""

    manifest: Manifest
    image: Bytes = field(repr=False)

    def descriptors(self, name: str) -> Iterator[dict[str, int]]:
        """Fields of every descriptor of a program, END included.

        Raises
        ------
        DescriptorError
            If one is damaged.
        """
        program = self.manifest.programs[name]
        end = program.offset + len(program.steps) * descriptor.BYTES
        words = self.image[program.offset : end].copy().view("<u4").reshape(-1, descriptor.WORDS)
        return (descriptor.decode(row) for row in words.tolist())

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises
        ------
        BundleError
            If it cannot be written.
        """
        text = json.dumps({"format": FORMAT, **asdict(self.manifest)})
        metadata = {"tandem": text, "sha256": _digest(text, self.image)}
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            save_file({"image": self.image}, str(path), metadata)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot write bundle '{path}': {error}") from error


def _digest(text: str, image: Bytes) -> str:
    return hashlib.sha256(text.encode() + b"\0" + image.tobytes()).hexdigest()


def load(path: str | Path) -> Bundle:
    """Read and check a bundle.

    Raises
    ------
    BundleError
        If the file is missing, truncated, damaged anywhere, or not a bundle of this format.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read bundle '{path}': {error.strerror}") from error
    try:
        tensors = load_safetensors(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header.get("__metadata__") or {}
    except (SafetensorError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise BundleError(f"'{path}' is damaged or no bundle: {error}") from error
    if "tandem" not in metadata or set(tensors) != {"image"}:
        what = "it is a model file: compile it first" if "model" in metadata else "it has no manifest and image"
        raise BundleError(f"'{path}' is no bundle: {what}")
    image = tensors["image"]
    text = str(metadata["tandem"])
    if metadata.get("sha256") != _digest(text, image):
        raise BundleError(f"'{path}' is damaged: its content does not match its SHA-256")
    try:
        fields = json.loads(text)
        version = fields.pop("format")
        if version != FORMAT:
            raise BundleError(f"'{path}' has bundle format {version}, this software reads {FORMAT}: compile the model again")
        bundle = Bundle(_manifest(fields), image)
        _check(bundle)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"'{path}' has a manifest that does not fit this software: {error}") from error
    return bundle


def _manifest(fields: dict[str, Any]) -> Manifest:
    programs = {
        name: Program(
            program["offset"], program["result_bytes"], tuple(Step(**step) for step in program["steps"]),
            {key: Tensor(**{**value, "shape": tuple(value["shape"])}) for key, value in program["tensors"].items()},
        )
        for name, program in fields["programs"].items()
    }
    others = {"programs": programs, "classes": tuple(fields["classes"]), "windows": Windows(*fields["windows"])}
    return Manifest(**{**fields, **others})


def _check_input(manifest: Manifest) -> None:
    """The windows make as many bytes of a clip as the manifest says."""
    if not all(type(x) is int and x >= least for x, least in zip(manifest.windows, (1, 1, 0), strict=True)):
        raise BundleError(f"windows of {list(manifest.windows)}")
    t, h, w, c = manifest.windows.shape(manifest.video.shape)
    size = t * h * w * manifest.planes * round_up(c, manifest.word) // 8
    if min(h, w) < 1 or size != manifest.input_bytes:
        raise BundleError(f"an input of {manifest.input_bytes} bytes, of windows of {list(manifest.windows)}")


def _check(bundle: Bundle) -> None:
    """Every descriptor decodes and is what the manifest says, and none writes over the image."""
    if bundle.image.dtype != np.uint8 or bundle.image.ndim != 1:
        raise BundleError(f"the image is {bundle.image.dtype} {list(bundle.image.shape)}, not bytes")
    if set(bundle.manifest.programs) != {"run", "trace"}:
        raise BundleError(f"programs {sorted(bundle.manifest.programs)}, not run and trace")
    _check_input(bundle.manifest)
    spill = range(bundle.image.size, bundle.image.size + bundle.manifest.spill_bytes)
    for name, program in bundle.manifest.programs.items():
        end = program.offset + len(program.steps) * descriptor.BYTES
        if program.offset % descriptor.BYTES or end > bundle.image.size:
            raise BundleError(f"program '{name}', bytes {program.offset} to {end}, exceeds the image of {bundle.image.size}")
        found = bundle.descriptors(name)
        for i, step in enumerate(program.steps):
            try:
                fields = next(found)
            except DescriptorError as error:
                raise BundleError(f"program '{name}', descriptor {i}: {error}") from error
            opcode = descriptor.Opcode(fields["opcode"]).name.lower()
            if opcode == "store" and fields["segment"] == 0:
                size = fields["count"] * (2 * bundle.manifest.neuron_lanes if fields["space"] else bundle.manifest.word // 8)
                if fields["offset"] < spill.start or fields["offset"] + size > spill.stop:
                    raise BundleError(f"program '{name}', descriptor {i} stores {size} bytes at {fields['offset']} of segment 0, "
                                      f"outside {spill.start}..{spill.stop}, which are for that")
            if opcode != step.opcode:
                raise BundleError(f"program '{name}', descriptor {i} is '{opcode}', the manifest says '{step.opcode}'")
        if not any(x.offset == 0 for x in program.tensors.values()):
            raise BundleError(f"program '{name}' stores no result")
