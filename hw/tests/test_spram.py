"""AxiSpram against the twin of all memories."""

from __future__ import annotations

from hw.axi import MAX_BURST, OKAY
from hw.memory.spram import BITS, WORDS, AxiSpram
from hw.memory.twin import Burst
from hw.tests.bench import new_rng, simulate

BYTES = 4 * WORDS  #: two memories


def test_bursts() -> None:
    """Reads and writes of all lengths, at the border of two memories and behind the end, by a manager that stalls."""
    rng = new_rng()
    dut = AxiSpram(BYTES)
    axi = dut.axi
    bursts: list[Burst] = []
    for place in (0, 2 * WORDS - 32, 2 * WORDS, BYTES - 32):  # all that is read has been written
        bursts.append((place, [rng.getrandbits(BITS) for _ in range(MAX_BURST)]))
    for _ in range(60):
        first = rng.randrange(MAX_BURST)
        beats = rng.randint(1, MAX_BURST - first)
        words = [rng.getrandbits(BITS) for _ in range(beats)]
        place = rng.choice((0, 2 * WORDS - 32, 2 * WORDS, BYTES - 32, BYTES)) + 2 * first
        bursts.append((place, words if rng.random() < 0.5 else beats))
    expected = AxiSpram.model(BITS, BYTES, bursts, {})

    async def pause(ctx):
        while rng.random() < 0.3:
            await ctx.tick()

    async def test(ctx):
        for number, (address, beats) in enumerate(bursts):
            found = []
            reads = isinstance(beats, int)
            words = [] if isinstance(beats, int) else list(beats)
            count = beats if isinstance(beats, int) else len(beats)
            name = "ar" if reads else "aw"
            for signal, value in (("addr", address), ("len", count - 1), ("valid", 1)):
                ctx.set(getattr(axi, name + signal), value)
            await ctx.tick().until(getattr(axi, name + "ready"))
            ctx.set(getattr(axi, name + "valid"), 0)
            for i, word in enumerate(words):
                await pause(ctx)
                ctx.set(axi.wdata, word)
                ctx.set(axi.wlast, i == count - 1)
                ctx.set(axi.wvalid, 1)
                await ctx.tick().until(axi.wready)
                ctx.set(axi.wvalid, 0)
            for i in range(count if reads else 1):
                await pause(ctx)
                ctx.set(axi.rready if reads else axi.bready, 1)
                if reads:
                    data, response, last = await ctx.tick().sample(axi.rdata, axi.rresp, axi.rlast).until(axi.rvalid)
                    assert last == (i == count - 1)
                    found.append((data if response == OKAY else 0, response))
                else:
                    (response,) = await ctx.tick().sample(axi.bresp).until(axi.bvalid)
                    found.append((0, response))
                ctx.set(axi.rready if reads else axi.bready, 0)
            assert found == expected[number], f"burst {number} at {address:#x}"

    simulate(dut, test)
