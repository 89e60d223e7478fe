"""Data sets in their layouts, and the cache: what is found, what is kept apart, what survives a kill."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from golden.data import cache, folder
from golden.data.cache import cached, exact, roomy
from golden.data.folder import Item, cut, open_data
from golden.data.video import read_frames
from golden.encoding import DataError, encode, prepare
from golden.spec.encoding import Encoding
from golden.tests.test_data_events import aedat3, bs2, some
from golden.tests.test_data_video import noise, write

DATA = Path(os.environ.get("TANDEM_DATA", "none"))


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def lists(root, **files):
    root.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        (root / (name.replace("__", ".") if "__" in name else f"{name}.txt")).write_text("\n".join(lines) + "\n")


def names(items):
    return [f"{item.label}/{item.path.name}" for item in items]


@pytest.mark.parametrize("inner", [("", ""), ("UCF-101", "ucfTrainTestlist")])
def test_ucf101(tmp_path, inner):
    clips = {c: [f"{c}/v_{c}_g{g:02}_c{k:02}.avi" for g in range(1, 11) for k in (1, 2)] for c in ("Zumba", "Archery")}
    train, test = ([x for c in clips for x in clips[c][part]] for part in (slice(4, None), slice(0, 4)))
    touch(tmp_path / inner[0], *train[:-1], *test)
    lists(tmp_path / inner[1], classInd=["1 Zumba", "2 Archery"], testlist02=test,
          trainlist02=[f"{x} {1 + x.startswith('A')}" for x in train])
    data = open_data(tmp_path, split=2, val=0.25)
    assert data.layout == "ucf101" and data.classes == ("Zumba", "Archery")
    assert names(data.test) == [f"{x.startswith('A'):d}/{Path(x).name}" for x in test]
    assert len(data.train) + len(data.val) == 31 and [Path(x).name for x in data.missing] == ["v_Archery_g10_c02.avi"]
    assert data.train[0].source in ("Zumba_g03", "Zumba_g04") and not data.overlap
    assert {x.source for x in data.val}.isdisjoint(x.source for x in data.train)
    assert [sum(x.label == label for x in data.val) for label in (0, 1)] == [4, 4]
    with pytest.raises(DataError, match="trainlist03"):
        open_data(tmp_path, split=3)


def test_hmdb51(tmp_path):
    for c in ("run", "brush_hair"):
        lines = [f"Film{i}_{c}_f_cm_np1_ba_bad_{k}.avi {1 if i < 6 else i % 3}" for i in range(9) for k in (0, 1)]
        lists(tmp_path / "splits", **{f"{c}_test_split1": lines})
        touch(tmp_path, *(f"{c}/{line.split()[0]}" for line in lines))
    data = open_data(tmp_path)
    assert data.layout == "hmdb51" and data.classes == ("brush_hair", "run")
    assert {x.source for x in data.test} == {"Film8"} and len(data.test) == 4, "part 2"
    assert {x.source for x in (*data.train, *data.val)} == {"Film0", "Film1", "Film2", "Film3", "Film4", "Film5", "Film7"}
    assert {x.label for x in data.val} == {0, 1}, "a film's clips of all classes go together"
    with pytest.raises(DataError, match="there is no split 4"):
        open_data(tmp_path, split=4)


def test_lists_of_files(tmp_path):
    train = [f"{c}/Tape{i}_{c}_u_{k}.mp4" for c in ("catch", "walk") for i in range(10) for k in range(2)]
    test = ["walk/Tape3_walk_u_7.mp4", "catch/New_catch_u_0.mp4"]
    touch(tmp_path, *train, *test)
    lists(tmp_path, train=train, test=test)
    data = open_data(tmp_path, seed=3)
    assert data.layout == "lists" and names(data.test) == ["1/Tape3_walk_u_7.mp4", "0/New_catch_u_0.mp4"]
    assert data.overlap == ("Tape3",) and "1 sources in training and test" in str(data)
    assert open_data(tmp_path, seed=3) == data != open_data(tmp_path, seed=4)
    (tmp_path / "test.txt").unlink()
    data = open_data(tmp_path)
    assert data.layout == "lists" and not data.overlap and {x.label for x in data.test} == {0, 1}, "cut out of the training list"
    lists(tmp_path, train=[*train, "walk/../../secret"])
    with pytest.raises(DataError, match="which is not <class>/<file>"):
        open_data(tmp_path)


def test_folders_without_lists(tmp_path):
    touch(tmp_path, *(f"{c}/v_{c}_g{g:02}_c{k}.avi" for c in "ab" for g in range(10) for k in range(2)), "a/notes.txt", "c/x.txt")
    data = open_data(tmp_path)
    assert data.layout == "folders" and data.classes == ("a", "b") and len(data.train) + len(data.val) + len(data.test) == 40
    assert not data.overlap and {x.label for x in data.test} == {0, 1}
    split = tmp_path / "split"
    touch(split, *(f"Train/{d}/{i:05}.bin" for d in "01" for i in range(10)), "Test/0/00001.bin")
    data = open_data(split)
    assert names(data.test) == ["0/00001.bin"] and len(data.train) + len(data.val) == 20
    touch(split, "Test/2/00001.bin")
    with pytest.raises(DataError, match=r"has classes that .* has not: 2"):
        open_data(split)


def test_event_layouts(tmp_path):
    touch(tmp_path / "n", *(f"{i}.bs2" for i in range(1, 101)))
    lists(tmp_path / "n", train=["#sample #class", *(f"{i}\t{i % 10}" for i in range(1, 101))])
    data = open_data(tmp_path / "n", val=0.2)
    assert data.layout == "nmnist" and data.classes == tuple("0123456789")
    assert all(item.label == int(item.path.stem) % 10 for item in data.train) and {x.label for x in data.test} == set(range(10))

    users = [f"user{i:02}_led" for i in range(10)]
    touch(tmp_path / "g", *(f"{user}.aedat" for user in users))
    table = ["class,startTime_usec,endTime_usec", *(f"{c},{c * 100},{c * 100 + 90}" for c in range(1, 12))]
    lists(tmp_path / "g", trials_to_train=[f"{x}.aedat" for x in users[:8]], trials_to_test=[f"{x}.aedat" for x in users[8:]],
          **{f"{user}_labels__csv": table for user in users})
    data = open_data(tmp_path / "g", val=0.2)
    assert data.layout == "dvsgesture" and data.classes[7] == "arm_roll" and len(data.test) == 22
    assert data.test[7] == Item(tmp_path / "g" / "user08_led.aedat", 7, "user08", (800, 890))
    assert len({x.source for x in data.val}) == 2
    (tmp_path / "g" / "user09_led_labels.csv").write_text("class,startTime_usec,endTime_usec\n12,5,9\n")
    with pytest.raises(DataError, match=r"user09_led_labels.csv': class 12 from 5 to 9 us cannot be"):
        open_data(tmp_path / "g")


@pytest.mark.parametrize(("files", "message"), [
    ({}, "is none of the layouts"), ({"train": ["walk/a.mp4"], "test": ["run/a.mp4"]}, "not <class>/<file>"),
    ({"train": ["walk/a.mp4"], "test": ["walk/a.mp4"]}, "no training clips; 2 listed files are missing"),
    ({"train": ["1 2 3"]}, "a line is neither"), ({"train": ["1 12"]}, "a line is neither"),
    ({"classInd": ["one Archery"]}, "a list is damaged"),
    ({"a_test_split1": ["a.avi 3"]}, "does not end in 0, 1 or 2"), ({"trials_to_train": ["a.aedat"]}, "cannot read labels"),
])
def test_damaged_lists_are_refused(tmp_path, files, message):
    lists(tmp_path, **files)
    with pytest.raises(DataError, match=message):
        open_data(tmp_path)


def test_a_cut_never_takes_all_of_a_class():
    rng = np.random.default_rng(0)
    for _ in range(50):
        items = [Item(Path("x"), int(label), f"s{source}") for label, source in rng.integers(0, (4, 12), (60, 2))]
        kept, taken = cut(items, 0.4, 1)
        assert len(kept) + len(taken) == 60 and {x.source for x in kept}.isdisjoint(x.source for x in taken)
        assert {x.label for x in kept} == {x.label for x in items}
    with pytest.raises(DataError, match="not between"):
        cut(items, 0.5, 1)


@pytest.fixture
def videos(tmp_path):
    """Four clips, one of them broken."""
    paths = [write(tmp_path / f"{i}.mkv", noise(6 + i, 24, 40, 3), "ffv1", "bgr0") for i in range(3)]
    (tmp_path / "bad.mkv").write_bytes(b"no video")
    return [Item(path, i % 2, str(i)) for i, path in enumerate([*paths, tmp_path / "bad.mkv"])]


ENCODING = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


@pytest.mark.parametrize("change", [{}, {"kind": "rgb"}, {"fit": "crop"}, {"kind": "difference", "frames": 1, "threshold": 9}])
def test_exact_clips_are_what_the_host_sees(tmp_path, videos, change):
    encoding = Encoding(**{**vars(ENCODING), **change})
    clips = cached(videos, exact(encoding), tmp_path / "cache")
    assert clips.items == tuple(videos[:3]) and clips.labels.tolist() == [0, 1, 0] and len(clips) == 3
    assert [item.path.name for item, _ in clips.broken] == ["bad.mkv"] and "no video" in clips.broken[0][1]
    for item, clip in zip(clips.items, clips, strict=True):
        assert not clip.flags.writeable
        assert np.array_equal(encode(prepare(clip, encoding), encoding),
                              encode(prepare(np.stack(list(read_frames(item.path))), encoding), encoding))


@pytest.mark.parametrize(("how", "shape"), [("stretch", (7, 20, 20, 3)), ("crop", (7, 20, 33, 3))])
def test_roomy_clips_keep_all_frames_and_colour(tmp_path, videos, how, shape):
    encoding = Encoding(**{**vars(ENCODING), "fit": how})
    assert cached(videos, roomy(encoding), tmp_path / "cache")[1].shape == shape


def test_nothing_is_decoded_twice(tmp_path, videos, monkeypatch):
    storage = exact(ENCODING)
    first = cached(videos, storage, tmp_path / "cache")
    os.utime(videos[0].path, (1, 1))  # touched, with the same content
    monkeypatch.setattr(cache.video, "read_frames", lambda path: pytest.fail(f"decoded {path} again"))
    assert cached(videos, storage, tmp_path / "cache") == first
    (tmp_path / "cache" / "index.json").write_text(json.dumps([1]))  # damaged: made again
    assert cached(videos[:3], storage, tmp_path / "cache") == cache.Clips(first.items, first.paths, ())


def test_other_content_and_settings_are_other_clips(tmp_path, videos):
    one = cached(videos, exact(ENCODING), tmp_path / "cache")
    grown = cached(videos, roomy(ENCODING), tmp_path / "cache")
    assert not set(one.paths) & set(grown.paths)
    write(videos[0].path, noise(9, 24, 40), "ffv1")
    assert len(cached(videos, exact(ENCODING), tmp_path / "cache")[0]) == 9


def test_a_killed_run_goes_on(tmp_path, videos):
    """Killed in the middle of the second clip: the first is whole, the second is made again, nothing is left over."""
    slow = ("import sys, time; from golden.tests.test_data_folder import *\n"
            "real = cache.video.read_frames\n"
            "def read(path):\n for frame in real(path):\n  yield frame\n  time.sleep(60 * (path.name == '1.mkv'))\n"
            "cache.video.read_frames = read\n"
            f"cached([Item(Path(x), 0, x) for x in sys.argv[1:]], exact(ENCODING), {str(tmp_path / 'cache')!r})")
    child = subprocess.Popen([sys.executable, "-c", slow, *(str(item.path) for item in videos)])
    try:
        end = time.monotonic() + 60
        while not (list(tmp_path.glob("cache/*.npy")) and list(tmp_path.glob("cache/*.part"))):
            assert child.poll() is None and time.monotonic() < end
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()
    clips = cached(videos, exact(ENCODING), tmp_path / "cache")
    assert [len(clip) for clip in clips] == [6, 7, 8] and not list(tmp_path.glob("cache/*.part"))


def test_recordings_are_cached_by_span(tmp_path):
    events = some(400, longest=1000)
    (tmp_path / "a.aedat").write_bytes(aedat3(events))
    (tmp_path / "b.bs2").write_bytes(bs2(some()))
    items = [Item(tmp_path / "a.aedat", 0, "a", span) for span in ((0, 500), (500, 1000))] + [Item(tmp_path / "b.bs2", 0, "b")]
    encoding = Encoding(kind="events", height=34, width=34, timesteps=4, frames=1, patch=2, bits=4,
                        sensor_height=34, sensor_width=34)
    clips = cached(items, exact(encoding), tmp_path / "cache")
    assert np.array_equal(np.concatenate([clips[0], clips[1]]), events) and np.array_equal(clips[2], some())
    assert prepare(clips[2], encoding).sum() == 300 and roomy(encoding) == exact(encoding)


def test_a_cache_of_nothing_says_why(tmp_path, videos):
    with pytest.raises(DataError, match=r"no clip can be read; the first: .*bad.mkv' is no video"):
        cached(videos[3:], exact(ENCODING), tmp_path / "cache")
    gone = Item(tmp_path / "gone.mkv", 0, "")
    assert "cannot read" in cached([*videos, gone], exact(ENCODING), tmp_path / "cache").broken[1][1]
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write cache"):
        cached(videos, exact(ENCODING), tmp_path / "file")


@pytest.mark.skipif(not (DATA / "jhmdb").is_dir(), reason="no J-HMDB: set TANDEM_DATA")
def test_genuine_jhmdb(tmp_path):
    data = open_data(DATA / "jhmdb")
    assert data.layout == "lists" and len(data.classes) == 21 and len(data.train) + len(data.val) == 660 and not data.missing
    assert {x.label for x in data.train} == {x.label for x in data.val} == set(range(21))
    assert {x.source for x in data.val}.isdisjoint(x.source for x in data.train)
    clips = cached(data.test[::20], roomy(ENCODING), tmp_path / "cache")
    assert all(15 <= len(clip) <= 40 and clip.shape[1:] == (20, 20, 3) for clip in clips) and not clips.broken
    assert folder.labels(clips.items).tolist() == clips.labels.tolist()


def test_a_second_process_waits_and_finds_the_clips(tmp_path, videos):
    """The cache is held here; a child that wants it says so, goes on when it is let go, and decodes nothing that is there."""
    first = cached(videos, exact(ENCODING), tmp_path / "cache")
    code = ("import sys; from golden.tests.test_data_folder import *\n"
            "cache.video.read_frames = None\n"
            f"print(len(cached([Item(Path(x), 0, x) for x in sys.argv[1:]], exact(ENCODING), {str(tmp_path / 'cache')!r})))")
    with cache._alone(tmp_path / "cache"):
        child = subprocess.Popen([sys.executable, "-c", code, *(str(item.path) for item in videos)],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None and "waiting for the process" in child.stderr.readline()
    out, errors = child.communicate(timeout=60)
    assert out.strip() == str(len(first)), errors
