"""Programs whose descriptors run beside each other: what waits for whom, and what must not be touched meanwhile."""

import numpy as np
import pytest

from golden.spec.config import SMALL
from golden.spec.descriptor import FIELDS, Opcode
from sw.device.hazards import PARAMETERS, RESIDUAL, SPIKES, WEIGHTS, HazardError, Hazards
from sw.results import spans


def run(*program):
    """Descriptors as (opcode, flags, what they touch): (memory, address, writes), or ("image", memory, address)."""
    hazards = Hazards(SMALL)
    for number, (opcode, flags, *touched) in enumerate(program):
        d = dict.fromkeys(FIELDS, 0) | {"opcode": int(opcode)} | dict.fromkeys(flags, 1)
        hazards.begin(number, d)
        for memory, address in (x[1:] for x in touched if x[0] == "image"):
            hazards.touch(memory, np.array([address]), True)
        hazards.loaded(d)
        for memory, address, writes in (x for x in touched if x[0] != "image"):
            hazards.touch(memory, np.array([address, address + 1]), writes)
        hazards.end()


LOAD = (Opcode.LOAD, ("beside",), (SPIKES, 10, True))
USER = (SPIKES, 11, False)


@pytest.mark.parametrize("program", [
    [LOAD, (Opcode.LINEAR, ("after_move",), USER)],
    [LOAD, (Opcode.LINEAR, (), (SPIKES, 12, False)), (Opcode.LINEAR, ("after_move",), USER)],
    [LOAD, (Opcode.STORE, (), (SPIKES, 20, False)), (Opcode.LINEAR, (), USER)],  # the mover is one unit
    [(Opcode.LOAD, (), (SPIKES, 10, True)), (Opcode.LINEAR, (), USER)],
    [(Opcode.STORE, ("beside",), (SPIKES, 10, False)), (Opcode.LINEAR, (), USER)],  # both read
    [LOAD, (Opcode.LINEAR, (), (RESIDUAL, 10, True))],
    [(Opcode.HAMMING, ("beside",), (WEIGHTS, 4, True)), (Opcode.LINEAR, ("after_hamming",), (WEIGHTS, 4, False))],
    [(Opcode.LINEAR, (), (WEIGHTS, 4, False)), (Opcode.LINEAR, ("prefetch",), ("image", WEIGHTS, 6))],
    [(Opcode.LINEAR, (), (WEIGHTS, 4, False)), (Opcode.LINEAR, (), ("image", WEIGHTS, 4))],
])
def test_sound(program):
    run(*program)


@pytest.mark.parametrize("program,message", [
    ([LOAD, (Opcode.LINEAR, (), USER)],
     r"descriptor 1 \(LINEAR\) reads 1 addresses of the spike banks from 11 on, which descriptor 0 \(LOAD\) writes"),
    ([LOAD, (Opcode.LINEAR, (), (SPIKES, 12, False)), (Opcode.LINEAR, (), USER)], r"descriptor 2 .* descriptor 0 \(LOAD\)"),
    ([(Opcode.STORE, ("beside",), (RESIDUAL, 10, False)), (Opcode.LINEAR, (), (RESIDUAL, 10, True))], "writes 2 .* reads"),
    ([LOAD, (Opcode.LINEAR, ("after_hamming",), (SPIKES, 10, True))], "writes 2 addresses .* writes"),
    ([(Opcode.HAMMING, ("beside",), (PARAMETERS, 4, True)), (Opcode.LINEAR, (), (PARAMETERS, 4, False))], "parameter memory"),
    ([(Opcode.LINEAR, ("beside",), (SPIKES, 4, True)), (Opcode.HAMMING, (), (SPIKES, 4, False))], "does not wait for it"),
    ([(Opcode.LINEAR, (), (WEIGHTS, 4, False)), (Opcode.LINEAR, ("prefetch",), ("image", WEIGHTS, 5))],
     r"descriptor 1 \(LINEAR\) writes 1 addresses of the weight banks .* descriptor 0 .* prefetch"),
])
def test_found(program, message):
    with pytest.raises(HazardError, match=message):
        run(*program)


def test_spans():
    """Each descriptor follows the end of the one before, or its start where that is beside."""
    records = [{"wait": 10, "cycles": 5}, {"wait": 3, "cycles": 20}, {"wait": 1, "cycles": 50}, {"wait": 4, "cycles": 2}]
    assert spans(records, [0, 1, 0, 0]) == [(10, 15), (18, 38), (19, 69), (73, 75)]
