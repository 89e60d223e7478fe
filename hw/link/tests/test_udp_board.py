"""A board with both lines: whoever asks gets the answer, from serial pins or datagrams, at the same time."""

from __future__ import annotations

from typing import Any

from golden.spec.config import MICRO
from golden.spec.link import CRC_BYTES, HEADER_BYTES, Kind, Status
from hw.link.board import UdpBoard
from hw.link.datagrams import WORD_BYTES, Datagram
from hw.link.link import Site
from hw.link.tests.bench import SITE, answers, request
from hw.link.tests.test_datagrams import give, words
from hw.link.uart import UartReceiver, UartTransmitter
from hw.tests.bench import new_rng, receive, simulate

DIVISOR = 4


def test_both_lines() -> None:
    """Two hosts in the network and one at the serial line, each with its own number; one of them sends half a request."""
    rng = new_rng()
    site = Site(board="both", clock=1_000_000, memory_bytes=256, build=SITE.build)
    dut = UdpBoard(MICRO, site, DIVISOR)
    identify = {number: b"\0" + request(Kind.IDENTIFY, number) for number in (1, 2, 3, 4)}
    line = UartTransmitter.model(DIVISOR, identify[1] + identify[2])
    half = identify[3][:-4]
    datagrams = [(0xC0A80102, 1000, identify[3]), (0xC0A80103, 2000, half), (0xC0A80102, 1001, identify[4])]
    levels: list[int] = []
    found: list[tuple[int, int, int, Status]] = []
    size = HEADER_BYTES + 1 + len(site.identity(MICRO)) + CRC_BYTES

    async def serial(ctx: Any) -> None:
        for cycle in range(len(line) + 10 * DIVISOR * (2 * size + 20)):
            ctx.set(dut.rx, line[cycle] if cycle < len(line) else 1)
            *_, tx = await ctx.tick().sample(dut.tx)
            levels.append(tx)

    async def send(ctx: Any) -> None:
        for address, port, data in datagrams:
            await give(ctx, dut.received, words(Datagram(address, port, data, len(data)), rng), rng, 0.2)

    async def take(ctx: Any) -> None:
        for _ in datagrams:
            (first,) = await receive(ctx, dut.sent, 1, rng, 0.2)
            rest = await receive(ctx, dut.sent, first.length // WORD_BYTES - 1, rng, 0.2)
            data = b"".join(x.data.to_bytes(WORD_BYTES, "little") for x in (first, *rest))
            assert rest[-1].last
            ((_, number, status, _),) = answers(data)
            found.append((first.peer.address, first.peer.port, number, status))

    simulate(dut, serial, send, take)
    assert found == [(0xC0A80102, 1000, 3, Status.OK), (0xC0A80103, 2000, 0, Status.DAMAGED), (0xC0A80102, 1001, 4, Status.OK)]
    told = answers(bytes(UartReceiver.model(DIVISOR, levels)))
    assert [(x[1], x[2], x[3]) for x in told] == [(number, Status.OK, site.identity(MICRO)) for number in (1, 2)]
