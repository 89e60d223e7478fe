"""How fast a device takes clips, in the keys of FINN's driver, so that figures can be laid side by side.

FINN's ``throughput_test`` measures what a batch takes as a whole, and then each step of the host by itself. So does this:
``runtime`` and all that is made of it are those of the whole batch from input tensors to results, transfers included, which go
on while other clips are computed (FINN's leave them out). The steps overlap, so their sum is more than the runtime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from golden.spec import registers
from sw.packing import Array, fold_channels, pack_planes
from sw.results import StatisticsReader, conclude, poison, unpack

T = TypeVar("T")

if TYPE_CHECKING:
    from sw.driver import Driver


def measure(driver: Driver, clips: Sequence[Array]) -> dict[str, float]:
    """Run clips, then measure each step for as many of them.

    Parameters
    ----------
    driver : Driver
        With a bundle loaded and nothing on its way.
    clips : sequence of [T, H, W, C] uint8
        The batch.

    Returns
    -------
    dict
        ``runtime[ms]``; ``throughput[images/s]``, clips per second; ``DRAM_in_bandwidth[MB/s]`` and ``DRAM_out_bandwidth[MB/s]``,
        clips' words and their results over the runtime; ``fclk[mhz]``, 0 without a clock; ``batch_size``; and of the batch in
        milliseconds: ``fold_input``, values into the order of the machine; ``pack_input``, values into bit planes;
        ``copy_input_data_to_device``, words and empty statistics; ``copy_output_data_from_device``, results and statistics;
        ``unpack_output``, words into numbers; ``unfold_output``, numbers into classes and statistics of layers.

    Raises
    ------
    ValueError
        If there is no clip.
    DeviceError
        As `Driver.run`.
    """
    if not len(clips):
        raise ValueError("no clips to run")
    driver.run(clips[0])  # now the program is in memory
    _, runtime = _timed(lambda: driver.run(list(clips)))

    device, pipeline = driver.device, driver.pipeline
    bundle, manifest, place = pipeline.bundle, pipeline.bundle.manifest, pipeline.place
    program = manifest.programs["run"]
    tensor = program.tensors[program.result]
    reader = StatisticsReader(program, device.uri)
    size = (len(program.steps) - 1) * registers.STATISTICS_BYTES

    folded, fold = _timed(lambda: [fold_channels(clip) for clip in clips])
    packed, pack = _timed(lambda: [pack_planes(values, manifest.word, manifest.planes) for values in folded])

    def write() -> None:
        for data in packed:
            device.write_memory(place.clip, data.data)
            device.write_memory(place.statistics, poison(program))

    def read() -> list[tuple[bytes, bytes]]:
        return [(device.read_memory(place.results, tensor.size), device.read_memory(place.statistics, size)) for _ in packed]

    _, copy_in = _timed(write)
    driver.run(clips[0])  # so that there is something to read
    data, copy_out = _timed(read)
    outputs, unpacking = _timed(lambda: [unpack(np.frombuffer(output, np.uint8), tensor, manifest) for output, _ in data])
    _, unfolding = _timed(lambda: [
        conclude(bundle, output, {}, reader.read(np.frombuffer(records, np.uint8)), 0, 0)
        for output, (_, records) in zip(outputs, data, strict=True)])

    moved_in, moved_out = sum(map(len, packed)), sum(len(output) + len(records) for output, records in data)
    return {
        "runtime[ms]": 1000 * runtime,
        "throughput[images/s]": len(clips) / runtime,
        "DRAM_in_bandwidth[MB/s]": moved_in / runtime / 1e6,
        "DRAM_out_bandwidth[MB/s]": moved_out / runtime / 1e6,
        "fclk[mhz]": device.clock / 1e6,
        "batch_size": len(clips),
        "fold_input[ms]": 1000 * fold,
        "pack_input[ms]": 1000 * pack,
        "copy_input_data_to_device[ms]": 1000 * copy_in,
        "copy_output_data_from_device[ms]": 1000 * copy_out,
        "unpack_output[ms]": 1000 * unpacking,
        "unfold_output[ms]": 1000 * unfolding,
    }


def _timed(action: Callable[[], T]) -> tuple[T, float]:
    """What an action returns, and its seconds."""
    begin = time.perf_counter()
    result = action()
    return result, time.perf_counter() - begin
