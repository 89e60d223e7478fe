"""The link's accesses to memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.axi import OKAY, Axi


def access_layout(bits: int) -> data.StructLayout:
    """One beat to write, or to read (then ``data`` has no meaning), at a byte address, a multiple of the beat size."""
    return data.StructLayout({"write": 1, "address": 32, "data": bits})


def outcome_layout(bits: int) -> data.StructLayout:
    """What the memory answered; ``data`` of a read."""
    return data.StructLayout({"data": bits, "error": 1})


def outcomes(bits: int) -> stream.Signature:
    """A stream of answers, as seen by who gives them; nobody may make it wait."""
    return stream.Signature(outcome_layout(bits), always_ready=True)


class MemoryPort(wiring.Component):
    """Accesses of one beat, one at a time: a line of 300 KB/s needs no more, and the accelerator's bursts hardly notice them.

    Latency: one cycle to the bus, none from its answer. An access that was begun ends, whenever the memory answers.

    Ports
    -----
    accesses : stream of access_layout, in
    outcomes : stream of outcome_layout, out
        One for each access.
    axi : Axi, out
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__({
            "accesses": In(stream.Signature(access_layout(bits))), "outcomes": Out(outcomes(bits)), "axi": Out(Axi(bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, access, outcome = self.axi, self.accesses.payload, self.outcomes
        m.d.comb += outcome.payload.data.eq(axi.rdata)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.accesses.ready.eq(1)
                m.d.sync += [axi.araddr.eq(access.address), axi.awaddr.eq(access.address), axi.wdata.eq(access.data)]
                with m.If(self.accesses.valid):
                    m.d.sync += [
                        axi.arvalid.eq(~access.write), axi.awvalid.eq(access.write), axi.wvalid.eq(access.write),
                    ]
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += [axi.wlast.eq(1), axi.rready.eq(1), axi.bready.eq(1)]
                for valid, ready in ((axi.arvalid, axi.arready), (axi.awvalid, axi.awready), (axi.wvalid, axi.wready)):
                    with m.If(ready):
                        m.d.sync += valid.eq(0)
                m.d.comb += [
                    outcome.valid.eq(axi.rvalid | axi.bvalid),
                    outcome.payload.error.eq((axi.rvalid & (axi.rresp != OKAY)) | (axi.bvalid & (axi.bresp != OKAY))),
                ]
                with m.If(outcome.valid):
                    m.next = "IDLE"
        return m

    @staticmethod
    def model(accesses: Iterable[tuple[int, int, int]], memory: dict[int, int],
              bad: Callable[[int], bool]) -> list[tuple[int, int]]:
        """Twin: data (0 of a write) and error of each access (write, address, data); ``memory`` by address is written."""
        found = []
        for write, address, word in accesses:
            if write:
                memory[address] = word
            found.append((0 if write else memory.get(address, 0), int(bad(address))))
        return found
