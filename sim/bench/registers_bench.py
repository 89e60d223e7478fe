"""`hw.registers.RegisterBank` at rest against its twin, over AXI4-Lite."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from golden.spec.registers import ADDRESS_BITS, REGISTERS
from hw.registers import RegisterBank
from sim.lib.axi import Host
from sim.lib.clock import Bench, Probe
from sim.lib.pack import join
from sim.lib.runner import settings


@cocotb.test()
async def accesses(dut: Any) -> None:
    """Random accesses: registers of every kind and unmapped addresses, any strobes; answers, orders and outputs."""
    c, count, seed = settings()
    random.seed(seed)
    host = Host(dut, bench := Bench(dut))
    orders = {name: Probe(dut, name) for name in ("start", "abort")}
    outputs = {name: Probe(dut, name) for name in ("program", "watchdog", "segments", "irq")}
    bench.agents = [host, *orders.values(), *outputs.values()]
    await bench.reset()
    history: list[tuple[int, int | None, int]] = []
    for _ in range(count):
        name = random.choice([*REGISTERS, None])
        address = REGISTERS[name].address if name else 4 * random.randrange(1 << (ADDRESS_BITS - 2))
        value = random.choice([None, random.getrandbits(32), random.getrandbits(2)])
        history.append((address, value, random.choice([15, random.getrandbits(4)])))
        host.rate = random.choice([1.0, 0.5, 0.1])
        address, value, strobe = history[-1]
        answer = await host.read(address) if value is None else (0, await host.write(address, value, strobe))
        answers, ordered = RegisterBank.model(c, history)
        what = f"access {len(history) - 1} (seed {seed}): {history[-1]}"
        assert answer == answers[-1], f"{what}: {answer}, not {answers[-1]}"
        assert {x: p.total for x, p in orders.items()} == {x: ordered.count(x) for x in orders}, what
    reads: list[tuple[int, int | None, int]] = [
        (REGISTERS[x].address, None, 0) for x in ("PROGRAM", "WATCHDOG", *(f"SEGMENT{i}" for i in range(4)))]
    program, watchdog, *segments = (data for data, _ in RegisterBank.model(c, history + reads)[0][len(history):])
    expected = {"program": program, "watchdog": watchdog, "segments": join(segments, 32), "irq": 0}
    assert {name: probe.value for name, probe in outputs.items()} == expected
