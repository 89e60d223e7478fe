"""BeatDma: jobs of all kinds one after the other, on a bus that stalls."""

from __future__ import annotations

from golden.spec.config import PICO
from hw.beat_dma import BeatDma
from hw.tests.bench import Memory, new_rng, receive, send, simulate


def test_jobs() -> None:
    """What each job reads or writes is what the twin says, and nothing else is written."""
    rng = new_rng()
    dut = BeatDma(PICO)
    memory = Memory(dut.axi_read, dut.axi_write, PICO.axi_bits, rng, 0.3)
    memory.words = {i: rng.getrandbits(PICO.axi_bits) for i in range(1000)}
    expected = dict(memory.words)

    async def test(ctx):
        for _ in range(40):
            job = {"addr": 2 * rng.randrange(900), "beats": rng.randrange(1, 60)}
            user = rng.randrange(3)
            jobs, data = ((dut.jobs0, dut.data0), (dut.jobs1, dut.data1), (dut.write_jobs, dut.write_data))[user]
            await send(ctx, jobs, [job], rng, 0.3)
            if user == 2:
                words = [rng.getrandbits(PICO.axi_bits) for _ in range(job["beats"])]
                assert BeatDma.model(PICO, job, expected, words) == []
                await send(ctx, data, words, rng, 0.3)
                while not ctx.get(dut.written):
                    await ctx.tick()
            else:
                items = await receive(ctx, data, job["beats"], rng, 0.3)
                assert [(x.data, x.last) for x in items] == BeatDma.model(PICO, job, expected)
            assert memory.words == expected and ctx.get(dut.idle)

    simulate(dut, test, background=[memory.read, memory.write])
