"""What the DMA engines are asked to do, and the beats they carry."""

from __future__ import annotations

from amaranth.lib import data, stream

MAX_OUTSTANDING = 4  #: bursts that an engine has on the way at once


def job_layout() -> data.StructLayout:
    """A DMA job: ``beats`` (at least 1) full-width beats from byte address ``addr``, a multiple of the beat size."""
    return data.StructLayout({"addr": 32, "beats": 24})


def beat_layout(bits: int) -> data.StructLayout:
    """One beat of a read job; ``last`` marks the job's last one."""
    return data.StructLayout({"data": bits, "last": 1})


def jobs() -> stream.Signature:
    """A stream of jobs, as seen by who asks."""
    return stream.Signature(job_layout())


def beats(bits: int) -> stream.Signature:
    """A stream of a read job's beats, as seen by the engine."""
    return stream.Signature(beat_layout(bits))
