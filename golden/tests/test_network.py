"""Model files: what runs, what is counted, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from golden.encoding import encode
from golden.integer import network
from golden.integer.random_model import NANO, random_clip, random_model
from golden.spec.model import Encoding, ModelError

SMALL = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


@pytest.fixture(scope="module")
def small():
    return random_model(1, SMALL, local=16, wide=32)


def test_encode_channel_order():
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16), np.uint8)
    x = encode(frames, SMALL)
    assert x.shape == (2, *SMALL.shape)
    for frame, row, column in [(0, 0, 0), (0, 1, 3), (1, 2, 1), (1, 3, 3)]:
        for t in range(4):
            channel = (frame * 4 + row) * 4 + column
            assert x[1, t, 2, 3, channel] == frames[1, max(t - frame, 0), 2 * 4 + row, 3 * 4 + column]


def test_run_makes_every_tensor_of_the_graph(small):
    model, tensors = small
    known = network.run(model, tensors, random_clip(SMALL, np.random.default_rng(2)))
    assert {name: value.shape for name, value in known.items()} == model.shapes()
    for layer in model.layers:
        if layer.spike_out:
            assert known[layer.spike_out].dtype == np.uint8 and known[layer.spike_out].max() <= 1
        if layer.u_out:
            assert known[layer.u_out].dtype == np.int16
    assert known["head"].dtype == np.int32


def test_spikes_flow_in_random_models():
    model, tensors = random_model(7)
    known = network.run(model, tensors, random_clip(NANO, np.random.default_rng(8)))
    rates = {x.spike_out: known[x.spike_out].mean() for x in model.layers if x.spike_out}
    assert all(0.01 < rate < 0.4 for rate in rates.values()), rates


def test_random_model_is_its_seed(small):
    again = random_model(1, SMALL, local=16, wide=32)
    assert again[0] == small[0]
    assert all(np.array_equal(again[1][name], value) for name, value in small[1].items())


def test_counts(small):
    model, tensors = small
    counts: dict[str, network.Count] = {}
    clip = random_clip(SMALL, np.random.default_rng(2))
    known = network.run(model, tensors, clip, counts)
    assert counts["stem"].sop == int(np.bitwise_count(clip).sum(dtype=int)) * 16
    assert counts["g0.sdha"].sop == int(known["g0.q.s"].sum()) * 16
    assert counts["head"].sop == int(known["head.s"].sum()) * 8
    once = counts["down"].sop
    network.run(model, tensors, clip, counts)
    assert counts["down"].sop == 2 * once


def test_saturation_is_counted(small):
    model, tensors = small
    counts: dict[str, network.Count] = {}
    network.run(replace(model, u_bits=8), tensors, random_clip(SMALL, np.random.default_rng(2)), counts)
    assert counts["stem"].saturations > 0


def test_residual_values_of_more_than_16_bits_are_refused(small):
    with pytest.raises(ModelError, match="residual values of 17 bits, at most 16"):
        network.check(replace(small[0], u_bits=17), small[1])


def test_bounds_hold_and_overflow_is_refused(small):
    model, tensors = small
    bounds = network.accumulator_bounds(model, tensors)
    known = network.run(model, tensors, random_clip(SMALL, np.random.default_rng(2)))
    for layer in model.layers:
        assert np.abs(network.accumulate(layer, tensors, known)).max() <= bounds[layer.name].acc
    loud = {**tensors, "stem.bias": np.full(16, 2**23 - 1, np.int32)}
    with pytest.raises(ModelError, match=r"'stem'.*8388607"):
        network.accumulator_bounds(model, loud)
    left = {**tensors, "g0.sdha.bias": np.full(32, 2**16, np.int32), "g0.sdha.shift": np.full(32, -8, np.int8)}
    with pytest.raises(ModelError, match=r"'g0.sdha': y can reach"):
        network.accumulator_bounds(model, left)


def test_file_round_trip(small, tmp_path):
    network.save(tmp_path / "m.safetensors", *small)
    model, tensors = network.load(tmp_path / "m.safetensors")
    assert model == small[0] and set(tensors) == set(small[1])


def test_wrong_clip_is_refused(small):
    with pytest.raises(ModelError, match="not uint8"):
        network.run(small[0], small[1], np.zeros((4, 4, 4, 31), np.uint8))
    encoding = Encoding(kind="difference", height=16, width=16, timesteps=4, frames=1, patch=4, threshold=9)
    with pytest.raises(ModelError, match="values up to 2, 1 bit planes hold 1"):
        network.run(replace(small[0], encoding=encoding), small[1], np.full(encoding.shape, 2, np.uint8))


def damaged(tensors, **changes):
    return {**tensors, **{name.replace("__", "."): value for name, value in changes.items()}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "down.bias"}, "'down.bias' is missing"),
        (lambda t: {**t, "extra": np.zeros(1)}, "tensors of no layer: extra"),
        (lambda t: damaged(t, down__weight=t["down.weight"].astype(np.int16)), "int16"),
        (lambda t: damaged(t, down__weight=t["down.weight"][:, :, :3]), "not int8"),
        (lambda t: damaged(t, down__weight=np.full_like(t["down.weight"], 9)), "from 9 to 9, outside -8..7"),
        (lambda t: damaged(t, down__shift=np.full_like(t["down.shift"], 24)), "outside -8..23"),
        (lambda t: damaged(t, head__shift=np.full_like(t["head.shift"], 1)), "raw accumulators"),
    ],
)
def test_damaged_tensors_are_refused(small, tmp_path, change, message):
    model, tensors = small
    save_file(change(dict(tensors)), tmp_path / "m.safetensors", metadata={"model": model.to_json()})
    with pytest.raises(ModelError, match=message):
        network.load(tmp_path / "m.safetensors")


def test_damaged_files_are_refused(small, tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(ModelError, match="cannot read"):
        network.load(path)
    network.save(path, *small)
    data = path.read_bytes()
    for broken in (b"", data[:100], data[: len(data) // 2], b"\xff" * 200):
        path.write_bytes(broken)
        with pytest.raises(ModelError, match="cannot read"):
            network.load(path)
    save_file(small[1], path)
    with pytest.raises(ModelError, match="metadata key 'model'"):
        network.load(path)
    save_file(small[1], path, metadata={"model": "{}"})
    with pytest.raises(ModelError, match="not a model graph"):
        network.load(path)
