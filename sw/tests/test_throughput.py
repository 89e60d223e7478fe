"""The throughput test: FINN's keys, and figures that fit together."""

import time

import numpy as np
import pytest

from golden.integer.random_model import random_clip
from golden.spec.config import SMALL
from sw.device.base import DeviceError
from sw.device.golden import GoldenDevice
from sw.device.null import NullDevice
from sw.driver import Driver
from sw.link.client import LinkClient
from sw.link.device import LinkDevice
from sw.tests.conftest import TINY
from sw.tests.twin_board import SITE, TwinBoard
from sw.throughput import own_time

KEYS = ("runtime[ms]", "throughput[images/s]", "DRAM_in_bandwidth[MB/s]", "DRAM_out_bandwidth[MB/s]", "fclk[mhz]", "batch_size",
        "fold_input[ms]", "pack_input[ms]", "copy_input_data_to_device[ms]", "copy_output_data_from_device[ms]",
        "unpack_output[ms]", "unfold_output[ms]")


class Slow(NullDevice):
    """Takes 5 ms to write memory and 3 ms to read it."""

    def write_memory(self, address, data):
        time.sleep(0.005)
        super().write_memory(address, data)

    def read_memory(self, address, size):
        time.sleep(0.003)
        return super().read_memory(address, size)


@pytest.fixture
def clips():
    rng = np.random.default_rng(3)
    return [random_clip(TINY, rng) for _ in range(4)]


def test_keys_and_figures(bundle, clips):
    driver = Driver(Slow(SMALL))
    driver.load(bundle)
    found = driver.throughput_test(clips)
    assert tuple(found) == KEYS and found["batch_size"] == 4 and found["fclk[mhz]"] == 0
    assert found["throughput[images/s]"] == pytest.approx(4000 / found["runtime[ms]"])
    assert found["copy_input_data_to_device[ms]"] >= 4 * 10 and found["copy_output_data_from_device[ms]"] >= 4 * 6
    assert found["runtime[ms]"] >= 4 * 16
    moved = bundle.manifest.input_bytes * 4 / found["runtime[ms]"] / 1000
    assert found["DRAM_in_bandwidth[MB/s]"] == pytest.approx(moved)
    assert all(found[key] > 0 for key in KEYS if key != "fclk[mhz]")


def test_the_clock_of_a_board(bundle, clips):
    driver = Driver(LinkDevice(LinkClient(TwinBoard()), "serial:twin"))
    driver.load(bundle)
    assert driver.throughput_test(clips[:1])["fclk[mhz]"] == SITE.clock / 1e6


def test_the_hosts_own_time(bundle, clips):
    """Packing is a part of it; a device that sleeps takes none of it."""
    quick, slow = Driver(NullDevice(SMALL)), Driver(Slow(SMALL))
    for driver in (quick, slow):
        driver.load(bundle)
    pack, whole = own_time(quick, clips)
    assert 0 < pack < whole < 0.02 and own_time(slow, clips)[1] < 0.008


def test_nothing_to_measure(bundle):
    driver = Driver(GoldenDevice(SMALL))
    with pytest.raises(DeviceError, match="no bundle is loaded"):
        driver.throughput_test([np.zeros((4, 4, 4, 32), np.uint8)])
    with pytest.raises(ValueError, match="no clips"):
        driver.throughput_test([])
    with pytest.raises(DeviceError, match="no line to test"):
        driver.link_test()
