"""HAMMING beside LINEAR: the order of an attention layer's passes, and of those that make its Q, K and V.

The machine starts descriptors in their order, and HAMMING runs beside LINEAR (docs/architecture.md, "A program's run"). So K and
V of the first heads come first; HAMMING makes the weights of these while the array makes K and V of the next ones, then Q, then
what attention to the heads before gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.model import ATTENTION, CONV
from sw.ahead import least_cycles
from sw.allocation import Slots
from sw.fields import Pass
from sw.packing import round_up
from sw.passes import Stage

MOST = 4  #: results of HAMMING that wait at a time


def overlapped(stages: Sequence[Stage], config: Config) -> list[Stage]:
    """The stages, those of attention and of the convolutions right before it that make its Q, K and V ordered anew.

    These convolutions become one stage, in which HAMMING begins; of attention the rest is another one, so that what they read
    need not live as long as what it makes. Where HAMMING has no room beside, all stays as it is.
    """
    found: list[Stage] = []
    for stage in stages:
        taken = 0
        while stage.layer.op in ATTENTION and taken < len(found) and _projects(found[-1 - taken], stage):
            taken += 1
        run = found[len(found) - taken :]
        making = [x for one in run for x in one.passes]
        slots = _slots([*making, *stage.passes], config)
        if not slots.count:
            found.append(stage)
            continue
        before, behind = _ordered(making, stage.passes, slots, config)
        found[len(found) - taken :] = [replace(stage, passes=behind, slots=slots)]
        if run:
            layers = tuple(one.layer for one in run)
            found.insert(-1, Stage(layers, before, stage.size, slots=slots))
    return found


def _projects(stage: Stage, attention: Stage) -> bool:
    """Whether a stage is a convolution that makes Q, K or V of this attention layer, and no residual values."""
    layer = stage.layer
    writes = {x.bases.get("spike_dst") for x in stage.passes}  # what it gathers first is another stage
    plain = layer.op == CONV and not (layer.residual or layer.u_out)
    return plain and layer.spike_out in attention.layer.inputs and layer.spike_out in writes


def _slots(passes: Sequence[Pass], config: Config) -> Slots:
    """Places for HAMMING's results: up to `MOST`, such that all others have room for two passes, if need be for one."""
    made = [x for x in passes if x.opcode == Opcode.HAMMING]
    others = [x for x in passes if x.opcode == Opcode.LINEAR and x.parameters.size]
    for share in (2, 1) if made else ():
        rows = config.weight_rows - share * max((x.rows for x in others), default=0)
        beats = config.param_beats - share * max((x.beats for x in others), default=0)
        count = min(len(made), MOST, rows // made[0].rows, beats // made[0].beats)
        if count > 0:
            return Slots(count, made[0].rows, made[0].beats)
    return Slots()


def hamming_loads(config: Config, d: Mapping[str, int]) -> int:
    """Words that HAMMING reads of each bank."""
    words, loads = -(-d["width"] // config.word), config.ham_tokens // config.cores
    return 2 * words * words * loads * -(-d["bank_tokens"] // loads)


def hamming_cycles(config: Config, d: Mapping[str, int]) -> int:
    """Cycles of a HAMMING descriptor (the states of hw/hamming.py, one by one)."""
    width, loads = d["width"], config.ham_tokens // config.cores
    words, groups = -(-width // config.word), width // config.lanes
    groups_per_word = min(width, config.word) // config.lanes
    blocks = -(-d["bank_tokens"] // loads)
    load = hamming_loads(config, d) + 2 * words * words * blocks
    count = blocks * (width + 1) * words * groups_per_word
    write = groups * (4 + width * (d["slices"] + 2) + config.beats * (1 + config.param_parts))
    return 1 + load + count + 4 + write + 1 + 4 * config.far


def _ordered(making: Sequence[Pass], attending: Sequence[Pass], slots: Slots, config: Config) -> tuple[list[Pass], list[Pass]]:
    """What makes Q, K and V with the HAMMING passes that fit beside it, and the rest.

    HAMMING never makes LINEAR wait for its start, by the least times that these take. Behind Q each application to heads starts
    the next HAMMING, and waits for all that have started before.
    """
    starts = [i for i, x in enumerate(attending) if x.opcode == Opcode.HAMMING]
    pairs = [(attending[i], attending[i + 1]) for i in starts]
    kv = {x.bases[name] for x, _ in pairs for name in ("k_src", "v_src")}
    width = pairs[0][0].fields["width"] // config.lanes
    left = sorted(making, key=lambda x: (x.bases["spike_dst"] not in kv, x.fields["first_group"] // width))
    before: list[Pass] = []
    behind: list[Pass] = []
    made, linear, hamming = 0, 0, 0  # units are free from these cycles on
    most = slots.count if slots.count == len(pairs) else max(slots.count - 1, 1)  # the first application starts one more

    def make(**flags: int) -> Pass:
        return replace(pairs[made][0], fields=pairs[made][0].fields | flags, slot=made % slots.count)

    while left:
        before.append(left.pop(0))
        linear += least_cycles(config, Opcode.LINEAR, before[-1].fields)
        if left and made < most and hamming <= linear and not _missing(pairs[made], left, config):
            before.append(make(beside=1))
            hamming = linear + hamming_cycles(config, before[-1].fields)
            made += 1
    for i, (_, apply) in enumerate(pairs):
        if i == made:
            behind.append(make())
            made += 1
        ahead = int(made < len(pairs) and slots.count > 1)
        flags = {"after_hamming": 1, "beside": ahead}
        behind.append(replace(apply, fields=apply.fields | flags, slot=i % slots.count))
        if ahead:
            behind.append(make())
            made += 1
    return before, behind + list(attending[starts[-1] + 2 :])


def _missing(pair: tuple[Pass, Pass], left: Sequence[Pass], config: Config) -> bool:
    """Whether words of K or V with the heads that HAMMING makes weights of, and that are applied then, are yet to be written.

    Heads next to them in a word count, too: nobody reads a word while another one writes to it.
    """
    low = pair[1].fields["first_group"] * config.lanes
    high = round_up(low + pair[0].fields["width"], config.word)
    low -= low % config.word
    return any(x.bases["spike_dst"] in pair[0].bases.values() and x.fields["first_group"] * config.lanes < high
               and low < (x.fields["first_group"] + x.fields["groups"]) * config.lanes for x in left)
