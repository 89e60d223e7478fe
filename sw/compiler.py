"""Model and configuration to a bundle: programs, weights and parameters as one image, and the manifest that explains it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from golden.spec.config import Config
from golden.spec.model import INPUT
from sw import support
from sw.bundle import Bundle, Manifest
from sw.fields import Pass
from sw.model_file import ModelFile
from sw.packing import Bytes, round_up
from sw.program import ALIGN, ProgramBuilder


def compile_model(source: ModelFile, config: Config) -> Bundle:
    """Compile a model for one configuration.

    Raises
    ------
    UnsupportedError
        If the machine cannot run it, with every reason.
    """
    model = source.model
    plan = support.check(model, source.tensors, config)
    images, offsets = _lay_out([part for stage in plan.stages for part in stage.passes])
    run, trace = (ProgramBuilder(plan, offsets, traced) for traced in (False, True))
    sizes = [run.size, trace.size, images.size]
    starts = [0, run.size, run.size + trace.size, sum(sizes)]
    image = np.concatenate([run.image(*starts[2:]), trace.image(*starts[2:]), images])
    words = plan.layouts.spikes(INPUT)
    manifest = Manifest(
        preset=config.name, config=config.digest, model=source.digest, name=model.name, classes=model.classes,
        encoding=asdict(model.encoding), planes=model.planes, cores=config.cores, lanes=config.lanes,
        neuron_lanes=config.neuron_lanes, word=config.word, peak_sop=config.peak_sop,
        input_bytes=words.bank_words * config.cores * config.word // 8, spill_bytes=plan.spill_bytes, records=not config.lean,
        programs={"run": run.program(starts[0]), "trace": trace.program(starts[1])},
    )
    return Bundle(manifest, image)


def _lay_out(parts: list[Pass]) -> tuple[Bytes, dict[int, tuple[int, int]]]:
    """All weight and parameter images end to end, equal ones once, and the offsets of those of every pass."""
    pieces: list[Bytes] = []
    known: dict[bytes, int] = {}
    at = 0

    def offset(data: Bytes) -> int:
        nonlocal at
        key = data.tobytes()
        if key not in known:
            known[key] = at
            pieces.append(np.zeros(round_up(data.size, ALIGN), np.uint8))
            pieces[-1][: data.size] = data
            at += pieces[-1].size
        return known[key]

    offsets = {id(part): (offset(part.weights), offset(part.parameters)) for part in parts}
    return np.concatenate(pieces), offsets
