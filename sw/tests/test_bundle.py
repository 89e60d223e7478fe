"""A bundle comes back as it was saved, or not at all."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sw import bundle as bundles
from sw.bundle import BundleError


@pytest.fixture(scope="session")
def data(bundle, tmp_path_factory):
    """The bytes of a bundle file."""
    path = tmp_path_factory.mktemp("bundle") / "a.bundle"
    bundle.save(path)
    return path.read_bytes()


def reload(path, data):
    path.write_bytes(data)
    return bundles.load(path)


def test_round_trip(bundle, data, tmp_path):
    back = reload(tmp_path / "b", data)
    assert back.manifest == bundle.manifest and np.array_equal(back.image, bundle.image)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_flipped_bit_or_a_cut_is_found(data, bundle, tmp_path, place, bit, cut):
    at = int(place * len(data))
    damaged = bytearray(data[:at] if cut else data)
    if not cut:
        damaged[at] ^= 1 << bit
    try:
        back = reload(tmp_path / "c", bytes(damaged))
    except BundleError:
        return
    assert not cut and back.manifest == bundle.manifest and np.array_equal(back.image, bundle.image)  # e.g. a space of the header


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=300))
def test_junk_is_no_bundle(tmp_path, junk):
    with pytest.raises(BundleError):
        reload(tmp_path / "d", junk)


@pytest.mark.parametrize(("old", "new"), [
    ('"format": 6', '"format": 9'), ('"planes"', '"plates"'), ('"offset": 0, "result', '"offset": 9, "result'),
    ('"opcode": "load"', '"opcode": "save"'), ('"kind": "luma"', '"kin": "luma"'),
    ('"windows": [1, ', '"windows": [2, '), ('"windows": [1, ', '"windows": [true, '), ('"windows": [1, ', '"windows": [1, 1, '),
])
def test_a_manifest_that_does_not_fit(bundle, tmp_path, monkeypatch, old, new):
    """Right digests, wrong content: as another version of this software would write it."""
    dumps = bundles.json.dumps
    changed = []

    def other(value, **options):
        text = dumps(value, **options)
        changed.append(old in text)
        return text.replace(old, new, 1)

    monkeypatch.setattr(bundles.json, "dumps", other)
    bundle.save(tmp_path / "e")
    with pytest.raises(BundleError):
        bundles.load(tmp_path / "e")
    assert changed == [True]


def test_missing_and_empty(tmp_path):
    with pytest.raises(BundleError, match="No such file"):
        bundles.load(tmp_path / "none")
    with pytest.raises(BundleError, match="damaged or no bundle"):
        reload(tmp_path / "empty", b"")


def test_other_files(tmp_path):
    save_file({"x": np.zeros(3)}, tmp_path / "x", {"model": "{}"})
    with pytest.raises(BundleError, match="compile it first"):
        bundles.load(tmp_path / "x")
    with pytest.raises(BundleError, match="damaged or no bundle"):
        reload(tmp_path / "text", b"hello, I am a text file of some length, and no bundle")
