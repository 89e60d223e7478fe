"""The accelerator: wiring only."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, ResetInserter, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, PureInterface, connect, flipped

from golden.spec.config import Config
from golden.spec.registers import ADDRESS_BITS
from hw.axi import Axi, AxiLite
from hw.control import Control
from hw.hamming import Hamming
from hw.linear import Linear
from hw.near import near
from hw.parameters import Parameters
from hw.scratchpad import Scratchpad


class Accelerator(wiring.Component):
    """Control side, LINEAR unit, Hamming engine and the memories between them.

    LINEAR, HAMMING and the mover may run at once, and the loader beside them; the compiler keeps what they touch apart. The ports
    of the memories: LINEAR goes first, then the mover, then HAMMING; but what HAMMING writes goes before what the loader does.

    Ports
    -----
    axil : AxiLite, in
        Registers, see docs/registers.md.
    axi : Axi, out
        The memory that holds program, weights, clips and results.
    irq : Signal(), out
        High while the last run is done or failed and the interrupt is enabled.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "axil": In(AxiLite(ADDRESS_BITS)), "axi": Out(Axi(config.axi_bits)), "irq": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        m.submodules.control = control = Control(c)
        linear, hamming = Linear(c), Hamming(c)
        m.submodules.linear = linear
        m.submodules.hamming = ResetInserter(near(m, control.flush, 1, "flush_hamming")[0])(hamming)
        m.submodules.scratchpad = scratchpad = Scratchpad(c)
        m.submodules.params = params = Parameters(c)

        connect(m, flipped(self.axil), control.axil)
        for half in (control.axi_read, control.axi_write):
            for name, member in half.signature.members.items():
                inner, outer = getattr(half, name), getattr(self.axi, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        connect(m, control.linear, linear.unit)
        connect(m, control.hamming, hamming.unit)
        m.d.comb += [
            linear.flush.eq(control.flush), self.irq.eq(control.irq), control.counts.eq(linear.counts),
            control.saturations.eq(linear.saturations),
        ]

        def share(port: PureInterface, users: Sequence[tuple[Value, PureInterface]]) -> None:
            """The port is that of the first user who asks, else the last one's. All see the data."""
            for name, member in port.signature.members.items():
                if member.flow == Out:
                    m.d.comb += [getattr(user, name).eq(getattr(port, name)) for _, user in users]
                    continue
                value = getattr(users[-1][1], name)
                for asks, user in reversed(users[:-1]):
                    value = Mux(asks, getattr(user, name), value)
                m.d.comb += getattr(port, name).eq(value)

        share(scratchpad.read, [(x.en, x) for x in (linear.read, control.spike_read, hamming.read)])
        share(scratchpad.u_read, [(x.en, x) for x in (linear.u_read, control.u_read)])
        connect(m, linear.u_write, scratchpad.u_write)
        connect(m, control.u_write, linear.u_move)
        share(params.read, [(x.en, x) for x in (linear.params, hamming.params)])
        share(params.write, [(x.en, x) for x in (hamming.param_write, control.param_write)])
        share(linear.weights, [(x.en, x) for x in (hamming.weights, control.weight_write)])
        for i in range(c.cores):  # each bank for itself
            for name in scratchpad.write.signature.members:
                ours, theirs = getattr(linear.write, name)[i], getattr(control.spike_write, name)[i]
                m.d.comb += getattr(scratchpad.write, name)[i].eq(Mux(linear.writing[i], ours, theirs))
        m.d.comb += [
            control.waits.spike_read.eq(linear.read.en), control.waits.spike_write.eq(linear.will_write),
            control.waits.u_read.eq(linear.u_read.en), control.waits.u_write.eq(linear.u_busy),
            control.write_waits.eq(hamming.will_write),
            hamming.waits.read.eq(linear.read.en | control.spike_read.en), hamming.waits.params.eq(linear.params.en),
        ]
        return m
