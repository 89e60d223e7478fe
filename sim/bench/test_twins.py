"""The composites' twins against NumPy, without a simulator."""

from __future__ import annotations

import numpy as np
import pytest

from golden.integer import ops
from golden.spec.config import Config
from hw.array import Array
from hw.collector import Collector
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
        rows, words = Hamming.model(config, case.values, case.banks, case.params)
        assert {(bank, row): data for bank, row, data in rows} == case.weights_after, case.name
        assert len(rows) == len(case.weights_after), case.name
        for addr, data in words:
            beat, part = divmod(addr, config.param_parts)
            low = part * config.axi_bits
            case.params[beat] = case.params[beat] & ~(((1 << config.axi_bits) - 1) << low) | data << low
        assert case.params == case.params_after, case.name


@pytest.mark.parametrize("name", CONFIGS)
def test_attention(name: str) -> None:
    """HAMMING, then LINEAR on Q with the same mask, is the golden model's attention before its affine step."""
    config, rng = CONFIGS[name], np.random.default_rng(seed())
    done = 0
    while done < 5:
        case = cases.hamming(rng, config)
        d, banks = case.values, case.banks
        tokens, step, width = d["bank_tokens"], d["step_stride"], d["width"]
        if d["dot"] or tokens > 27 or d["bank_mask"] != (1 << config.cores) - 1:
            continue
        done += 1
        weights = [[0] * config.weight_rows for _ in range(config.issue)]
        for bank, row, data in Hamming.model(config, d, banks, case.params)[0]:
            weights[bank][row] = data
        linear = dict.fromkeys(d, 0) | dict.fromkeys(("out_h", "in_h", "kernel_h", "kernel_w", "stride", "steps", "planes"), 1)
        linear |= {x: d[x] for x in ("weight_base", "slices", "slice_words", "words", "mask_low", "mask_high", "step_stride")}
        linear |= {"origin": d["k_src"], "groups": width // config.lanes, "out_w": tokens, "in_w": tokens, "x_stride": step,
                   "ox_stride": step}  # K's memory serves as Q
        results = np.array(Collector.model(config, linear, Array.model(config, linear, banks, weights)))
        # in the order (token, group, t), but the tokens of all cores follow each other, group by group
        results = results.reshape(tokens, width // config.lanes, config.cores, -1).transpose(2, 0, 1, 3).reshape(-1, width)

        k, v = (_channels(config, d, banks, d[x]) for x in ("k_src", "v_src"))
        heads = width // ((d["head_mask"] ^ 0xFF) + 1) if d["head_mask"] else 1
        _, bias = ops.hamming_weights(k, v, heads)
        assert (results + bias.reshape(-1) == ops.sdha(k, k, v, heads).reshape(-1, width)).all(), case.name


def _channels(config: Config, d: dict[str, int], banks: list[list[int]], at: int) -> np.ndarray:
    """Spikes of the heads as [token, 1, 1, channel], bank by bank."""
    words = [sum(bank[at + n * d["step_stride"] + w] << (w * config.word) for w in range(d["words"]))
             for bank in banks for n in range(d["bank_tokens"])]
    return np.array([[x >> (d["mask_low"] + i) & 1 for i in range(d["width"])] for x in words])[:, None, None]
