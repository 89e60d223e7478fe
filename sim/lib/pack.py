"""Payloads as Python integers: Amaranth layouts, lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amaranth.hdl import Shape
from amaranth.lib import data


def pack(layout: data.StructLayout, values: Mapping[str, int]) -> int:
    """The bits of a flat structure; fields not in ``values`` are 0."""
    bits = 0
    for name, value in values.items():
        field = layout[name]
        shape = Shape.cast(field.shape)
        bits |= (value & ((1 << shape.width) - 1)) << field.offset
    return bits


def unpack(layout: data.StructLayout, bits: int) -> dict[str, int]:
    """All fields of a flat structure."""
    values = {}
    for name, field in layout:
        shape = Shape.cast(field.shape)
        value = bits >> field.offset & ((1 << shape.width) - 1)
        values[name] = value - (1 << shape.width) if shape.signed and value >> (shape.width - 1) else value
    return values


def join(values: Iterable[int], width: int) -> int:
    """Values side by side, the first one lowest."""
    mask = (1 << width) - 1
    return sum((int(v) & mask) << (i * width) for i, v in enumerate(values))


def split(bits: int, width: int, count: int, signed: bool = False) -> list[int]:
    """The inverse of `join`."""
    half, mask = 1 << (width - 1), (1 << width) - 1
    values = [bits >> (i * width) & mask for i in range(count)]
    return [v - (half << 1) if v & half else v for v in values] if signed else values
