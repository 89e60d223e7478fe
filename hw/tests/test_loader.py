"""Loader behind a read engine that stalls: images, order, waiting, errors."""

from __future__ import annotations

import pytest

from golden.spec.config import PRESETS, Config
from golden.spec.descriptor import FIELDS, Opcode, encode
from hw.loader import Loader
from hw.tests.bench import new_rng, receive, simulate

BASE, PROGRAM = 0x10000, 0x80


@pytest.mark.parametrize("config", PRESETS.values(), ids=lambda c: c.name)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_program(config: Config, stall: float) -> None:
    """Rows and parameters reach their places before the descriptor is offered, none while it must wait."""
    rng = new_rng()
    dut = Loader(config)
    memory: dict[int, int] = {}  # beats by address
    size = config.axi_bytes
    fields, images = [], []
    one = dict.fromkeys(("out_h", "out_w", "kernel_h", "kernel_w", "groups", "steps", "words", "planes", "slices"), 1)
    for i in range(6):
        rows, beats = config.issue * rng.randrange(5), rng.randrange(4)
        values = {**one, "weight_rows": rows, "weight_base": rng.randrange(64), "weight_addr": 0x1000 * (i + 1),
                  "param_beats": beats, "param_base": rng.randrange(8), "param_addr": 0x1000 * (i + 1) + 0x800,
                  "prefetch": rng.randrange(2), "theta": -rng.randrange(1, 1000), "layer": i}
        fields.append((Opcode.LINEAR, values))
        images.append([[rng.getrandbits(n) for _ in range(count)] for n, count in (
            (config.row_bits, rows), (config.param_beat_bits, beats))])
        for items, bits, address in zip(images[i], (config.row_bits, config.param_beat_bits),
                                        (values["weight_addr"], values["param_addr"]), strict=True):
            data = b"".join(x.to_bytes(bits // 8, "little") for x in items)
            memory.update({BASE + address + k: int.from_bytes(data[k:k + size], "little") for k in range(0, len(data), size)})
    fields.append((Opcode.END, {}))
    data = b"".join(w.to_bytes(4, "little") for op, v in fields for w in encode(op, v))
    memory.update({BASE + PROGRAM + k: int.from_bytes(data[k:k + size], "little") for k in range(0, len(data), size)})
    writes: list[tuple] = []
    allowed = True

    async def watch(ctx):
        w, p = dut.weight_write, dut.param_write
        while True:
            _, _, en, bank, row, value, p_en, addr, param = await ctx.tick().sample(
                w.en, w.bank, w.row, w.data, p.en, p.addr, p.data)
            if en:
                writes.append(("w", bank, row, value))
            if p_en:
                writes.append(("p", addr, param))
            assert allowed or not (en or p_en)

    async def engine(ctx):
        while True:
            (job,) = await receive(ctx, dut.jobs, 1, rng, stall)
            for i in range(job.beats):
                while rng.random() < stall:
                    await ctx.tick()
                ctx.set(dut.data.payload, {"data": memory[job.addr + i * size], "last": i == job.beats - 1})
                ctx.set(dut.data.valid, 1)
                await ctx.tick().until(dut.data.ready)
                ctx.set(dut.data.valid, 0)

    async def test(ctx):
        nonlocal allowed
        ctx.set(dut.program, PROGRAM)
        ctx.set(dut.segment, BASE)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for i, (opcode, values) in enumerate(fields):
            writes.clear()
            if opcode != Opcode.END:
                waits = rng.choice(["idle", "locked"])
                ctx.set(dut.locked, waits == "locked")
                ctx.set(dut.idle, waits == "locked")
                allowed = waits == "idle" and bool(values["prefetch"])
                await ctx.tick().repeat(150)  # enough for a descriptor, were it allowed
                ctx.set(dut.locked, 0)
                ctx.set(dut.idle, 1)
                allowed = True
            (descriptor,) = await receive(ctx, dut.descriptors, 1, rng, 0.3)
            assert {n: descriptor[n] for n in values} == values and descriptor["opcode"] == opcode
            if opcode == Opcode.END:
                break
            rows, params = images[i]
            expected = [("w", n % config.issue, values["weight_base"] + n // config.issue, x) for n, x in enumerate(rows)]
            assert writes == expected + [("p", values["param_base"] + n, x) for n, x in enumerate(params)]
        await ctx.tick().repeat(50)
        assert not ctx.get(dut.jobs.valid) and not ctx.get(dut.descriptors.valid)

    simulate(dut, test, background=[watch, engine])


@pytest.mark.parametrize("trial", range(12))
def test_damage(trial: int) -> None:
    """A descriptor with any single bit flipped is refused, once nothing runs and the last record is written."""
    rng = new_rng()
    dut = Loader(PRESETS["small"])
    words = encode(Opcode.LOAD, {"count": 5, "step_stride": 1, "base": rng.randrange(1000)})
    words[rng.randrange(32)] ^= 1 << rng.randrange(32)
    assert FIELDS["checksum"].word == 31

    async def test(ctx):
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await receive(ctx, dut.jobs, 1, rng)
        for i, word in enumerate(words):
            ctx.set(dut.data.payload, {"data": word, "last": i == 31})
            ctx.set(dut.data.valid, 1)
            await ctx.tick().until(dut.data.ready)
        ctx.set(dut.data.valid, 0)
        ctx.set(dut.idle, 1)
        for _ in range(30):
            assert not ctx.get(dut.error) and not ctx.get(dut.descriptors.valid) and not ctx.get(dut.jobs.valid)
            await ctx.tick()
        ctx.set(dut.settled, 1)
        assert ctx.get(dut.error)
        await ctx.tick()
        assert not ctx.get(dut.error)

    simulate(dut, test)
