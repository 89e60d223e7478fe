"""What a program moves between external memory and the chip: by tensor and layer, beside the least that it could be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from golden.spec.config import Config, preset
from golden.spec.descriptor import Opcode
from golden.spec.model import INPUT
from sw.compiler import plan_model
from sw.console import EXIT_CODES, app, mistakes, output
from sw.cycles import MEMORY, transfer_cycles
from sw.model_file import ModelFile, read_model
from sw.packing import round_up
from sw.program import ProgramBuilder
from sw.spilling import Plan
from sw.tiles import SPIKE_SPACE


@dataclass(frozen=True)
class Moved:
    """LOADs or STOREs of a tensor for one layer: bytes and cycles of all of them, the tensor's own bytes, and its values'.

    ``once`` bytes are the tensor in external memory, with empty lanes; ``packed`` are its values and no others.
    """

    opcode: Opcode
    tensor: str
    layer: str
    bytes: int
    cycles: int
    once: int
    packed: int


def traffic(plan: Plan, config: Config) -> list[Moved]:
    """What the program that stores its result only moves, the most bytes first."""
    nowhere = {id(part): (0, 0) for stage in plan.stages for part in stage.passes}
    found: dict[tuple[Opcode, str, str], tuple[int, int]] = {}
    for one in ProgramBuilder(plan, nowhere, traced=False).moves:
        key = one.opcode, one.tensor, one.layer
        size = config.word // 8 if one.fields["space"] == SPIKE_SPACE else config.u_beat_bits // 8
        cycles = transfer_cycles(config, {**one.fields, "opcode": one.opcode}, MEMORY)
        before = found.get(key, (0, 0))
        found[key] = before[0] + one.fields["count"] * size, before[1] + cycles
    rows = [Moved(*key, *moved, *_least(plan, key[1])) for key, moved in found.items()]
    return sorted(rows, key=lambda x: -x.bytes)


def _least(plan: Plan, name: str) -> tuple[int, int]:
    """Bytes of a tensor as it lies outside, and of its values alone (of what only its layer knows, all of it)."""
    form, layouts = plan.forms[name], plan.layouts
    if name not in layouts.shapes:
        return form.units * form.size, form.units * form.size
    bits = layouts.highs[name].bit_length() if name in layouts.highs else layouts.model.u_bits
    return form.units * form.size, round_up(prod(layouts.shapes[name]) * bits, 8) // 8


@app.command(epilog=EXIT_CODES)
def moves(
    model: Annotated[Path, typer.Argument(help="model file")],
    machine: Annotated[str, typer.Option("--preset", help="configuration")] = "base",
) -> None:
    """Show what a network moves to and from external memory, beside the least that it could."""
    with mistakes():
        source, config = read_model(model), preset(machine)
        plan, _ = plan_model(source, config)
        output.print(_table(source, plan, config))


def _table(source: ModelFile, plan: Plan, config: Config) -> Table:
    found = traffic(plan, config)
    table = Table(title=f"{source.model.name} on {config.name}")
    for name in ("", "tensor", "layer", "bytes", "cycles", "once", "packed"):
        table.add_column(name, justify="right" if table.columns[3:] or name == "bytes" else "left")
    for x in [*found, *_sums(found)]:
        table.add_row(x.opcode.name, x.tensor, x.layer, *(f"{n:,}" for n in (x.bytes, x.cycles, x.once, x.packed)))
    table.caption = f"{len(plan.outside - {INPUT})} tensors outside, {plan.cycles:,.0f} cycles by the plan"
    return table


def _sums(found: list[Moved]) -> Iterator[Moved]:
    for opcode in (Opcode.LOAD, Opcode.STORE):
        some = [x for x in found if x.opcode == opcode]
        yield Moved(opcode, "all", "", *(sum(getattr(x, name) for x in some) for name in ("bytes", "cycles", "once", "packed")))
