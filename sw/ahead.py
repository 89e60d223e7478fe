"""Weights that load earlier than while the descriptor before runs: long images during long layers, as far as memory allows.

The loader goes through a program in its order, and only a little ahead: an image that is longer than the layer before it makes
the array wait, though the bus was idle during longer layers before that. Pieces of such an image are handed to these, which load
them when they have started (descriptor fields ``offset``, ``count``, ``base``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import lcm

from golden.spec.config import Config
from golden.spec.descriptor import FIELDS, Opcode, taps_at_once
from sw.allocation import Region
from sw.packing import round_up

REACH = 8  #: descriptors that an image may load ahead of its use
FETCH = 64  #: cycles that a descriptor takes to be fetched, and an image to be asked for


Program = Sequence[tuple[Opcode, dict[str, int]]]


def load_ahead(config: Config, program: Program) -> None:
    """Move images of a program to earlier descriptors where that saves waiting.

    Parameters
    ----------
    config : Config
        The machine.
    program : sequence of (Opcode, dict)
        All descriptors but END; their fields change.
    """
    time = [least_cycles(config, opcode, d) for opcode, d in program]
    load = [_loading(config, d) for _, d in program]
    used = [region(config, opcode, d) for opcode, d in program]
    computing = [i for i, (opcode, _) in enumerate(program) if opcode in (Opcode.LINEAR, Opcode.HAMMING)]
    before = [max((x for x in computing if x < i), default=0) for i in range(len(program))]
    behind = [min((x for x in computing if x > i), default=i) for i in range(len(program))]
    held: list[tuple[int, int, Region]] = []  # what loads early: from which descriptor to which, and where
    for user, (opcode, d) in enumerate(program):
        wait = sum(load[before[user] + 1 : user + 1]) - time[before[user]] if user else 0
        if user < 2 or wait <= 0 or opcode != Opcode.LINEAR or d.get("lanewise") or _shared(program, used, user):
            continue
        pieces = _pieces(config, program, user, wait, [time[i] - sum(load[i + 1 : behind[i] + 1]) for i in range(user - 1)])
        kept = _kept(program, used, user) if pieces else []
        row = None
        while pieces and row is None:
            first = pieces[-1][0]
            busy = [*used[_first(program, first) : user], *used[user + 1 : user + 2], *kept]
            row = _free(config, used[user].rows, busy + [place for begin, end, place in held if begin <= user and first <= end])
            if row is None:
                pieces.pop()
        if row is None:
            continue
        used[user] = replace(used[user], row=row)
        held.append((pieces[-1][0], user, used[user]))
        for i, rows in pieces:
            program[i][1].update(offset=d["weight_addr"] + rows.start * config.row_bits // 8, count=len(rows),
                                 base=row + rows.start // config.issue)
            time[i] -= len(rows) * config.row_bits // config.axi_bits
        d.update(weight_rows=pieces[-1][1].start, weight_base=row)
        load[user] = _loading(config, d)
    for i, (_, d) in enumerate(program):
        # its image is smaller now, or the one before lies elsewhere
        if i and "param_addr" in d and not d["prefetch"]:
            d["prefetch"] = int(all(_apart(x, used[i], bool(d.get("weight_rows"))) for x in used[_first(program, i - 1) : i]))


def _pieces(config: Config, program: Program, user: int, wait: int, slack: Sequence[int]) -> list[tuple[int, range]]:
    """Who loads which rows of an image, the nearest first: the last ones, as many as make ``wait`` cycles, in their idle time.

    The first rows stay with the image's own descriptor. Pieces begin at multiples of 64 bytes.
    """
    grain = lcm(config.issue, max(512 // config.row_bits, 1))
    end = program[user][1].get("weight_rows", 0)
    least = max(end - -(-wait * config.axi_bits // config.row_bits), 0) // grain * grain
    pieces = []
    for i in range(user - 2, max(user - REACH, 0) - 1, -1):
        opcode, d = program[i]
        begin = max(end - slack[i] * config.axi_bits // config.row_bits, least)
        begin = -(-begin // grain) * grain
        if opcode == Opcode.LINEAR and not d.get("count") and end - begin >= grain:
            pieces.append((i, range(begin, end)))
            end = begin
    return pieces


def region(config: Config, opcode: Opcode, fields: Mapping[str, int]) -> Region:
    """What a descriptor uses of weight and parameter memory."""
    d = {**dict.fromkeys(FIELDS, 0), **fields}
    if opcode not in (Opcode.LINEAR, Opcode.HAMMING):
        return Region()
    rows = d["groups"] * d["slices"] * d["slice_words"] * (1 if d["lanewise"] else config.rows_per_word)
    return Region(d["weight_base"], round_up(rows, config.rows_per_word), d["param_base"], d["groups"] * config.beats)


def least_cycles(config: Config, opcode: Opcode, fields: Mapping[str, int]) -> int:
    """Cycles that a LINEAR descriptor takes at least, whatever its spikes are; of others none are counted on."""
    d = {**dict.fromkeys(FIELDS, 0), **fields}
    if opcode != Opcode.LINEAR:
        return 0
    taps = d["kernel_h"] * d["kernel_w"]
    fetches = -(-taps // taps_at_once(d, config)) if d["lanewise"] else taps * d["words"]
    passes = d["out_h"] * d["out_w"] * d["groups"] * d["steps"] * d["slices"] * d["planes"]
    return passes * max(fetches + 1, config.cores * config.beats)


def _loading(config: Config, d: Mapping[str, int]) -> int:
    """Cycles from when the loader may begin until a descriptor and its images are there, about."""
    images = d.get("weight_rows", 0) * config.row_bits + d.get("param_beats", 0) * config.param_beat_bits
    return 2 * FETCH + images // config.axi_bits if images else FETCH


def _shared(program: Program, used: Sequence[Region], user: int) -> bool:
    """Whether later descriptors find the weights of this one in their place."""
    mine = used[user]
    return any((x.row, x.rows) == (mine.row, mine.rows) and not d.get("weight_rows")
               for x, (_, d) in zip(used[user + 1 :], program[user + 1 :], strict=True))


def _kept(program: Program, used: Sequence[Region], user: int) -> list[Region]:
    """Rows that later descriptors find in their place, and that are there before this one."""
    fresh, found = set[Region](), dict[Region, None]()
    for x, (opcode, d) in zip(used[user + 1 :], program[user + 1 :], strict=True):
        place = Region(x.row, x.rows)
        if d.get("weight_rows") or opcode == Opcode.HAMMING:
            fresh.add(place)
        elif place.rows and place not in fresh:
            found[place] = None
    return list(found)


def _first(program: Program, i: int) -> int:
    """The first of those descriptors that may still run when this one does."""
    while i and program[i - 1][1].get("beside"):
        i -= 1
    return i


def _free(config: Config, rows: int, busy: Sequence[Region]) -> int | None:
    """Lowest place for so many bank rows that nobody uses."""
    for row in sorted({0, *(round_up(x.row + x.rows, config.rows_per_word) for x in busy)}):
        if row + rows <= config.weight_rows and all(row + rows <= x.row or x.row + x.rows <= row for x in busy if x.rows):
            return row
    return None


def _apart(a: Region, b: Region, rows: bool) -> bool:
    """Whether two descriptors use other beats, and, where that matters, other rows."""
    beats_apart = not a.beats or a.beat + a.beats <= b.beat or b.beat + b.beats <= a.beat
    return beats_apart and (not rows or not a.rows or a.row + a.rows <= b.row or b.row + b.rows <= a.row)
