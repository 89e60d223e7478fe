"""Event files: genuine recordings, files written here to each layout, and files that lie."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.data import events as readers
from golden.data.events import read_events, structured
from golden.data.files import read_clip
from golden.encoding import EVENT, DataError
from golden.spec.encoding import Encoding

HEAD2 = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
HEAD3 = b"#!AER-DAT3.1\r\nFormat: RAW\r\nSource 0: DVS128\r\n#!END-HEADER\r\n"
DATA = Path(os.environ.get("TANDEM_DATA", "none"))


def some(n=300, rows=34, columns=34, longest=1 << 23):
    rng = np.random.default_rng(n)
    events = np.empty(n, EVENT)
    events["t"] = np.sort(rng.integers(0, longest, n))
    events["x"], events["y"], events["p"] = rng.integers(0, columns, n), rng.integers(0, rows, n), rng.integers(0, 2, n)
    return events


def bs2(events):
    t, x, y, p = (events[key].astype(np.int64) for key in "txyp")
    return np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], axis=1).astype(np.uint8).tobytes()


def aedat2(events):
    t, x, y, p = (events[key].astype(np.int64) for key in "txyp")
    return HEAD2 + np.stack([y << 8 | 127 - x << 1 | 1 - p, t & 0xFFFFFFFF], axis=1).astype(">u4").tobytes()


def aedat3(events, packet=100, kind=1, size=8, at=4, number=None):
    """The layout of DVS128-Gesture: polarity events in packets, with an invalid event and a packet of another kind."""
    out = [HEAD3, np.array([2, 0], "<i2").tobytes() + np.array([36, 4, 0, 1, 1, 1], "<i4").tobytes() + bytes(36)]
    for first in range(0, len(events), packet):
        part = events[first : first + packet]
        t, x, y, p = (part[key].astype(np.int64) for key in "txyp")
        words = np.stack([x << 17 | y << 2 | p << 1 | 1, t & 0x7FFFFFFF], axis=1)
        words = np.concatenate([words, [[999 << 17, 5]]]).astype("<u4")  # not valid: to be skipped, wherever it is
        n = len(words) if number is None else number
        out.append(np.array([kind, 0], "<i2").tobytes())
        out.append(np.array([size, at, int(t[0]) >> 31, n, n, len(part)], "<i4").tobytes() + words.tobytes())
    return b"".join(out)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


WRITERS = {"a.bs2": bs2, "a.bin": bs2, "b.aedat": aedat2, "c.aedat": aedat3, "d.npy": npy}


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(tmp_path, name):
    events = some()
    (tmp_path / name).write_bytes(WRITERS[name](events))
    assert np.array_equal(read_events(tmp_path / name, (34, 34)), events)
    t = events["t"]
    span = int(t[100]), int(t[200])
    assert np.array_equal(read_events(tmp_path / name, (34, 34), span), events[(t >= span[0]) & (t < span[1])])
    with pytest.raises(DataError, match="no events from"):
        read_events(tmp_path / name, (34, 34), (1 << 40, 1 << 41))


@pytest.mark.parametrize(("writer", "halfway"), [(aedat2, 1 << 32), (aedat3, 1 << 31)])
def test_clocks_that_overflow_go_on(tmp_path, writer, halfway):
    events = some()
    events["t"] += halfway - (1 << 22) if writer is aedat2 else halfway
    (tmp_path / "a.aedat").write_bytes(writer(events))
    assert np.array_equal(read_events(tmp_path / "a.aedat", (128, 128)), events)


def test_signals_from_outside_are_no_events(tmp_path):
    raw = bytearray(aedat2(some(10)))
    raw[len(HEAD2) + 2] |= 0x80  # of the first address
    (tmp_path / "a.aedat").write_bytes(raw)
    assert np.array_equal(read_events(tmp_path / "a.aedat", (34, 34)), some(10)[1:])


@pytest.mark.parametrize("kinds", ["i2 i2 ? i8", "u1 u1 i1 u8", "<f8 i2 i2 i8"])
def test_structured_arrays_of_any_width(kinds):
    array = np.empty(300, list(zip(("x", "y", "p", "t"), kinds.split(), strict=True)))
    for key in "xypt":
        array[key] = some()[key]
    if "f8" in kinds:
        with pytest.raises(DataError, match="array: field x is float64, not whole numbers"):
            structured(array, (34, 34), "array")
    else:
        assert np.array_equal(structured(array, (34, 34), "array"), some())


def spoilt(key, value, at=7):
    events = some().astype([("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    events[key][at] = value
    return events


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.bs2", b"", "is empty"),
    ("a.bs2", bs2(some())[:-2], "byte 1495: truncated in the middle of an event of 5 bytes"),
    ("a.bs2", bs2(spoilt("x", 34)), r"byte 35: x = 34, y = \d+ is outside of the sensor's 34 rows and 34 columns"),
    ("a.bs2", bs2(spoilt("t", 0)), "byte 35: time runs backwards, from .* to 0 us"),
    ("a.aedat", b"#!AER-DAT4.0\r\n", "byte 0: begins with .*AER-DAT4"),
    ("a.aedat", HEAD2, "has no events"),
    ("a.aedat", aedat2(some())[:-3], "truncated in the middle of an event of 8 bytes"),
    ("a.aedat", HEAD2 + b"\x12" * 80, f"byte {len(HEAD2)}: address 0x12121212 is none of a DVS128"),
    ("a.aedat", aedat2(some(rows=128)), "outside of the sensor"),
    ("a.aedat", aedat2(spoilt("t", 0)), f"byte {len(HEAD2) + 56}: time runs backwards"),
    ("a.aedat", HEAD3[:-5], "byte 0: no #!END-HEADER in the first"),
    ("a.aedat", HEAD3 + bytes(20), f"byte {len(HEAD3)}: truncated in the middle of a packet's header"),
    ("a.aedat", HEAD3 + bytes(28), "packet of type 0 with 0 events of 0 bytes"),
    ("a.aedat", aedat3(some(), size=16), "packet of type 1 with 101 events of 16 bytes"),
    ("a.aedat", aedat3(some(), number=1 << 30), r"packet of 1073741824 events of 8 bytes, but \d+ bytes follow"),
    ("a.aedat", aedat3(some(), number=-1), "with -1 events"),
    ("a.aedat", aedat3(some(rows=2000)), r"outside of the sensor"),
    ("a.aedat", aedat3(some()[::-1], packet=1), "time runs backwards"),
    ("a.npy", b"\x93NUMPY junk", "byte 0: no array in NumPy's format"),
    ("a.npy", npy(np.array([{}], object)), "no array in NumPy's format"),
    ("a.npy", npy(some())[:-100], "no array in NumPy's format"),
    ("a.npy", npy(np.zeros(5)), r"is float64 \[5\], not events \[n\] with fields t, x, y, p"),
    ("a.npy", npy(spoilt("y", -1)), "event 7: x = .*, y = -1 is outside"),
    ("a.npy", npy(spoilt("p", 2)), "event 7: polarity 2 is neither 0 nor 1"),
    ("a.npy", npy(spoilt("t", -5, 0)), "event 0: time runs backwards, from 0 to -5"),
    ("a.npy", npy(np.full((4, 2, 34, 34), -1)), r"not numbers of events \[T, 2, 34, 34\]"),
    ("a.txt", b"1 2 3", "none of the suffixes"),
])
def test_what_is_wrong_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_events(tmp_path / name, (34, 34))
    assert name in str(caught.value)


def test_missing_file_and_too_many_events(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no event file"):
        read_events(tmp_path / "a.bs2", (34, 34))
    monkeypatch.setattr(readers, "MAX_EVENTS", 250)
    for name, writer in WRITERS.items():
        (tmp_path / name).write_bytes(writer(some()))
        with pytest.raises(DataError, match="250"):
            read_events(tmp_path / name, (34, 34))


@pytest.mark.parametrize("name", WRITERS)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_files_are_read_or_refused(tmp_path_factory, name, data):
    """Cut, overwritten, and lengthened anywhere: events on the sensor in order of time, or a reason; nothing else."""
    raw = bytearray(WRITERS[name](some(40)))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        new = data.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"]))
        raw[at : at + len(new)] = new
    raw = raw[: data.draw(st.just(len(raw)) | st.integers(0, len(raw)))] + data.draw(st.just(b"") | st.binary(max_size=40))
    path = tmp_path_factory.getbasetemp() / f"fuzz_{name}"
    path.write_bytes(raw)
    try:
        events = read_events(path, (34, 34))
    except DataError as error:
        assert path.name in str(error)
        return
    if events.ndim == 1:
        assert events.dtype == EVENT and 0 < len(events) <= len(raw)
        assert events["x"].max() < 34 and events["y"].max() < 34 and events["p"].max() < 2
        assert (np.diff(events["t"]) >= 0).all()


def test_a_clip_of_events(tmp_path):
    encoding = Encoding(kind="events", height=34, width=34, timesteps=4, frames=1, patch=2, bits=4,
                        sensor_height=34, sensor_width=34)
    (tmp_path / "a.bs2").write_bytes(bs2(some()))
    picture, tensor = read_clip(tmp_path / "a.bs2", encoding)
    assert picture.shape == (4, 34, 34) and tensor.shape == encoding.shape and tensor.sum() == 300
    bright = tensor.reshape(4, 17, 17, 2, 4).astype(int).sum(axis=(1, 2, 4))
    assert np.array_equal(np.round((picture - 128.0) / 64).sum(axis=(1, 2)), bright[:, 0] - bright[:, 1])


@pytest.mark.skipif(not (DATA / "nmnist").is_dir(), reason="no genuine N-MNIST recordings: set TANDEM_DATA")
def test_genuine_nmnist():
    files = sorted((DATA / "nmnist").glob("*.bs2"))[::50]
    for path in files:
        events = read_events(path, (34, 34))
        assert len(events) == path.stat().st_size // 5 and 250_000 < events["t"][-1] < 350_000, "three saccades of 100 ms"


@pytest.mark.skipif(not (DATA / "dvs128").is_dir(), reason="no genuine DVS128 recordings: set TANDEM_DATA")
def test_genuine_dvs128_also_as_aedat3(tmp_path):
    for path in sorted((DATA / "dvs128").glob("*.aedat")):
        events = read_events(path, (128, 128))
        assert len(events) > 100_000 and 15 < (events["t"][-1] - events["t"][0]) / 1e6 < 25
        again = tmp_path / path.name
        again.write_bytes(aedat3(events, packet=8192))
        assert np.array_equal(read_events(again, (128, 128)), events)
