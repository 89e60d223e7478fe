"""What can go wrong between driver and machine ends in a clear error, and the next clip works."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.integer import network
from golden.spec.config import BASE, SMALL
from golden.spec.descriptor import BYTES
from golden.spec.registers import ABORT, BUSY, REGISTERS, START, STATISTICS_BYTES, ErrorCode
from sw import bundle as bundles
from sw.compiler import compile_model
from sw.device.base import Device, DeviceError, DeviceMismatchError, DeviceTimeoutError, DeviceUnavailableError, RunError
from sw.device.golden import GoldenDevice
from sw.device.open import open_device
from sw.driver import ClipError, Driver
from sw.verify import compare, expect


class Silent(Device):
    """A transport behind which nothing ever happens; registers read what ``registers`` says, else 0."""

    uri = "null:"
    memory_bytes = 1 << 26

    def __init__(self, registers):
        self.registers = registers
        self.written = []

    def read_memory(self, address, size):
        return bytes(size)

    def write_memory(self, address, data):
        pass

    def read_register(self, address):
        return self.registers.get(address, 0)

    def write_register(self, address, value):
        self.written.append((address, value))

    def wait_interrupt(self, timeout):
        return False

    def close(self):
        pass


@pytest.fixture
def driver(bundle):
    driver = Driver(GoldenDevice(SMALL))
    driver.load(bundle)
    return driver


def works(driver, tiny, clip):
    expected = network.run(tiny.model, tiny.tensors, clip)
    return np.array_equal(driver.run(clip).logits, expected["head"].reshape(-1))


def test_progress_and_figures(driver, tiny, clip):
    seen = []
    result = driver.run(clip, lambda done, total, layer: seen.append((done, total)))
    assert works(driver, tiny, clip) and seen[-1][0] == seen[-1][1]
    assert result.label == tiny.model.classes[result.index] and result.scores.sum() == pytest.approx(1)
    assert result.sops > 0 and result.cycles == 0 and result.tensors == {}
    steps = driver.pipeline.bundle.manifest.programs["run"].steps
    assert [x["layer"] for x in result.records] == list(range(len(steps) - 1))
    adds = sum(x["adds"] for x, step in zip(result.records, steps, strict=False) if step.layer == "local.dw")
    assert result.layers["local.dw"].adds == adds > 0


def test_a_device_that_is_something_else(bundle):
    with pytest.raises(DeviceMismatchError, match="is no tANDem: its ID is 0x00000000"):
        Driver(Silent({})).load(bundle)
    with pytest.raises(DeviceMismatchError, match="register map 7"):
        Driver(Silent({REGISTERS["ID"].address: 0x4D444E54, REGISTERS["VERSION"].address: 7})).load(bundle)


def test_a_bundle_for_another_config(bundle):
    with pytest.raises(DeviceMismatchError) as caught:
        Driver(GoldenDevice(BASE)).load(bundle)
    assert SMALL.digest in str(caught.value) and BASE.digest in str(caught.value)


def test_a_memory_that_is_too_small(bundle):
    with pytest.raises(DeviceError, match=r"needs \d+ bytes, golden:small has 8192"):
        Driver(GoldenDevice(SMALL, 8192)).load(bundle)


def layer_of(bundle, step):
    """Layer of a descriptor."""
    return bundle.manifest.programs["run"].steps[step].layer


def test_a_device_that_never_answers(bundle, clip):
    known = GoldenDevice(SMALL)
    device = Silent({r.address: known.read_register(r.address) for r in REGISTERS.values()})
    device.registers[REGISTERS["STATUS"].address] = BUSY
    device.registers[REGISTERS["HANDSHAKES"].address] = 0b1000 | 1 << 14 | 1 << 18  # R ready; reads, mover
    driver = Driver(device, timeout=0.2)
    driver.load(bundle)
    with pytest.raises(DeviceTimeoutError, match=(
            rf"did not finish within 0.2 s; it was in layer '{layer_of(bundle, 0)}' \(descriptor 0, load\): "
            r"memory gives no data of a read \(RREADY without RVALID\); at work: reads, mover; "
            r"0 beats of memory read, 0 written, 0 cycles")):
        driver.run(clip)
    assert device.written[-1] == (REGISTERS["CONTROL"].address, ABORT)


def test_an_illegal_descriptor(driver, bundle, tiny, clip):
    image = bundle.image.copy()
    image[3 * BYTES + 40] ^= 1
    driver.load(bundles.Bundle(bundle.manifest, image))
    layer = layer_of(bundle, 3)
    with pytest.raises(RunError, match=rf"error 1 in layer '{layer}' \(descriptor 3\): illegal descriptor") as caught:
        driver.run(clip)
    assert (caught.value.code, caught.value.index, caught.value.layer) == (ErrorCode.DESCRIPTOR, 3, layer)
    driver.load(bundle)
    assert works(driver, tiny, clip)


def test_a_program_damaged_in_memory_is_written_again(driver, tiny, clip):
    driver.run(clip)
    driver.device.write_memory(5 * BYTES, b"\0" * 4)
    with pytest.raises(RunError, match="error 1"):
        driver.run(clip)
    assert works(driver, tiny, clip)


@pytest.mark.parametrize(("kind", "segment", "code", "step"), [
    ("read", 0, 2, 0), ("read", 1, 2, 0), ("write", 2, 3, -2), ("write", 3, 3, 0),
])
def test_memory_errors(driver, bundle, tiny, clip, kind, segment, code, step):
    """The program, the input, the result behind everything but END, the first record."""
    layer = layer_of(bundle, step)
    driver.run(clip)
    at = driver.device.read_register(REGISTERS[f"SEGMENT{segment}"].address)
    driver.device.fault(kind, at, at + 4)
    with pytest.raises(RunError, match=f"error {code} in layer '{layer}'"):
        driver.run(clip)
    driver.device.fault("none")
    assert works(driver, tiny, clip)


def test_a_memory_that_stops_answering(driver, tiny, clip):
    driver.device.fault("silent")
    with pytest.raises(RunError, match=r"error 4 .*no progress.*ARVALID without ARREADY"):
        driver.run(clip)
    driver.watchdog, driver.timeout = 0, 0.2
    with pytest.raises(DeviceTimeoutError):
        driver.run(clip)
    driver.device.fault("none")
    assert works(driver, tiny, clip)


def test_a_run_that_is_interrupted(driver, tiny, clip):
    def interrupt(done, total, layer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver.run(clip, interrupt)
    assert not driver.counters()["status"] & BUSY and works(driver, tiny, clip)


def test_wrong_clips(driver, clip):
    for wrong in (clip[:2], clip.astype(np.int32), np.zeros(3, np.uint8)):
        with pytest.raises(ClipError, match=r"takes uint8 \[4, 4, 4, 32\]"):
            driver.run(wrong)
    with pytest.raises(DeviceError, match="no bundle is loaded"):
        Driver(driver.device).run(clip)


def test_missing_statistics_are_noticed(driver, bundle, clip, monkeypatch):
    read = driver.device.read_memory
    size_of_all = (len(bundle.manifest.programs["run"].steps) - 1) * STATISTICS_BYTES
    monkeypatch.setattr(driver.device, "read_memory",
                        lambda address, size: b"\xff" * size if size == size_of_all else read(address, size))
    with pytest.raises(DeviceError, match=f"no statistics record for layer '{layer_of(bundle, 0)}'"):
        driver.run(clip)
    assert STATISTICS_BYTES == 64


def test_registers(driver, clip):
    device = driver.device
    device.write_register(REGISTERS["ID"].address, 5)
    assert device.read_register(REGISTERS["ID"].address) == 0x4D444E54 and device.read_register(REGISTERS["CONTROL"].address) == 0
    driver.run(clip)
    device.write_register(REGISTERS["IRQ_ENABLE"].address, 0)
    assert not device.wait_interrupt(0)
    device.write_register(REGISTERS["CONTROL"].address, START)
    assert device.read_register(REGISTERS["STATUS"].address) == 1
    device.write_register(REGISTERS["CONTROL"].address, ABORT)
    assert not device.read_register(REGISTERS["STATUS"].address) & 1
    assert device.read_register(REGISTERS["READ_BEATS"].address) == 0


@pytest.mark.parametrize(("uri", "message"), [
    ("golden:huge", "no preset 'huge'"), ("cloud:small", "no device 'cloud:small'"), ("", "no device ''"),
    ("golden:small?seed=1", "no option seed"), ("sim:small?seed=x", "NAME=NUMBER"),
    ("sim:small?", "make sim-device PRESET=small"),
    ("sim:small", "make sim-device PRESET=small"),
])
def test_devices_that_are_not_there(uri, message, tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_BUILD", str(tmp_path))
    with pytest.raises(DeviceUnavailableError, match=message):
        open_device(uri)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["golden:", "null:", "sim:", "udp:", "", "Golden:"]), st.text(max_size=9), st.text("?&=sed1 ", max_size=9))
def test_any_text_is_a_device_or_refused(kind, name, query):
    try:
        open_device(f"{kind}{name}?{query}").close()
    except DeviceUnavailableError as error:
        assert str(error)


def test_a_shared_object_that_is_none(tmp_path, monkeypatch):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "libdevice.so").write_bytes(b"junk")
    monkeypatch.setenv("TANDEM_BUILD", str(tmp_path))
    with pytest.raises(DeviceUnavailableError, match="build it again"):
        open_device("sim:small")


def test_first_difference_is_found(driver, bundle, tiny, clip):
    traced = driver.trace(clip).tensors
    assert compare(bundle.manifest, traced, expect(bundle, tiny, clip)).text("x") == "bit-exact: 15/15 layers"
    assert compare(bundle.manifest, traced, expect(bundle, None, clip)).exact
    for name in ("g0.u", "local.b", "head"):
        traced[name] = traced[name].copy()
    traced["head"][0, 0, 0, 1] += 1
    traced["g0.u"][0, 0, 0, 0] += 5
    traced["local.b"][2, 3, 1, 30] ^= 1
    report = compare(bundle.manifest, traced, expect(bundle, tiny, clip))
    text = report.text("python -m sw classify x")
    assert not report.exact and text.startswith("bit-exact: 12/15 layers\n")
    assert "layer 'local.dw', tensor 'local.b', t 2, y 3, x 1, channel 30: " in text
    assert text.endswith("replay: python -m sw classify x")


def test_same_bundle_twice_and_another_model(driver, tiny, clip):
    other = compile_model(replace(tiny, tensors={**tiny.tensors, "head.bias": tiny.tensors["head.bias"] + 7}), SMALL)
    before = driver.run(clip).logits
    driver.load(other)
    assert np.array_equal(driver.run(clip).logits, before + 7)
    assert other.manifest.model != tiny.digest
