"""What the two DMA engines share: their jobs."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal, Value
from amaranth.lib import data, stream

from golden.spec.config import Config, clog2
from hw.axi import MAX_BURST


def job_layout() -> data.StructLayout:
    """``beats`` (at least one) full-width beats from byte address ``addr``, a multiple of the beat."""
    return data.StructLayout({"addr": 32, "beats": 24})


def job_stream() -> stream.Signature:
    """A stream of jobs."""
    return stream.Signature(job_layout())


def burst_beats(config: Config, addr: Signal, beats: Signal) -> Value:
    """Length of the next burst: to the next multiple of ``MAX_BURST`` beats, or to the end of the job."""
    offset = addr[clog2(config.axi_bytes):clog2(config.axi_bytes * MAX_BURST)]
    room = MAX_BURST - offset
    return Mux(beats < room, beats, room)[:clog2(MAX_BURST) + 1]
