"""Shares the memory between accelerator and link."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, PureInterface

from hw.axi import Axi
from hw.queue import Queue

OUTSTANDING = 8  #: bursts on the way, in each direction


class MemoryShare(wiring.Component):
    """Gives the memory to one of two for a burst: in turn where both ask, reads and writes apart.

    A burst waits one cycle for its grant. Answers come in the order of the bursts, so a queue of the owners says whose they are.
    The data of a write are taken after its address, from the users in the order of their bursts; each must give them then,
    and take what it asked for, whatever the other does.

    Parameters
    ----------
    bits : int
        Width of memory.
    outstanding : int
        Bursts on the way, in each direction; one where neither asks for more.

    Ports
    -----
    user0, user1 : Axi, in
    axi : Axi, out
    """

    def __init__(self, bits: int, outstanding: int = OUTSTANDING) -> None:
        self.outstanding = outstanding
        super().__init__({"user0": In(Axi(bits)), "user1": In(Axi(bits)), "axi": Out(Axi(bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        users, axi = (self.user0, self.user1), self.axi
        m.submodules.reads = reads = Queue(1, self.outstanding)  # owners of the bursts whose last beat is to come
        m.submodules.writes = writes = Queue(1, self.outstanding)
        m.submodules.answers = answers = Queue(1, self.outstanding)  # owners of the writes without response
        self._grant(m, "ar", reads, reads.level != self.outstanding)
        # a memory that answers before it has the data breaks a rule, but shall not break the queue
        self._grant(m, "aw", answers, (answers.level != self.outstanding) & (writes.level != self.outstanding))
        m.d.comb += [
            writes.w_data.eq(answers.w_data), writes.w_en.eq(answers.w_en),
            reads.r_en.eq(axi.rvalid & axi.rready & axi.rlast), writes.r_en.eq(axi.wvalid & axi.wready & axi.wlast),
            answers.r_en.eq(axi.bvalid & axi.bready),
        ]
        for number, user in enumerate(users):
            m.d.comb += [user.rdata.eq(axi.rdata), user.rresp.eq(axi.rresp), user.rlast.eq(axi.rlast), user.bresp.eq(axi.bresp)]
            with m.If(reads.r_rdy & (reads.r_data == number)):
                m.d.comb += [user.rvalid.eq(axi.rvalid), axi.rready.eq(user.rready)]
            with m.If(answers.r_rdy & (answers.r_data == number)):
                m.d.comb += [user.bvalid.eq(axi.bvalid), axi.bready.eq(user.bready)]
            with m.If(writes.r_data == number):
                m.d.comb += [
                    axi.wdata.eq(user.wdata), axi.wlast.eq(user.wlast), axi.wvalid.eq(user.wvalid & writes.r_rdy),
                    user.wready.eq(axi.wready & writes.r_rdy),
                ]
        return m

    def _grant(self, m: Module, prefix: str, owners: Queue, room: Value) -> None:
        """Connect address channel ``prefix``, and note whose bursts go through; none is granted without ``room``."""
        def channel(port: PureInterface, name: str) -> Signal:
            return getattr(port, prefix + name)

        users, axi = (self.user0, self.user1), self.axi
        owner, busy, taken = (Signal(name=f"{prefix}_{x}") for x in ("owner", "busy", "taken"))
        asks = [channel(user, "valid") for user in users]
        m.d.comb += [
            channel(axi, "valid").eq(busy), taken.eq(busy & channel(axi, "ready")),
            owners.w_en.eq(taken), owners.w_data.eq(owner),
        ]
        with m.If(~busy & room):
            m.d.sync += busy.eq(asks[0] | asks[1])
            with m.If(asks[0] | asks[1]):
                m.d.sync += owner.eq(Mux(asks[0] & asks[1], ~owner, asks[1]))
        with m.If(taken):
            m.d.sync += busy.eq(0)
        for number, user in enumerate(users):
            with m.If(owner == number):
                m.d.comb += [channel(axi, x).eq(channel(user, x)) for x in ("addr", "len")]
                m.d.comb += channel(user, "ready").eq(taken)

    @staticmethod
    def model(reads: Iterable[tuple[int, int]], data: Iterable[int], writes: Iterable[tuple[int, int]],
              words: Sequence[Iterable[int]]) -> tuple[list[list[int]], list[int]]:
        """Twin: what each user reads, and the memory's words, from owner and beats of each burst in order.

        ``data`` are the memory's beats in order, ``words`` those that each user writes.
        """
        beats, given = iter(data), [iter(x) for x in words]
        sides: list[list[int]] = [[], []]
        for owner, count in reads:
            sides[owner] += islice(beats, count)
        return sides, [word for owner, count in writes for word in islice(given[owner], count)]
