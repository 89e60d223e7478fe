"""The input in bands of rows: the first layer works on one band while the next one is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from golden.spec.config import Config
from golden.spec.descriptor import FIELDS, Opcode

Descriptor = tuple[Opcode, dict[str, int]]

BEATS = 1024  #: of the bus, about, in a band: much more than a descriptor takes to be fetched


def in_bands(config: Config, load: Descriptor, first: Descriptor) -> list[Descriptor]:
    """LOAD of the input, and the LINEAR descriptor behind it, which reads it, in bands; or both as they are.

    LOAD n + 1 starts when LOAD n is done, for there is one unit: so where it stands before LINEAR n, this finds its rows. Both
    run beside what follows, and LINEAR n + 1 waits for LINEAR n. The last LINEAR has to wait for the last LOAD by itself.

    Parameters
    ----------
    config : Config
        The machine.
    load, first : (Opcode, dict)
        The two; their fields do not change.
    """
    d, fields = {**dict.fromkeys(FIELDS, 0), **first[1]}, load[1]
    count = min(d["out_h"], fields["count"] * config.word // config.axi_bits // BEATS)  # of bands, at most
    row = d["y_stride"]  # bank words of an input row
    if first[0] != Opcode.LINEAR or count < 2 or d["integrate"] or not row or row % fields["step_stride"]:
        return [load, first]
    size, (height, rest) = row * config.cores * config.word // 8, divmod(fields["count"], row * config.cores)
    ends = [(i + 1) * d["out_h"] // count for i in range(count)]
    needed = {min(_rows_until(d, fields["base"], end), height): end for end in ends}  # of some rows as many outputs as there are
    rows, outputs = [0, *list(needed)[:-1], height], [0, *needed.values()]
    if rest or len(needed) < 2 or any(x * size % 64 for x in rows):
        return [load, first]
    loads = [(Opcode.LOAD, {**fields, "count": (b - a) * row * config.cores, "base": fields["base"] + a * row, "beside": 1,
                            "offset": fields["offset"] + a * size}) for a, b in pairwise(rows)]
    parts = [(Opcode.LINEAR, x) for x in _parts(first[1], outputs)]
    order = [loads[0]]
    for following, part in zip(loads[1:], parts, strict=False):
        part[1]["beside"] = 1
        order += [following, part]
    parts[-2][1]["beside"] = 0
    parts[-1][1]["after_move"] = 1
    return [*order, parts[-1]]


def _rows_until(d: dict[str, int], base: int, end: int) -> int:
    """Input rows from ``base`` on that outputs before row ``end`` read, or that lie before what they read."""
    last = (d["origin"] + (end - 1) * d["oy_stride"] + (d["kernel_h"] - 1) * d["y_stride"] + (d["out_w"] - 1) * d["ox_stride"]
            + (d["kernel_w"] - 1) * d["x_stride"] + d["steps"] * d["step_stride"])
    return -(-(last - base) // d["y_stride"])


def _parts(fields: dict[str, int], outputs: list[int]) -> Iterator[dict[str, int]]:
    """The LINEAR descriptor for each of several ranges of output rows; all but the first find their weights in place."""
    d = {**dict.fromkeys(FIELDS, 0), **fields}
    for begin, end in pairwise(outputs):
        outside = min(begin * d["stride"], d["padding_y"])  # rows of the padding that lie above this part
        part = fields | {
            "out_h": end - begin, "origin": d["origin"] + begin * d["oy_stride"], "padding_y": d["padding_y"] - outside,
            "in_h": d["in_h"] - (begin * d["stride"] - outside),
            "spike_dst": d["spike_dst"] + begin * (d["out_w"] * d["dst_pos_stride"] + d["dst_row_skip"]),
            "u_src": d["u_src"] + begin * d["out_w"] * d["u_pos_stride"],
            "u_dst": d["u_dst"] + begin * d["out_w"] * d["u_pos_stride"],
        }
        yield part | ({"weight_rows": 0, "param_beats": 0, "prefetch": 0} if begin else {})
