"""A descriptor on some of its output places: which places of its tensors it needs, and its fields once these are on chip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from golden.spec.descriptor import Opcode
from sw.fields import Pass, Place

READS = ("origin", "k_src", "v_src", "u_src")  #: address fields of what a descriptor reads; the others are of what it writes
OTHER = "other"  #: stands for the address of `Pass.other`
SPIKE_SPACE, RESIDUAL_SPACE = 0, 1


class Box(NamedTuple):
    """Rows and columns of a tensor, or of the places that a layer makes."""

    rows: range
    columns: range

    @property
    def places(self) -> int:
        """Places in it."""
        return len(self.rows) * len(self.columns)


@dataclass(frozen=True)
class Form:
    """How a tensor lies in a memory of the machine, and outside it: copies of rows of places, one behind the other.

    ``unit`` units (bank words, beats) are a place, and ``size`` bytes in external memory are a unit, that of all banks together.
    LOAD and STORE put ``run`` units into each bank in turn. On chip there may be gaps between rows, such that a kernel ``window``
    wide goes on with the next row where one ends, modulo ``taps``; 0: there are none.
    """

    space: int
    height: int
    width: int
    copies: int
    unit: int
    size: int
    run: int = 1
    window: int = 0
    taps: int = 1

    @property
    def box(self) -> Box:
        """All places."""
        return Box(range(self.height), range(self.width))

    @property
    def units(self) -> int:
        """Units of the whole tensor in external memory."""
        return self.copies * self.height * self.width * self.unit

    def row(self, columns: int) -> int:
        """Units on chip from one row of so many places to the next."""
        own = columns * self.unit
        return own + (self.window * self.unit - own) % self.taps if self.window else own

    @property
    def resident(self) -> int:
        """Units of the whole tensor on chip."""
        return self.copies * self.height * self.row(self.width)


@dataclass(frozen=True)
class Buffer:
    """Where some places of some copies of a tensor lie on chip, from ``base`` on."""

    form: Form
    base: int
    box: Box
    copies: range

    @property
    def row(self) -> int:
        """Units from one row to the next."""
        return self.form.row(len(self.box.columns))

    @property
    def copy(self) -> int:
        """Units from one copy to the next."""
        return len(self.box.rows) * self.row

    def address(self, place: Place) -> int:
        """Address of a place, which may be outside by a padding."""
        y, x, copy = place.y - self.box.rows.start, place.x - self.box.columns.start, place.copy - self.copies.start
        return self.base + copy * self.copy + y * self.row + x * self.form.unit


class Use(NamedTuple):
    """Places of a tensor that a descriptor needs for output places ``o``: from ``start + o * step`` on ``kernel`` ones."""

    start: int
    step: int
    kernel: int

    def of(self, places: range, size: int) -> range:
        """Rows (or columns) of ``size`` ones that are needed for a range of output places; padding is none."""
        low = min(max(self.start + places.start * self.step, 0), size)
        return range(low, max(min(self.start + (places.stop - 1) * self.step + self.kernel, size), low))


class Window(NamedTuple):
    """Places of a tensor of ``size`` (height, width) that a layer reads for each of its own."""

    y: Use
    x: Use
    size: tuple[int, int]


SAME = Use(0, 1, 1)  #: of a place the same one


def uses(part: Pass, address: str, form: Form) -> tuple[Use, Use]:
    """What a descriptor needs of the tensor of an address field, in y and x, by the output places of its layer."""
    at = part.at.get(address, Place())
    if address in ("k_src", "v_src") and address not in part.at:
        return Use(0, 0, form.height), Use(0, 0, form.width)
    step, kernel = (1, 1), (1, 1)
    if address == "spike_dst":
        return Use(0, part.scale, part.scale), Use(0, part.scale, part.scale)
    if address in ("origin", OTHER):
        straight = bool(part.other) or part.through
        step, kernel = part.step, (part.fields["kernel_h"], 1 if straight else part.fields["kernel_w"])
    starts = at.y - part.first[0] * step[0], at.x - part.first[1] * step[1]
    return Use(starts[0], step[0], kernel[0]), Use(starts[1], step[1], kernel[1])


def needed(part: Pass, address: str, form: Form, tile: Box) -> Box:
    """Places of the tensor of an address field that must be on chip while the layer makes the places of a tile."""
    y, x = uses(part, address, form)
    return Box(y.of(tile.rows, form.height), x.of(tile.columns, form.width))


def share(part: Pass, tile: Box) -> Box:
    """Output places of a tile that a descriptor has to do with, counted from its own first one; there may be none."""
    if part.opcode == Opcode.HAMMING:
        size = (1, 1) if part.at else (tile.rows.stop, tile.columns.stop)
    else:
        size = part.fields["out_h"], part.fields["out_w"]
    rows, columns = (
        range(max(some.start - first, 0), max(min(some.stop - first, most), 0))
        for some, first, most in zip(tile, part.first, size, strict=True)
    )
    return Box(rows, columns)


def placed(part: Pass, tile: Box, buffers: Mapping[str, Buffer]) -> dict[str, int]:
    """All fields of a descriptor that makes a tile, but for those of its weights.

    Parameters
    ----------
    part : Pass
        Of the whole layer.
    tile : Box
        Output places of the layer, some of which are the pass's.
    buffers : mapping
        Of every tensor of the pass by name: with the places that `needed` says.
    """
    own = share(part, tile)
    rows, columns = len(own.rows), len(own.columns)
    fields = dict(part.fields)
    for address, name in part.bases.items():
        at = part.at.get(address, Place())
        step = {"origin": part.step, "spike_dst": (part.scale, part.scale), "k_src": (0, 0), "v_src": (0, 0)}.get(address, (1, 1))
        place = Place(at.y + own.rows.start * step[0], at.x + own.columns.start * step[1], at.copy)
        fields[address] = fields.get(address, 0) + buffers[name].address(place)
        if address == "origin":
            fields |= _window(part, place, (rows, columns), buffers[name])
            if part.other:
                distance = buffers[part.other].address(place) - buffers[name].address(place)
                fields[address] += min(distance, 0)
                fields["x_stride"] = abs(distance)
    if part.opcode == Opcode.HAMMING:
        return fields
    fields |= {"out_h": rows, "out_w": columns}
    if "origin" not in part.bases:
        fields |= {"in_h": 0, "in_w": 0}
    if "spike_dst" in part.bases:
        target = buffers[part.bases["spike_dst"]]
        apart = part.scale * target.form.unit
        fields |= {"dst_pos_stride": apart, "dst_row_skip": part.scale * target.row - columns * apart if rows > 1 else 0}
    return fields


def _window(part: Pass, first: Place, out: tuple[int, int], source: Buffer) -> dict[str, int]:
    """Fields that say which words the taps read, of which the first one's place is ``first``.

    Taps behind the padding begin further inside: the rows and columns before them are no input of this descriptor. Where no
    tap is ever outside, the machine need not know the stride.
    """
    form = source.form
    kernel = part.fields["kernel_h"], part.fields["kernel_w"]
    spatial = kernel[0], 1 if part.other or part.through else kernel[1]
    before = [max(-x, 0) for x in first[:2]]
    size = [max(n - max(x, 0), 0) for n, x in zip((form.height, form.width), first[:2], strict=True)]
    last = [(n - 1) * step + taps for n, step, taps in zip(out, part.step, spatial, strict=True)]
    fields = {
        "padding_y": before[0], "padding": before[1], "in_h": size[0], "in_w": size[1],
        "stride": max(part.step) if max(out) > 1 else 1, "x_stride": source.copy if part.through else form.unit,
        "y_stride": source.row, "ox_stride": part.step[1] * form.unit, "oy_stride": part.step[0] * source.row,
    }
    if not any(before) and all(n >= most for n, most in zip(size, last, strict=True)):
        fields |= {"stride": 1, "in_h": out[0] - 1 + kernel[0], "in_w": out[1] - 1 + kernel[1]}
    return fields
