"""Video files: pixels as specified, and files that are no good."""

import av
import numpy as np
import pytest

from golden.data.files import read_clip
from golden.encoding import DataError, encode, prepare
from golden.integer.random_model import NANO
from golden.spec.encoding import Encoding


def write(path, frames, codec="ffv1", pixels="gray"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray" if frame.ndim == 2 else "rgb24")))
        container.mux(stream.encode())
    return path


def noise(*shape):
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def test_lossless_frames_arrive_unchanged(tmp_path):
    frames = noise(16, 32, 32)
    seen, clip = read_clip(write(tmp_path / "a.mkv", frames), NANO)
    assert np.array_equal(seen, frames) and np.array_equal(clip, encode(frames, NANO))


@pytest.mark.parametrize("change", [{}, {"kind": "rgb"}, {"fit": "crop"}, {"kind": "difference", "frames": 1, "threshold": 9}])
def test_a_file_becomes_what_its_frames_become(tmp_path, change):
    colour = noise(19, 20, 30, 3)
    encoding = Encoding(**{**vars(NANO), **change})
    seen, clip = read_clip(write(tmp_path / "a.mkv", colour, "ffv1", "bgr0"), encoding)
    assert np.array_equal(seen, prepare(colour, encoding)) and np.array_equal(clip, encode(seen, encoding))


def test_too_few_frames(tmp_path):
    with pytest.raises(DataError, match="has 3 frames; 16 are wanted, and at least 4 needed"):
        read_clip(write(tmp_path / "a.mkv", noise(3, 32, 32)), NANO)


def test_missing_empty_and_no_video(tmp_path):
    with pytest.raises(DataError, match="no video file"):
        read_clip(tmp_path / "none.mp4", NANO)
    with pytest.raises(DataError, match="no video file"):
        read_clip(tmp_path, NANO)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DataError, match="is empty"):
        read_clip(tmp_path / "empty.mp4", NANO)
    junk = {"text.mp4": b"not a video at all\n" * 100, "noise.mp4": noise(5000).tobytes(), "a.mkv": b"\x1aE\xdf\xa3" * 9}
    for name, content in junk.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"no video, or a damaged one|has no video stream|has no frames"):
            read_clip(tmp_path / name, NANO)


def test_sound_only(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(DataError, match="has no video stream"):
        read_clip(tmp_path / "a.wav", NANO)


@pytest.mark.parametrize(("name", "codec", "pixels"), [
    ("a.mkv", "ffv1", "gray"), ("a.mp4", "libx264", "yuv420p"), ("a.avi", "mpeg4", "yuv420p"),
])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_truncated(tmp_path, name, codec, pixels, part):
    path = write(tmp_path / name, noise(16, 32, 32), codec, pixels)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DataError, match=r"truncated|damaged"):
        read_clip(path, NANO)
