"""The Verilated accelerator through the real driver: bit-exact under stalls, clear errors, and the next clip works."""

from dataclasses import replace

import numpy as np
import pytest

from golden.integer import network
from golden.integer.random_graph import KINDS, random_graph
from golden.integer.random_model import random_clip, random_model
from golden.spec.config import SMALL
from golden.spec.descriptor import BYTES
from golden.spec.model import HARD, MASK, Encoding
from golden.spec.registers import ABORT, REGISTERS, START
from sim.device.build import build
from sim.lib.runner import seed
from sw import bundle as bundles
from sw.compiler import compile_model
from sw.cycles import Memory, predict
from sw.device.base import DeviceTimeoutError, RunError
from sw.device.golden import GoldenDevice
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.model_file import ModelFile
from sw.support import UnsupportedError
from sw.verify import compare

TINY = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)
FOUR = replace(SMALL, name="four", cores=4, any_neuron=False)
NANO = Encoding(height=32, width=32, timesteps=16, frames=2, patch=4)


@pytest.fixture(scope="module")
def library(pytestconfig):
    """The shared object of ``small``, built where its sources changed."""
    return build(SMALL, pytestconfig.rootpath / "build" / "small")


@pytest.fixture(scope="module")
def source():
    """A small random model."""
    return ModelFile(*random_model(1, TINY, local=16, wide=32))


@pytest.fixture(scope="module")
def bundle(source):
    """The same, compiled."""
    return compile_model(source, SMALL)


@pytest.fixture(scope="module")
def clip():
    """A clip for it."""
    return random_clip(TINY, np.random.default_rng(9))


@pytest.fixture
def driver(library, bundle):
    """A driver with a fresh simulation."""
    with SimDevice(library, "sim:small") as device:
        driver = Driver(device, watchdog=5000)
        driver.load(bundle)
        yield driver


def works(driver, source, clip):
    return np.array_equal(driver.run(clip).logits, network.run(source.model, source.tensors, clip)["head"].reshape(-1))


@pytest.mark.parametrize(("stall", "latency", "seed"), [(0, 1, 1), (100, 20, 2), (500, 60, 3), (900, 3, 4)])
@pytest.mark.parametrize(("encoding", "sizes"), [
    (TINY, {"local": 16, "wide": 32}), (TINY, {"local": 24, "wide": 40, "heads": 5, "blocks": 2}),
    (Encoding(height=20, width=12, timesteps=8, frames=1, patch=4), {"local": 8, "wide": 64, "heads": 8}), (NANO, {}),
], ids=["tiny", "odd", "narrow", "nano"])
def test_bit_exact(library, encoding, sizes, stall, latency, seed):
    model, tensors = random_model(seed, encoding, **sizes)
    rng = np.random.default_rng(seed)
    with SimDevice(library, "sim:small", seed, stall, latency) as device:
        driver = Driver(device)
        compiled = compile_model(ModelFile(model, tensors), SMALL)
        driver.load(compiled)
        for _ in range(1 if encoding is NANO else 2):
            clip = random_clip(encoding, rng)
            expected = network.run(model, tensors, clip)
            traced = driver.trace(clip)
            report = compare(compiled.manifest, traced.tensors, expected)
            assert report.exact, report.text(f"seed {seed}, stall {stall}, latency {latency}")
            plain = driver.run(clip)
            assert np.array_equal(plain.logits, traced.logits) and 0 < plain.cycles < traced.cycles


def neurons_of(config, model):
    """The same graph with neurons that a machine has."""
    def change(x):
        if not x.spike_out or x.op == MASK:
            return x
        several = {"step": 1 << x.spacing.bit_length() - 1, **({} if config.any_neuron else {"reset": HARD})}
        return replace(x, leak=x.leak if config.any_neuron else (x.leak + 4) // 8 * 8, **(several if x.levels > 1 else {}))

    return replace(model, layers=tuple(change(x) for x in model.layers))


@pytest.mark.parametrize(("config", "timesteps"), [
    (SMALL, 3), (SMALL, 5), *(pytest.param(FOUR, t, marks=pytest.mark.slow) for t in (3, 5, 6, 10)),
], ids=lambda x: str(x) if isinstance(x, int) else x.name)
def test_time_steps_that_leave_cores_idle(pytestconfig, config, timesteps):
    """Compositions of every kind, attention of every scope; the machine counts what the golden device counts."""
    built = build(config, pytestconfig.rootpath / "build" / config.name)
    encoding = Encoding(height=12, width=8, timesteps=timesteps, frames=2, patch=2)
    for number, kind in enumerate([*KINDS, *["attention"] * 5]):
        model, tensors = random_graph(number, encoding, parts=2, kinds=(kind,))
        source = ModelFile(neurons_of(config, model), tensors)
        compiled, clip = compile_model(source, config), random_clip(encoding, np.random.default_rng(number))
        expected, results = network.run(source.model, tensors, clip), []
        for device in (GoldenDevice(config), SimDevice(built, f"sim:{config.name}", number, 100, 20)):
            with device:
                driver = Driver(device)
                driver.load(compiled)
                results.append(driver.trace(clip))
            report = compare(compiled.manifest, results[-1].tensors, expected)
            assert report.exact, report.text(f"{device.uri}, {kind}, number {number}")
        assert results[0].saturations == results[1].saturations and results[0].sops == results[1].sops, kind


def test_nothing_is_left_of_an_aborted_run(driver, source, clip):
    """Registers of data are not reset: whatever they hold when a run is aborted, the next one does not see it."""
    assert works(driver, source, clip)
    device, whole, rng = driver.device, driver.run(clip).cycles, np.random.default_rng(seed())
    for _ in range(20):
        device.write_register(REGISTERS["CONTROL"].address, START)
        device.slice = int(rng.integers(1, whole))
        assert not device.wait_interrupt(0)
        device.write_register(REGISTERS["CONTROL"].address, ABORT)
        assert device.read_register(REGISTERS["STATUS"].address) == 0
        assert works(driver, source, clip)


def test_figures_are_those_of_the_golden_device(driver, bundle, clip):
    golden = Driver(GoldenDevice(SMALL))
    golden.load(bundle)
    expected, found = golden.trace(clip), driver.trace(clip)
    assert list(found.layers) == list(expected.layers) and found.saturations == expected.saturations
    for name, layer in found.layers.items():
        assert (layer.adds, layer.results, layer.sops) == (expected.layers[name].adds, expected.layers[name].results,
                                                           expected.layers[name].sops), name
    for name in ("READ_BEATS", "WRITE_BEATS"):
        address = REGISTERS[name].address
        assert driver.device.read_register(address) == golden.device.read_register(address), name


@pytest.mark.parametrize(("kind", "segment", "code"), [("read", 0, 2), ("read", 1, 2), ("write", 2, 3), ("write", 3, 3)])
def test_memory_errors(driver, source, clip, kind, segment, code):
    driver.run(clip)
    at = driver.device.read_register(REGISTERS[f"SEGMENT{segment}"].address)
    driver.device.fault(kind, at, at + 4)
    with pytest.raises(RunError) as caught:
        driver.run(clip)
    assert caught.value.code == code
    driver.device.fault("none")
    assert works(driver, source, clip)


def test_a_memory_that_stops_answering(driver, source, clip):
    driver.device.fault("silent")
    with pytest.raises(RunError, match=r"error 4 .*\(ARVALID without ARREADY\); at work: reads.*; 0 beats of memory read"):
        driver.run(clip)
    driver.device.fault("none")
    assert works(driver, source, clip)


def test_a_memory_that_stops_answering_without_a_watchdog(driver, source, clip):
    driver.device.fault("silent")
    driver.watchdog, driver.timeout = 0, 0.3
    with pytest.raises(DeviceTimeoutError, match=r"did not finish within 0.3 s"):
        driver.run(clip)
    driver.device.fault("none")
    driver.timeout = 60
    assert works(driver, source, clip)


@pytest.mark.parametrize("index", [0, 3, 12])
def test_an_illegal_descriptor(driver, bundle, source, clip, index):
    image = bundle.image.copy()
    image[index * BYTES + 40] ^= 1
    driver.load(bundles.Bundle(bundle.manifest, image))
    with pytest.raises(RunError) as caught:
        driver.run(clip)
    assert (caught.value.code, caught.value.index) == (1, index)
    driver.load(bundle)
    assert works(driver, source, clip)


def test_memory_beyond_the_end(library, bundle, source, clip):
    with SimDevice(library, "sim:small") as device:
        driver = Driver(device, watchdog=5000)
        driver.load(bundle)
        device.write_memory(device.memory_bytes - 4, b"1234")
        assert device.read_memory(device.memory_bytes - 4, 4) == b"1234" and works(driver, source, clip)


@pytest.mark.parametrize(("latency", "bandwidth", "stall", "seed"), [
    (20, 0, 0, 0), (200, 2, 100, 1), *(pytest.param(60, 3, 300, seed, marks=pytest.mark.slow) for seed in range(3, 12)),
])
def test_what_does_not_fit_spills(library, latency, bandwidth, stall, seed):
    """Compiled for memories so small that hardly one place of each layer fits; those of ``small`` contain them."""
    model, tensors = random_graph(seed, parts=6, neurons=False)
    words, beats = 2048, 2048
    while words >= 64:  # the smallest that the graph can do with
        try:
            compiled = compile_model(ModelFile(model, tensors), replace(SMALL, spike_words=words, u_beats=beats))
        except UnsupportedError:
            break
        words, beats = words * 3 // 4, max(beats * 3 // 4, 64)
    assert compiled.manifest.spill_bytes
    clip = random_clip(model.encoding, np.random.default_rng(seed))
    expected = network.run(model, tensors, clip)
    with SimDevice(library, "sim:small", seed, stall, latency, bandwidth) as device:
        driver = Driver(device)
        driver.load(replace(compiled, manifest=replace(compiled.manifest, config=SMALL.digest)))
        report = compare(compiled.manifest, driver.trace(clip).tensors, expected)
        assert report.exact, report.text(f"seed {seed}")
        assert np.array_equal(driver.run(clip).logits, expected["head"].reshape(-1))


@pytest.mark.parametrize("memory", [Memory(20), Memory(60), Memory(200), Memory(20, 3), Memory(20, 2), Memory(200, 1)], ids=str)
def test_memory_as_it_is_predicted(library, bundle, clip, memory):
    """Of a slower memory, where LOAD and loader wait for it in turn, only the whole is compared."""
    with SimDevice(library, "sim:small", latency=memory.latency, bandwidth=memory.bandwidth) as device:
        driver = Driver(device)
        driver.load(bundle)
        found, expected = driver.run(clip), predict(bundle, SMALL, clip, memory)
    assert found.cycles == pytest.approx(expected.cycles, rel=0.05)
    if memory == Memory(20):
        assert {x: found.layers[x].cycles for x in ("load", "store")} == {x: expected.layers[x].cycles for x in ("load", "store")}


@pytest.mark.parametrize("seed", [1, 2])
def test_moves_as_they_are_predicted(library, seed):
    """Many short LOADs and STOREs, of spikes and of residual values, beside layers whose reads, writes and records come first."""
    encoding = Encoding(height=10, width=10, timesteps=6, frames=2, patch=1)
    source = ModelFile(*random_graph(seed, encoding, parts=3, neurons=False, kinds=("dense", "residual", "depthwise")))
    compiled = compile_model(source, replace(SMALL, spike_words=150, u_beats=200))
    compiled = replace(compiled, manifest=replace(compiled.manifest, config=SMALL.digest))
    clip = random_clip(encoding, np.random.default_rng(seed))
    with SimDevice(library, "sim:small", latency=20) as device:
        driver = Driver(device)
        driver.load(compiled)
        found, expected = driver.run(clip), predict(compiled, SMALL, clip, Memory(20))
    assert len(found.records) > 100
    for name, layer in found.layers.items():
        assert layer.cycles == pytest.approx(expected.layers[name].cycles, rel=0.02), name
    assert found.cycles == pytest.approx(expected.cycles, rel=0.02)
