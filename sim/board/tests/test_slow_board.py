"""A lean machine's board, whose link is the program of a small processor, through the code that drives a real one."""

from __future__ import annotations

import numpy as np
import pytest

from golden.integer.random_model import random_clip, random_model
from golden.spec.config import PICO
from golden.spec.model import Encoding
from sim.board.board import SimulatedBoard, build
from sim.lib.runner import seed
from sw.compiler import compile_model
from sw.device.golden import GoldenDevice
from sw.device.open import open_device
from sw.driver import Driver
from sw.link.device import LinkDevice
from sw.model_file import ModelFile

TINY = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


@pytest.mark.slow
def test_a_clip(pytestconfig: pytest.Config) -> None:
    """Image and clip go over the line, the result comes back as `golden:` has it, and nothing has to be asked twice."""
    bundle = compile_model(ModelFile(*random_model(1, TINY, local=8, wide=16)), PICO)
    clip = random_clip(TINY, np.random.default_rng(seed()))
    expected = Driver(GoldenDevice(PICO))
    expected.load(bundle)
    with SimulatedBoard(build(PICO, pytestconfig.rootpath / "build" / "pico"), config=PICO) as board:
        with open_device(board.uri) as device:
            assert isinstance(device, LinkDevice) and device.memory_bytes == 1 << PICO.address_bits
            driver = Driver(device)
            driver.load(bundle)
            found = driver.run(clip)
            counters = device.link.counters
        assert not board.violation
        print(f"{board.cycles:,} cycles, {counters.bytes_sent:,} bytes sent, {counters.bytes_received:,} received")
    wanted = expected.run(clip)
    assert np.array_equal(found.logits, wanted.logits) and found.saturations == wanted.saturations
    assert not counters.damaged_answers
    assert counters.timeouts or not counters.repeated + counters.damaged_requests  # unless this computer was too slow
