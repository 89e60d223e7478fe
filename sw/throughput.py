"""How fast a device takes clips, in the keys of FINN's driver, so that figures can be laid side by side.

FINN's ``throughput_test`` measures what a batch takes as a whole, and then each step of the host by itself. So does this:
``runtime`` and all that is made of it are those of the whole batch from input tensors to results, transfers included, which go
on while other clips are computed (FINN's leave them out). The steps overlap, so their sum is more than the runtime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from golden.spec.registers import STATISTICS_BYTES as RECORD_BYTES
from sw.packing import Array, Bytes
from sw.pipeline import PLACES
from sw.results import StatisticsReader, conclude, poison, unpack

T = TypeVar("T")

AGAIN = 20  #: how often the host's own time is measured; the least counts, since other work only adds to it
STEPS = ("fold_input", "pack_input", "copy_input_data_to_device", "copy_output_data_from_device", "unpack_output",
         "unfold_output")  #: of the host, measured one by one

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
    driver.run(list(clips[:PLACES]))  # now the program is in memory, and the host has the arrays that it packs into
    begin = time.perf_counter()
    driver.run(list(clips))
    runtime = time.perf_counter() - begin

    device, pipeline = driver.device, driver.pipeline
    bundle, manifest, place = pipeline.bundle, pipeline.bundle.manifest, pipeline.place
    program = manifest.programs["run"]
    tensor = program.tensors[program.result]
    reader = StatisticsReader(program, device.uri, manifest.records)
    empty = poison(program, manifest.records)
    spent = dict.fromkeys(STEPS, 0.0)

    def timed(step: str, action: Callable[[], T]) -> T:
        begin = time.perf_counter()
        result = action()
        spent[step] += time.perf_counter() - begin
        return result

    def write(data: Bytes) -> None:
        device.write_memory(place.clip, data.data)
        device.write_memory(place.statistics, empty)

    def read() -> tuple[Bytes, Bytes]:
        recorded = max(len(empty) - RECORD_BYTES, 0)  # END leaves none
        found = (device.read_memory(place.results, tensor.size), device.read_memory(place.statistics, recorded))
        return np.frombuffer(found[0], np.uint8), np.frombuffer(found[1], np.uint8)

    def unfold(values: Array, records: Bytes) -> None:
        conclude(bundle, values, {}, reader, reader.read(records), 0, 0)

    packed: Bytes | None = None
    for clip in clips:
        timed("fold_input", partial(pipeline.pack.fold, clip))
        packed = timed("pack_input", partial(pipeline.pack.pack, packed))
        timed("copy_input_data_to_device", partial(write, packed))
    driver.run(clips[0])  # so that there is something to read
    for _ in clips:
        output, records = timed("copy_output_data_from_device", read)
        values = timed("unpack_output", partial(unpack, output, tensor, manifest))
        timed("unfold_output", partial(unfold, values, records))

    moved_in, moved_out = manifest.input_bytes * len(clips), (tensor.size + len(empty) - RECORD_BYTES) * len(clips)
    return {
        "runtime[ms]": 1000 * runtime,
        "throughput[images/s]": len(clips) / runtime,
        "DRAM_in_bandwidth[MB/s]": moved_in / runtime / 1e6,
        "DRAM_out_bandwidth[MB/s]": moved_out / runtime / 1e6,
        "fclk[mhz]": device.clock / 1e6,
        "batch_size": len(clips),
        **{f"{step}[ms]": 1000 * seconds for step, seconds in spent.items()},
    }


def own_time(driver: Driver, clips: Sequence[Array]) -> tuple[float, float]:
    """Seconds of processor time that a clip takes the host: packing alone, and everything, on a device that takes none.

    Processor time, since a clip takes so little that the clock on the wall would show other programs.

    Parameters
    ----------
    driver : Driver
        Of a ``null:`` device, with a bundle loaded and nothing on its way.
    clips : sequence of [T, H, W, C] uint8
        Many: one by itself is too short to be measured.
    """
    pack = driver.pipeline.pack
    packed = pack(clips[0])
    driver.run(list(clips))
    found = []
    for _ in range(AGAIN):
        begin = time.process_time()
        for clip in clips:
            pack(clip, packed)
        middle = time.process_time()
        driver.run(list(clips))
        found.append((middle - begin, time.process_time() - middle))
    return min(x for x, _ in found) / len(clips), min(x for _, x in found) / len(clips)
