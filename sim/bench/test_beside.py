"""The whole machine in Verilator with all units at work at once, against the functional machine: every word that is stored.

A compiled program that stores every tensor, mixed with LOADs and STOREs of a part of the scratchpad that it leaves alone; any of
them, and any LINEAR and HAMMING, run beside what follows wherever the functional machine finds no hazard.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from golden.integer.random_model import random_clip, random_model
from golden.spec import registers
from golden.spec.config import Config, preset
from golden.spec.descriptor import BYTES, Opcode, encode
from golden.spec.model import Encoding
from golden.spec.registers import REGISTERS, SLOT_STATES, STATISTICS, STATISTICS_BYTES
from sim.device.build import build
from sim.lib.runner import seed
from sw import packing
from sw.bundle import Bundle
from sw.compiler import compile_model
from sw.device.base import Device
from sw.device.golden import GoldenDevice
from sw.device.hazards import HazardError
from sw.device.sim import SimDevice
from sw.model_file import ModelFile
from sw.results import spans

Fields = dict[str, int]
SEGMENTS = (0, 1 << 24, 2 << 24, 3 << 24)
EXTRA = 1 << 20  #: offset in the segments of clip and results from which the moves in between read and write
ENCODING = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


def mixed(bundle: Bundle, config: Config, rng: np.random.Generator) -> list[Fields]:
    """The program ``trace``, other moves between its descriptors, and flags at random; first all of the scratchpad is filled."""
    spare = {0: (config.spike_words - 640, 640), 1: (config.u_beats - 256, 256)}  # first address and size
    sizes = {0: config.spike_words * config.cores, 1: config.u_beats}
    program: list[Fields] = [{
        "opcode": int(Opcode.LOAD), "space": space, "count": sizes[space], "step_stride": 1, "base": 0, "segment": 1,
        "offset": EXTRA, "beside": 1 - space,
    } for space in sizes]
    for d in bundle.descriptors("trace"):
        for _ in range(rng.integers(0, 3)):
            space = int(rng.integers(2))
            first, size = spare[space]
            stride, count = int(rng.integers(1, 40)), int(rng.integers(1, size // 2))
            program.append({
                "opcode": int(rng.choice([Opcode.LOAD, Opcode.STORE])), "space": space, "count": count, "step_stride": stride,
                "base": first + int(rng.integers(0, size // 2 - stride)), "offset": EXTRA + 0x10000 * len(program),
                "beside": int(rng.random() < 0.8),
            })
            program[-1]["segment"] = 1 if program[-1]["opcode"] == Opcode.LOAD else 2
        program.append(d | {"beside": int(rng.random() < 0.5)})
    return program


def run(device: Device, bundle: Bundle, program: list[Fields], clip: np.ndarray, extra: bytes) -> tuple[bytes, np.ndarray]:
    """Results and statistics records [descriptor, word]."""
    words = [encode(Opcode(d["opcode"]), {x: d[x] for x in d if x not in ("opcode", "magic", "checksum")} | {"layer": i})
             for i, d in enumerate(program)]
    start, size = packing.round_up(bundle.image.size, BYTES), EXTRA + 0x10000 * len(program)
    device.write_memory(0, bundle.image.tobytes())
    device.write_memory(start, np.array(words, "<u4").tobytes())
    device.write_memory(SEGMENTS[1], bundle.manifest.packer()(clip).tobytes())
    device.write_memory(SEGMENTS[1] + EXTRA, extra)
    device.write_memory(SEGMENTS[2], bytes(size))
    for name, value in {"PROGRAM": start, "WATCHDOG": 100_000, "IRQ_ENABLE": 1, "CONTROL": registers.START,
                        **{f"SEGMENT{i}": x for i, x in enumerate(SEGMENTS)}}.items():
        if name != "CONTROL":
            device.write_register(REGISTERS[name].address, value)
    device.write_register(REGISTERS["CONTROL"].address, registers.START)
    while not device.wait_interrupt(60):
        pass
    assert device.read_register(REGISTERS["STATUS"].address) == registers.DONE
    records = np.frombuffer(device.read_memory(SEGMENTS[3], STATISTICS_BYTES * (len(program) - 1)), "<u4")
    return device.read_memory(SEGMENTS[2], size), records.reshape(len(program) - 1, -1)[:, :len(STATISTICS)]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("micro", "base")]


@pytest.mark.parametrize("name", ["small", *SLOW])
def test_units_at_once(name: str) -> None:
    start, config = seed(), preset(name)
    print(f"TANDEM_SEED={start}")
    rng = np.random.default_rng(start)
    bundle = compile_model(ModelFile(*random_model(start, ENCODING, local=16, wide=32)), config)
    clip, program = random_clip(ENCODING, rng), mixed(bundle, config, rng)
    extra = rng.bytes(0x10000 * len(program))
    while True:
        try:
            expected, counted = run(GoldenDevice(config), bundle, program, clip, extra)
            break
        except HazardError as error:
            _, earlier = re.findall(r"descriptor (\d+)", str(error))
            program[int(earlier)]["beside"] = 0
    for stall in (0, 300):
        with SimDevice(build(config, Path("build") / name), f"sim:{name}", seed=start, stall=stall) as device:
            found, records = run(device, bundle, program, clip, extra)
        assert found == expected
        named = [dict(zip(STATISTICS, row, strict=True)) for row in records.tolist()]
        for i, (record, row) in enumerate(zip(named, counted.tolist(), strict=True)):
            golden = dict(zip(STATISTICS, row, strict=True))
            assert record["layer"] == i and all(record[x] == golden[x] for x in ("adds", "results"))
            slots = config.cores * config.issue if program[i]["opcode"] == Opcode.LINEAR else 0
            assert sum(record[x] for x in SLOT_STATES) == slots * record["cycles"]
        times = spans(named, [d["beside"] for d in program])
        kinds = {(Opcode(a["opcode"]), Opcode(b["opcode"])) for (a, (_, end)), (b, (begin, _)) in zip(
            zip(program[:-1], times, strict=True), zip(program[1:], times[1:], strict=False), strict=False) if begin < end}
        assert {(Opcode.LOAD, Opcode.LINEAR), (Opcode.STORE, Opcode.LINEAR)} <= kinds, kinds
