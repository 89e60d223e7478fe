"""What the teacher sees, brought to where the student looks."""

import numpy as np
import pytest
import torch

from golden.distillation import CHANNELS, POINTS, Student, Views, cut
from golden.examples import Seen
from golden.models.catalogue import CONFIGS, build


def test_part_of_a_ramp_is_a_ramp():
    ramp = np.arange(12, dtype=np.float32)
    assert np.allclose(cut(ramp, 0, 0, 1, 12), ramp)
    assert np.allclose(cut(ramp, 0, 0.25, 0.5, 3), [3.5, 5.5, 7.5])  # the middles of thirds of 2.5..8.5
    assert np.allclose(cut(ramp, 0, 0, 1, 24)[[0, -1]], [0, 11]), "nothing beyond the ends"


def test_student_sees_the_part_of_the_picture_that_it_is_shown():
    maps = np.zeros((2, POINTS, 8, 8, CHANNELS), np.float16)
    maps[1] = np.arange(8)[:, None, None] + np.arange(8)[:, None] * 10 + np.arange(POINTS)[:, None, None, None] * 100
    frames = np.arange(2 * POINTS, dtype=np.float32).reshape(2, POINTS, 1)
    views = Views(frames, maps, np.eye(2, dtype=np.float32), [(8, 8), (2, 4)])
    at = np.array([0.0, 0.5, 1.0])
    opinion, values, (_, places) = views.of(1, Seen(np.zeros(1, np.uint8), at, False, (0.0, 0.5, 0.5, 0.5)))
    assert values[:, 0].tolist() == [16, 24, 31] and opinion.tolist() == [0, 1] and places.shape == (3, CHANNELS, 2, 4)
    assert np.allclose(places[1, 0], 800 + np.array([[0.5], [2.5]]) + [40, 50, 60, 70])
    mirrored = views.of(1, Seen(np.zeros(1, np.uint8), at, True, (0.0, 0.5, 0.5, 0.5)))[2][1]
    assert np.array_equal(mirrored, places[..., ::-1])


@pytest.mark.parametrize(("name", "grids"), [("svformer-jhmdb", [(4, 4), (4, 4)]), ("spikevideoformer-jhmdb", [(8, 8), (8, 8)])])
def test_student_tells_of_spikes_halfway_and_at_the_end(name, grids):
    net = build(CONFIGS[name])
    student = Student(net, 5)
    assert Student(net, 0).grids() == grids
    _, h, w, c = net.config.encoding.shape
    logits, frames, places = student(torch.rand(16, 2, c, h, w))
    assert logits.shape == (2, 21) and frames.shape == (16, 2, 5)
    assert [x.shape for x in places] == [(16, 2, CHANNELS, *grid) for grid in grids]
