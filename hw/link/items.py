"""What flows through the link: bytes, and bytes with the ends of frames."""

from __future__ import annotations

from amaranth.lib import data, stream


def byte_stream() -> stream.Signature:
    """Bytes, as on the line."""
    return stream.Signature(8)


def item_layout() -> data.StructLayout:
    """A byte of a frame, or, with ``end``, the frame's end, which has no data; ``broken``: the frame cannot be whole."""
    return data.StructLayout({"data": 8, "end": 1, "broken": 1})


def items() -> stream.Signature:
    """Frames one behind the other, as seen by who makes them."""
    return stream.Signature(item_layout())
