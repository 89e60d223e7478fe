"""Networks on machines that are too small for their tensors: tile by tile, bit by bit the same."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from golden.integer import network
from golden.integer.random_graph import KINDS, random_graph
from golden.integer.random_graph import SMALL as ENCODING
from golden.integer.random_model import random_model
from golden.spec.config import MICRO, SMALL
from golden.spec.model import CONV, FRAME, HEAD, INPUT, POSITION, SDHA, SSA, Encoding, Layer
from golden.spec.registers import REGISTERS
from sw import bundle as bundles
from sw.bundle import BundleError
from sw.compiler import compile_model
from sw.device.golden import GoldenDevice
from sw.driver import Driver
from sw.model_file import ModelFile, read_model
from sw.pipeline import _places
from sw.support import UnsupportedError
from sw.tests.conftest import TINY
from sw.tests.test_compiler import check_equal, clips, descriptors
from sw.tests.test_contract import CONFIGS, ROOM, conv, made, possible

LEAST = 64  #: words and beats of the smallest memories there are
PLACES = Encoding(height=6, width=10, timesteps=4, frames=2, patch=1)


def small(config, words, beats=1 << 16, **sizes: Any):
    """A machine that can do everything, with memories of these sizes."""
    words = words // config.taps * config.taps
    return replace(config, **ROOM | {"name": f"{config.name}-{words}-{beats}", "spike_words": words, "u_beats": beats, **sizes})


def shrunken(source, config, words, beats, clip, share=0.5):
    """Let both memories shrink until a layer has no room for one place; the bundles that spill."""
    spilling = []
    while words >= LEAST:
        try:
            bundle = check_equal(source, small(config, words, beats), clip)
        except UnsupportedError as error:
            assert all("one place of layer" in reason for reason in error.reasons)
            break
        spilling += [bundle] if bundle.manifest.spill_bytes else []
        words, beats = int(words * share), max(int(beats * share), LEAST)
    return spilling


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_kinds(kind):
    assert shrunken(possible(random_graph(0, parts=3, kinds=(kind,))), MICRO, 512, 1024, clips(ENCODING))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_graphs(seed):
    assert shrunken(possible(random_graph(seed)), CONFIGS[seed % 3], 512, 1024, clips(ENCODING))


@pytest.mark.parametrize(("words", "beats"), [(1 << 12, 192), (192, 1 << 12)], ids=("residual", "spikes"))
def test_only_one_memory_is_small(words, beats):
    source = made(conv("a", INPUT, 70, u_out="a.u"), conv("b", "a.s", 70, kernel=3, padding=1, residual="a.u"), encoding=PLACES)
    bundle = check_equal(source, small(SMALL, words, beats), clips(PLACES))
    spaces = {d["space"] for d in descriptors(bundle, "run") if d["opcode"] == 3 and d["segment"] == 0}
    assert spaces == {int(beats < words)}


@pytest.mark.parametrize("window", [
    {"kernel": 3, "padding": 1}, {"kernel": 5, "padding": 2, "stride": 2}, {"kernel": 2, "stride": 3},
    {"kernel": 7, "padding": 6}, {"kernel": 4, "stride": 4, "padding": 3}, {"kernel": 3, "padding": 5, "stride": 5},
], ids=str)
def test_windows(window):
    """Tiles of a few columns, some of which see nothing but padding; dense, and channel by channel."""
    source = made(
        conv("a", INPUT, 70, kernel=3, padding=1), conv("b", "a.s", 40, **window), conv("c", "a.s", 70, groups=70, **window),
        conv("d", "b.s", 12, kernel=1), encoding=PLACES,
    )
    _, height, width, _ = source.model.shapes()["b.s"]
    cut = set()
    for bundle in shrunken(source, SMALL, 512, 1 << 16, clips(PLACES), 0.75):
        steps = zip(bundle.manifest.programs["run"].steps, descriptors(bundle, "run"), strict=True)
        cut |= {step.layer for step, d in steps if d["opcode"] == 1 and d["out_w"] * d["out_h"] < width * height}
    assert {"b", "c"} <= cut


def test_pieces():
    """What is read channel by channel lies outside word by word, and comes back so."""
    source = made(
        conv("a", INPUT, 200, levels=7, step=16), conv("b", "a.s", 200, kernel=5, padding=2, groups=200, levels=7, step=16),
        conv("c", "b.s", 40), encoding=PLACES,
    )
    for config, words in zip(CONFIGS, (512, 192, 96), strict=True):
        bundle = check_equal(source, small(config, words), clips(PLACES))
        tensors = bundle.manifest.programs["trace"].tensors
        assert tensors["a.s"].pieces == -(-200 // config.word) and tensors["b.s"].pieces == 1


def test_sums_in_parts():
    """Also those that are added to residual tensors, digit by digit."""
    source = made(
        conv("a", INPUT, 70, u_out="a.u"), conv("b", "a.s", 70, kernel=3, padding=1, residual="a.u", u_out="b.u", weight_bits=8),
        Layer(name="c", op=CONV, inputs=("b.s",), channels=70, kernel=3, padding=1, residual="a.u", u_out="c.u"),
        conv("d", "b.s", 40, kernel=3, padding=1, weight_bits=8), conv("e", "d.s", 70, residual="c.u"), encoding=PLACES,
    )
    bundle = check_equal(source, small(SMALL, 512, 1024, weight_rows=64), clips(PLACES))
    assert any(d["partial"] for d in descriptors(bundle, "run")) and bundle.manifest.spill_bytes


@pytest.mark.parametrize("op", [SDHA, SSA])
@pytest.mark.parametrize("scope", [FRAME, POSITION])
def test_scopes(op, scope):
    qkv = [conv(x, INPUT, 64, groups=2) for x in "qkv"]
    x = Layer(name="x", op=op, scope=scope, inputs=("q.s", "k.s", "v.s"), channels=64, heads=4, spike_out="x.s", theta=64)
    source = made(*qkv, x, conv("y", "x.s", 8), encoding=replace(PLACES, height=4, width=3))
    bundle = check_equal(source, small(SMALL, 128, 64), clips(source.model.encoding))
    assert any(step.layer == "x" and step.opcode == "load" for step in bundle.manifest.programs["run"].steps)


def test_the_head_adds_up_rows():
    source = made(
        conv("a", INPUT, 70, levels=7, step=32), Layer(name="head", op=HEAD, inputs=("a.s",), channels=20), encoding=PLACES)
    bundle = check_equal(source, small(SMALL, 256), clips(PLACES))
    assert bundle.manifest.programs["run"].tensors["head"].parts > 1


def test_a_result_that_does_not_fit():
    """Of a network without a head: stored where the host looks for it, tile by tile."""
    source = made(conv("a", INPUT, 70, u_out="a.u"), Layer(name="b", op=CONV, inputs=("a.s",), channels=70, residual="a.u",
                                                          u_out="b.u"), encoding=PLACES)
    bundle = check_equal(source, small(SMALL, 256, 128), clips(PLACES))
    assert [d["segment"] for d in descriptors(bundle, "run") if d["opcode"] == 4][-2:] == [2, 2]


def test_weights_are_loaded_once():
    """With room for all of them, the tiles after the first load none; without, all do."""
    source = made(conv("a", INPUT, 30), conv("b", "a.s", 200, kernel=3, padding=1), conv("c", "b.s", 8), encoding=PLACES)
    for rows, once in ((1 << 12, True), (288, False)):
        bundle = check_equal(source, small(SMALL, 160, weight_rows=rows), clips(PLACES))
        steps = bundle.manifest.programs["run"].steps
        loads = [d["weight_rows"] > 0 for step, d in zip(steps, descriptors(bundle, "run"), strict=True)
                 if step.layer == "b" and step.opcode == "linear"]
        assert len(loads) > 8 and loads[0] and (sum(loads) == 1) == once


def test_trained_network():
    """On a quarter, a sixth and an eighth of the memories that it needs."""
    source = read_model("golden/weights/svformer-nano.safetensors")
    bytes_ = []
    for share in (4, 6, 8):
        config = replace(SMALL, name="little", spike_words=6144 // share, u_beats=4096 // share)
        bytes_.append(check_equal(source, config, clips(source.model.encoding)).manifest.spill_bytes)
    assert bytes_ == sorted(bytes_) and bytes_[0]


def test_two_clips_in_flight():
    """Both have their own input and results, and the same place for what spills."""
    source = ModelFile(*random_model(1, TINY, local=16, wide=32))
    config = small(SMALL, 128, 64)
    bundle = compile_model(source, config)
    some = [*clips(TINY, 5)]
    device = GoldenDevice(config)
    driver = Driver(device)
    driver.load(bundle)
    expected = [network.run(source.model, source.tensors, clip)["head"].reshape(-1) for clip in some]
    assert all(np.array_equal(x.logits, y) for x, y in zip(driver.run(some), expected, strict=True))
    places, _ = _places(bundle, bundle.manifest.programs["run"], 2)
    assert min(x.clip for x in places) >= bundle.image.size + bundle.manifest.spill_bytes > bundle.image.size
    assert driver.check_memory() is None and device.read_register(REGISTERS["STATUS"].address) == 2


@pytest.mark.parametrize(("layers", "machine", "reason"), [
    ([conv("a", INPUT, 300), conv("b", "a.s", 8, kernel=5, padding=2)], small(SMALL, LEAST),
     "spike banks, words: one place of layer 'b' needs 502 ('a.s' 500, 'b.s' 2), there are 64"),
    ([conv("a", INPUT, 8), conv("b", "a.s", 900, u_out="b.u")], small(MICRO, 1 << 12, 1000),
     "residual memory, beats: one place of layer 'b' needs 1808 ('b.u' 1808), there are 1000"),
    ([*(conv(x, INPUT, 64, groups=2) for x in "qkv"),
      Layer(name="x", op=SDHA, inputs=("q.s", "k.s", "v.s"), channels=64, heads=4, spike_out="x.s", theta=64)], small(SMALL, 300),
     "spike banks, words: one place of layer 'x' needs 488 ('k.s' 240, 'v.s' 240, 'q.s' 4, 'x.s' 4), there are 300"),
], ids=("spikes", "residual", "attention"))
def test_one_place_is_too_much(layers, machine, reason):
    with pytest.raises(UnsupportedError) as caught:
        compile_model(made(*layers, encoding=PLACES), machine)
    assert caught.value.reasons == [reason]


@pytest.fixture(scope="module")
def spilling():
    """A bundle that spills."""
    return compile_model(ModelFile(*random_model(1, TINY, local=16, wide=32)), small(SMALL, 128, 64))


@pytest.mark.parametrize("change", [0, -64, 64, -1 << 40, "1", 1.5, None, True])
def test_a_manifest_with_other_bytes_to_spill(spilling, tmp_path, change):
    """More is taken, since nobody is hurt; what is less than the program writes is refused."""
    right = spilling.manifest.spill_bytes
    bytes_ = right + change if type(change) is int else change
    replace(spilling, manifest=replace(spilling.manifest, spill_bytes=bytes_)).save(tmp_path / "a")
    if type(change) is int and change >= 0:
        assert bundles.load(tmp_path / "a").manifest.spill_bytes == right + change
    else:
        with pytest.raises(BundleError):
            bundles.load(tmp_path / "a")


def test_a_program_that_writes_over_its_image(spilling, tmp_path):
    """Every bit of the offsets of what is stored outside."""
    for i, d in enumerate(descriptors(spilling, "run")):
        if d["opcode"] == 4 and d["segment"] == 0:
            at = spilling.manifest.programs["run"].offset + i * 128 + 28 * 4
            image = spilling.image.copy()
            offset, check = image[at : at + 4].view("<u4"), image[at + 12 : at + 16].view("<u4")
            check += offset  # the sum of all words stays the same
            offset[:] = 0
            replace(spilling, image=image).save(tmp_path / "b")
            with pytest.raises(BundleError, match="of segment 0, outside"):
                bundles.load(tmp_path / "b")
