"""The composites' twins against NumPy, without a simulator."""

from __future__ import annotations

import numpy as np
import pytest

from hw.hamming import Hamming
from hw.linear import Linear
from sim.bench import cases
from sim.lib.runner import CONFIGS, seed


@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_linear(name: str, kind: str) -> None:
    config, rng = CONFIGS[name], np.random.default_rng([seed(), cases.KINDS.index(kind)])
    for _ in range(2):
        case = cases.linear(rng, config, kind)
        writes = Linear.model(config, case.values, case.banks, case.weights, case.params, case.u)
        for bank, addr, beat, bits in writes.spikes:
            low = beat * config.neuron_lanes
            mask = ((1 << config.neuron_lanes) - 1) << low
            case.banks[bank][addr] = case.banks[bank][addr] & ~mask | bits << low
        for addr, data in writes.u:
            case.u[addr] = data
        assert case.banks == case.banks_after, case.name
        assert case.u == case.u_after, case.name
        assert writes.saturations == case.saturations, case.name


@pytest.mark.parametrize("name", CONFIGS)
def test_hamming(name: str) -> None:
    config, rng = CONFIGS[name], np.random.default_rng(seed())
    for _ in range(8):
        case = cases.hamming(rng, config)
        rows, beats = Hamming.model(config, case.values, case.banks, case.params)
        assert {(bank, row): data for bank, row, data in rows} == case.weights_after, case.name
        assert len(rows) == len(case.weights_after), case.name
        for addr, data in beats:
            case.params[addr] = data
        assert case.params == case.params_after, case.name
