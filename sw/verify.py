"""Layer-by-layer comparison of a traced run with what it must be, and a report of the first difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from golden.spec.config import preset
from sw.bundle import Bundle, Manifest
from sw.driver import Driver
from sw.model_file import ModelFile
from sw.packing import Array


@dataclass(frozen=True)
class Divergence:
    """The first value that differs, in order of execution, then time, position and channel."""

    layer: str
    tensor: str
    place: tuple[int, int, int, int]  #: t, y, x, channel
    found: int
    expected: int
    different: int
    size: int


@dataclass(frozen=True)
class Report:
    """Outcome of a comparison over ``layers`` layers, of which ``equal`` have nothing but equal tensors."""

    layers: int
    equal: int
    first: Divergence | None

    @property
    def exact(self) -> bool:
        """Whether every bit is equal."""
        return self.equal == self.layers

    def text(self, replay: str) -> str:
        """Lines to print; ``replay`` is the command that shows the difference again."""
        lines = [f"bit-exact: {self.equal}/{self.layers} layers"]
        if self.first:
            f = self.first
            t, y, x, c = f.place
            lines += [
                f"first difference: layer '{f.layer}', tensor '{f.tensor}', t {t}, y {y}, x {x}, channel {c}: "
                f"{f.found}, expected {f.expected} ({f.different} of {f.size} values of this tensor differ)",
                f"replay: {replay}",
            ]
        return "\n".join(lines)


def expect(bundle: Bundle, source: ModelFile | None, clip: Array) -> Mapping[str, Array]:
    """What every tensor must be: of the integer golden model, or, where there is only a bundle, of it on the golden device."""
    from sw.device.golden import GoldenDevice, reference

    if source is not None:
        return reference(source, clip)
    driver = Driver(GoldenDevice(preset(bundle.manifest.preset)))
    driver.load(bundle)
    return driver.trace(clip).tensors


def compare(manifest: Manifest, found: Mapping[str, Array], expected: Mapping[str, Array]) -> Report:
    """Compare every tensor of a traced run with its expected value, bit for bit."""
    tensors = manifest.programs["trace"].tensors
    wrong: set[str] = set()
    first = None
    order = sorted(tensors, key=lambda x: tensors[x].offset)
    for name in [*order[1:], order[0]]:  # in order of execution; the result lies at offset 0
        different = found[name].astype(np.int64) != expected[name]
        if different.any():
            wrong.add(tensors[name].layer)
            if first is None:
                at = t, y, x, c = tuple(int(i) for i in np.argwhere(different)[0])
                values = int(found[name][at]), int(expected[name][at])
                first = Divergence(tensors[name].layer, name, (t, y, x, c), *values, int(different.sum()), different.size)
    layers = len({x.layer for x in tensors.values()})
    return Report(layers, layers - len(wrong), first)
