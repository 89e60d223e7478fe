"""Sources: whole files are what training sees, windows are where they should be, feeds lose nothing that they do not count."""

import threading
import time

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.data.files import read_clip
from golden.encoding import EVENT, DataError, count, encode, prepare
from golden.spec.encoding import EVENTS, RGB, Encoding
from golden.tests.test_data_video import noise, write
from sw import sources
from sw.sources import BLOCK, DROP, Clip, Feed, Window
from sw.tests.conftest import TINY

DVS = Encoding(kind=EVENTS, height=8, width=8, timesteps=4, frames=1, patch=2, bits=3, sensor_height=16, sensor_width=16)


def recording(times, seed=0):
    rng = np.random.default_rng(seed)
    made = np.empty(len(times), EVENT)
    made["t"], made["p"] = np.sort(times), rng.integers(0, 2, len(times))
    made["x"], made["y"] = rng.integers(0, 16, (2, len(times)))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    (root / "b").mkdir()
    write(root / "b" / "2.mkv", noise(9, 20, 24))
    write(root / "1.mkv", noise(5, 16, 16))
    (root / "notes.txt").write_text("no video")
    return root


def test_a_folder_is_its_files_in_order(folder):
    found = list(sources.files([folder, folder / "1.mkv"], TINY))
    wanted = [folder / "1.mkv", folder / "b" / "2.mkv", folder / "1.mkv"]
    assert [clip.name for clip in found] == [str(x) for x in wanted]
    for clip, path in zip(found, wanted, strict=True):
        frames, tensor = read_clip(path, TINY)
        assert np.array_equal(clip.frames, frames) and np.array_equal(clip.tensor, tensor)


def test_files_that_are_no_good(folder, tmp_path):
    (tmp_path / "bad.mkv").write_bytes(b"junk")
    told: list[DataError] = []
    found = list(sources.files([tmp_path, tmp_path / "none.mkv", folder / "1.mkv"], TINY, complain=told.append))
    assert [clip.name for clip in found] == [str(folder / "1.mkv")]
    assert len(told) == 2 and "bad.mkv" in str(told[0]) and "none.mkv" in str(told[1])
    with pytest.raises(DataError, match=r"bad\.mkv"):
        list(sources.files([tmp_path], TINY))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no file in .*empty.* \.avi"):
        list(sources.files([tmp_path / "empty"], TINY))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 12))
def test_windows_of_pictures(frames, size, step):
    pictures = noise(frames, 16, 16, 3)
    found = list(sources._pictures(iter(pictures), TINY, Window(size, step), "x"))
    starts = list(range(0, frames - size + 1, step)) or [0]
    assert [clip.name for clip in found] == [f"x, frame {first}" for first in starts]
    for clip, first in zip(found, starts, strict=True):
        seen = prepare(pictures[first : first + size], TINY)
        assert np.array_equal(clip.frames, seen) and np.array_equal(clip.tensor, encode(seen, TINY))


def test_windows_of_a_file(folder):
    found = list(sources.files([folder / "b" / "2.mkv"], TINY, Window(4, 2)))
    assert [clip.name.rpartition(" ")[2] for clip in found] == ["0", "2", "4"]


@pytest.mark.parametrize(("size", "step"), [(0, 1), (4, 0), (-3, 1)])
def test_windows_that_are_none(size, step):
    with pytest.raises(DataError, match="both are at least 1"):
        Window(size, step)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 90_000), min_size=1, max_size=80), st.integers(1, 30), st.integers(1, 40), st.integers(1, 5))
def test_windows_of_events(times, size, step, pieces):
    """Whatever the pieces in which a recording is read; gaps are left out."""
    made = recording(times)
    found = list(sources._events(np.array_split(made, min(pieces, len(made))), DVS, Window(size, step), "x"))
    starts = range(int(made["t"][0]), int(made["t"][-1]) - 1000 * size + 1, 1000 * step)
    wanted = [(s, made[(made["t"] >= s) & (made["t"] < s + 1000 * size)]) for s in starts]
    wanted = [(s, part) for s, part in wanted if len(part)] or [(int(made["t"][0]), made)]
    assert [clip.name for clip in found] == [f"x, {s} us" for s, _ in wanted]
    for clip, (_, part) in zip(found, wanted, strict=True):
        assert np.array_equal(clip.tensor, encode(count(part, DVS), DVS))


def test_a_recording_that_jumps_for_years():
    found = list(sources._events([recording([0, 1, 50_000, 10**15, 10**15 + 30_000])], DVS, Window(10, 10), "x"))
    assert [clip.name for clip in found] == ["x, 0 us", "x, 50000 us", f"x, {10**15} us"]


def test_event_files(tmp_path):
    made = recording(np.random.default_rng(1).integers(0, 50_000, 400))
    np.save(tmp_path / "a.npy", made)
    np.save(tmp_path / "b.npy", np.ones((4, 2, 16, 16), np.uint8))
    whole = list(sources.files([tmp_path], DVS))
    assert len(whole) == 2 and np.array_equal(whole[0].tensor, read_clip(tmp_path / "a.npy", DVS)[1])
    assert len(list(sources.files([tmp_path / "a.npy"], DVS, Window(10, 10)))) == 4
    with pytest.raises(DataError, match="in bins already"):
        list(sources.files([tmp_path / "b.npy"], DVS, Window(10, 10)))


def test_arrays():
    pictures = [noise(7, 20, 20), noise(4, 16, 16, 3)]
    found = list(sources.arrays(pictures, TINY))
    assert all(np.array_equal(x.tensor, encode(prepare(y, TINY), TINY)) for x, y in zip(found, pictures, strict=True))
    made = recording(np.arange(50))
    other = np.array([tuple(x) for x in made.tolist()], [("t", "<i4"), ("x", "<i2"), ("y", "<i2"), ("p", "?")])
    one, two = sources.arrays([made, other], DVS)
    assert np.array_equal(one.tensor, two.tensor) and one.frames.shape == (4, 8, 8)
    with pytest.raises(DataError, match="clip 0 has 2 frames"):
        list(sources.arrays([noise(2, 16, 16)], Encoding(height=16, width=16, timesteps=16, frames=2, patch=4)))


def test_a_camera():
    """FFmpeg's test picture stands for one."""
    encoding = Encoding(kind=RGB, height=16, width=16, timesteps=4, frames=2, patch=4)
    try:
        found = sources.camera("testsrc=size=40x30:rate=30:duration=0.4", encoding, Window(8, 2), "lavfi")
        names = [clip.name.rpartition(" ")[2] for clip in found]
    except DataError as error:
        if isinstance(error.__cause__, av.error.FFmpegError | ValueError) and "lavfi" in str(error):
            pytest.skip(str(error))
        raise
    assert names == ["0", "2", "4"]


def test_cameras_that_are_not_there():
    with pytest.raises(DataError, match="camera '/dev/video99' cannot be used"):
        next(sources.camera("/dev/video99", TINY, Window(4, 4)))
    with pytest.raises(DataError, match="sees events"):
        next(sources.camera("/dev/video0", DVS, Window(4, 4)))


def numbered(n):
    for i in range(n):
        yield Clip(str(i), noise(1, 1, 1), noise(1, 1, 1, 1))


def taken(feed, pause=0.0):
    names = []
    for clip in feed:
        time.sleep(pause)
        if clip:
            names.append(int(clip.name))
    return names


def test_a_feed_that_blocks():
    with Feed(numbered(20), BLOCK) as feed:
        assert taken(feed, 0.002) == list(range(20))
    assert (feed.made, feed.dropped, feed.waiting) == (20, 0, 0)


def test_a_feed_that_drops():
    """The newest clips are there, in order; all others are counted."""
    with Feed(numbered(500), DROP) as feed:
        time.sleep(0.1)
        names = taken(feed)
    assert names == sorted(names) and names[-2:] == [498, 499] and feed.made == 500 and len(names) + feed.dropped == 500


def test_a_feed_that_has_nothing_says_so():
    gate = threading.Event()

    def slow():
        yield from numbered(1)
        gate.wait()
        yield from numbered(2)

    with Feed(slow()) as feed:
        found = iter(feed)
        assert [x.name for x in (next(found),) if x] == ["0"] and next(found) is None and next(found) is None
        gate.set()
        assert [x.name for x in found if x] == ["0", "1"]


def test_an_error_comes_behind_what_was_before():
    def broken():
        yield from numbered(2)
        raise DataError("no good")

    with Feed(broken()) as feed, pytest.raises(DataError, match="no good"):
        names = []
        for clip in feed:
            names += [clip.name] if clip else []
    assert names == ["0", "1"]


def test_a_feed_that_nobody_reads_ends():
    with Feed(numbered(100)) as feed:
        pass
    assert not feed._thread.is_alive() and feed.made < 100
    with pytest.raises(ValueError, match="neither block nor drop"):
        Feed([], "keep")
