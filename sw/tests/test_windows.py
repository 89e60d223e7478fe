"""Windows of the input, laid out by the host: the same numbers in fewer words."""

from dataclasses import replace

import numpy as np
import pytest

from golden.integer import network
from golden.spec.config import BASE
from golden.spec.model import CONV, INPUT, Encoding, Layer
from sw.clips import ClipPacker
from sw.compiler import compile_model, plan_model
from sw.device.golden import GoldenDevice
from sw.driver import Driver
from sw.packing import unpack_spikes
from sw.tests.test_compiler import check_equal, clips
from sw.tests.test_contract import CONFIGS, conv, made
from sw.tests.test_spilling import small
from sw.windows import Windows

RGB = Encoding(kind="rgb", height=14, width=10, timesteps=4, frames=2, patch=1)


@pytest.mark.parametrize("windows", [Windows(), Windows(3, 2, 1), Windows(2, 3), Windows(5, 1, 2), Windows(4, 4, 3)])
@pytest.mark.parametrize("chunk", [1 << 18, 1 << 8])
def test_every_value_is_where_it_shall_be(windows, chunk, monkeypatch):
    """As `ClipPacker` says; also of a clip that does not lie in one piece."""
    monkeypatch.setattr("sw.clips.CHUNK", chunk)
    x = np.random.default_rng(0).integers(1, 256, (2, 9, 7, 3), np.uint8)
    shape = windows.shape(x.shape)
    pack = ClipPacker(x.shape, windows, 16, 8)
    pack(255 - x)  # leaves nothing behind
    found = unpack_spikes(pack(x[:, :, ::-1][:, :, ::-1]), shape, 16, 8)
    k, stride, padding = windows
    for t, y, x_, i in np.ndindex(shape):
        ky, kx, c = np.unravel_index(i, (k, k, 3))
        place = y * stride - padding + ky, x_ * stride - padding + kx
        inside = 0 <= place[0] < 9 and 0 <= place[1] < 7
        assert found[t, y, x_, i] == (x[t, *place, c] if inside else 0)


@pytest.mark.parametrize(("encoding", "layer", "kept"), [
    (RGB, {"kernel": 3, "stride": 2, "padding": 1}, False), (RGB, {"kernel": 3, "padding": 1}, True),
    (replace(RGB, patch=2), {"kernel": 2, "stride": 2}, False), (RGB, {"kernel": 3, "stride": 2, "groups": 6}, True),
    (Encoding(kind="events", height=12, width=8, timesteps=4, frames=1, patch=1, bits=3, sensor_height=34, sensor_width=34),
     {"kernel": 3, "stride": 2, "padding": 1, "weight_bits": 8}, False),
], ids=str)
def test_networks(encoding, layer, kept):
    """Where windows with a stride are fewer words than the picture, they are what is loaded; tile by tile, too."""
    source = made(conv("a", INPUT, 12, levels=7, step=16, u_out="a.u", **layer), conv("b", "a.s", 20), encoding=encoding)
    for config in CONFIGS:
        for words in (1 << 12, 320):
            bundle = check_equal(source, small(config, words), clips(encoding))
            assert (bundle.manifest.windows == Windows()) == kept


def test_two_readers():
    """A second reader wants the places, not the windows of the first."""
    source = made(conv("a", INPUT, 12, kernel=3, stride=2, padding=1), conv("b", INPUT, 12, stride=2),
                  Layer(name="c", op=CONV, inputs=("a.s", "b.s"), channels=8, spike_out="c.s", theta=64), encoding=RGB)
    assert check_equal(source, small(BASE, 1 << 12), clips(RGB)).manifest.windows == Windows()


def test_less_is_loaded():
    """A quarter of the words where the windows fit one."""
    source = made(conv("a", INPUT, 12, kernel=3, stride=2, padding=1), encoding=RGB)
    config = small(BASE, 1 << 12)
    plan, windows = plan_model(source, config)
    assert windows == Windows(3, 2, 1) and plan.layouts.spikes(INPUT).bank_words == 7 * 5 * 8
    driver = Driver(GoldenDevice(config))
    driver.load(compile_model(source, config))
    for clip in clips(RGB):
        expected = network.run(source.model, source.tensors, clip)
        assert np.array_equal(driver.run(clip).output, expected[source.model.result])
