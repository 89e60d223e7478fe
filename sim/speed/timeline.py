"""One clip as a timeline in Chrome's trace format, which Perfetto (ui.perfetto.dev) and chrome://tracing open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from golden.spec.registers import SLOT_STATES
from sim.speed.measure import Run
from sw.bundle import Bundle
from sw.results import spans

HOST, MACHINE = 1, 2  #: processes of the trace
ENGINES = ("linear", "hamming", "load", "store", "waiting")  #: threads of the machine


def events(run: Run, bundle: Bundle, mhz: float, slots: int, axi_bytes: int) -> Iterator[dict[str, Any]]:
    """Events of the trace; times are microseconds since the host began with the clip.

    The machine's are its cycles at ``mhz``, its start where the host had packed the clip; the host's were measured.

    Parameters
    ----------
    run : Run
        The clip.
    bundle : Bundle
        Whose program ``run`` it is of.
    mhz : float
        Clock of the machine.
    slots : int
        Issue slots: a counter shows how many are in each state, mean of each LINEAR descriptor.
    axi_bytes : int
        Bytes that a beat of the memory port moves: another counter shows how many a cycle are read and written.
    """
    for process, name in ((HOST, "host"), (MACHINE, "accelerator")):
        yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}
    for thread, name in enumerate(ENGINES):
        yield {"ph": "M", "name": "thread_name", "pid": MACHINE, "tid": thread, "args": {"name": name}}

    before, after = (1e6 * x for x in run.host)

    def span(process: int, thread: int, name: str, begin: float, duration: float, **args: object) -> dict[str, Any]:
        return {"ph": "X", "name": name, "pid": process, "tid": thread, "ts": before + begin, "dur": duration, "args": args}

    def counter(name: str, at: float, values: dict[str, float]) -> dict[str, Any]:
        return {"ph": "C", "name": name, "pid": MACHINE, "ts": before + at, "args": values}

    total = run.measured.cycles / mhz
    yield span(HOST, 0, "pack and write the clip", -before, before)
    yield span(HOST, 0, "wait for the machine", 0.0, total)
    yield span(HOST, 0, "read statistics and result", total, after)

    end, steps, beside = 0, bundle.manifest.programs["run"].steps, [d["beside"] for d in bundle.descriptors("run")]
    for step, record, (begin, following) in zip(steps, run.measured.records, spans(run.measured.records, beside), strict=False):
        if begin > end:
            yield span(MACHINE, ENGINES.index("waiting"), f"before {step.layer}", end / mhz, (begin - end) / mhz)
        yield span(MACHINE, ENGINES.index(step.opcode), step.layer, begin / mhz, (following - begin) / mhz, **record)
        end = max(end, following)
        if step.opcode == "linear":
            states = {state: slots * record[state] / sum(record[x] for x in SLOT_STATES) for state in SLOT_STATES}
            yield counter("slots", begin / mhz, states)
            yield counter("slots", following / mhz, dict.fromkeys(SLOT_STATES, 0.0))

    for (cycle, *moved), (until, *then) in zip(run.samples, run.samples[1:], strict=False):
        rates = [(b - a) * axi_bytes / max(until - cycle, 1) for a, b in zip(moved, then, strict=True)]
        yield counter("memory, bytes a cycle", cycle / mhz, dict(zip(("read", "written"), rates, strict=True)))
    yield counter("memory, bytes a cycle", total, {"read": 0.0, "written": 0.0})


def write(path: Path, found: Iterator[dict[str, Any]], clock: str) -> None:
    """Write the trace; ``clock`` says which one its times are of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    trace = {"traceEvents": list(found), "displayTimeUnit": "ns", "otherData": {"machine's clock": clock}}
    path.write_text(json.dumps(trace), encoding="utf-8")
