"""Pixels as specified, and files that are no good."""

import av
import numpy as np
import pytest

from golden.integer.encode import encode as golden_encode
from golden.integer.random_model import NANO
from golden.spec.model import Encoding
from sw import video
from sw.video import VideoError


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
    seen, clip = video.read_clip(write(tmp_path / "a.mkv", frames), NANO)
    assert np.array_equal(seen, frames) and np.array_equal(clip, golden_encode(frames, NANO))


@pytest.mark.parametrize("encoding", [NANO, Encoding(height=12, width=20, timesteps=5, frames=1, patch=2)])
def test_encoding_is_the_golden_one(encoding):
    frames = noise(encoding.timesteps, encoding.height, encoding.width)
    assert np.array_equal(video.encode(frames, encoding), golden_encode(frames, encoding))


def test_colour_is_grey_by_the_formula(tmp_path):
    colour = noise(8, 16, 16, 3)
    encoding = Encoding(height=16, width=16, timesteps=8, frames=1, patch=4)
    seen, _ = video.read_clip(write(tmp_path / "a.mkv", colour, "ffv1", "bgr0"), encoding)
    r, g, b = (colour[..., i].astype(int) for i in range(3))
    assert np.array_equal(seen, (77 * r + 150 * g + 29 * b + 128) >> 8)


@pytest.mark.parametrize(("source", "target"), [((48, 64), (16, 16)), ((17, 23), (8, 8)), ((7, 5), (16, 12)), ((9, 9), (9, 9))])
def test_resize_is_the_area_average(source, target):
    picture = noise(*source)
    got = video.resize(picture, *target)
    fine = np.kron(picture.astype(np.int64), np.ones(target, np.int64))  # common multiple of both grids
    mean = fine.reshape(target[0], source[0], target[1], source[1]).mean(axis=(1, 3))
    assert np.array_equal(got, np.floor(mean + 0.5))


@pytest.mark.parametrize(("count", "wanted", "chosen"), [(4, 4, [0, 1, 2, 3]), (12, 4, [1, 4, 7, 10]), (1, 4, [0, 0, 0, 0])])
def test_sampling(count, wanted, chosen):
    frames = np.arange(count, dtype=np.uint8)[:, None, None]
    assert video.sample(frames, wanted, "x").ravel().tolist() == chosen


def test_too_few_frames(tmp_path):
    with pytest.raises(VideoError, match="has 3 frames; 16 are wanted, and at least 4 needed"):
        video.read_clip(write(tmp_path / "a.mkv", noise(3, 32, 32)), NANO)


def test_missing_empty_and_no_video(tmp_path):
    with pytest.raises(VideoError, match="no video file"):
        video.read_clip(tmp_path / "none.mp4", NANO)
    with pytest.raises(VideoError, match="no video file"):
        video.read_clip(tmp_path, NANO)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="is empty"):
        video.read_clip(tmp_path / "empty.mp4", NANO)
    junk = {"text.mp4": b"not a video at all\n" * 100, "noise.mp4": noise(5000).tobytes(), "a.mkv": b"\x1aE\xdf\xa3" * 9}
    for name, content in junk.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError, match=r"no video, or a damaged one|has no video stream|has no frames"):
            video.read_clip(tmp_path / name, NANO)


def test_sound_only(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="has no video stream"):
        video.read_clip(tmp_path / "a.wav", NANO)


@pytest.mark.parametrize(("name", "codec", "pixels"), [
    ("a.mkv", "ffv1", "gray"), ("a.mp4", "libx264", "yuv420p"), ("a.avi", "mpeg4", "yuv420p"),
])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_truncated(tmp_path, name, codec, pixels, part):
    path = write(tmp_path / name, noise(16, 32, 32), codec, pixels)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(VideoError, match=r"truncated|damaged"):
        video.read_clip(path, NANO)
