"""The accelerator: wiring only."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, PureInterface, connect, flipped

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.registers import ADDRESS_BITS
from hw.axi import Axi, AxiLite
from hw.control import Control
from hw.hamming import Hamming
from hw.linear import Linear
from hw.parameters import Parameters
from hw.scratchpad import Scratchpad


class Accelerator(wiring.Component):
    """Control side, LINEAR unit, Hamming engine and the memories between them.

    One unit runs at a time, so the ports of the memories are shared without arbitration. Only the loader writes while others
    run, never while HAMMING does; the compiler keeps its regions apart from theirs.

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
        m.submodules.linear = ResetInserter(control.flush)(linear)
        m.submodules.hamming = ResetInserter(control.flush)(hamming)
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
            self.irq.eq(control.irq), linear.descriptor.eq(control.descriptor), hamming.descriptor.eq(control.descriptor),
        ]
        m.d.comb += [control.counts.eq(linear.counts), control.saturations.eq(linear.saturations)]

        def share(port: PureInterface, users: dict[Opcode, PureInterface]) -> None:
            """The port is the unit's whose descriptor runs: known long before it says what it wants. All see the data."""
            for name, member in port.signature.members.items():
                if member.flow == Out:
                    m.d.comb += [getattr(user, name).eq(getattr(port, name)) for user in users.values()]
                    continue
                with m.Switch(control.descriptor.opcode):
                    for opcode, user in users.items():
                        with m.Case(int(opcode)):
                            m.d.comb += getattr(port, name).eq(getattr(user, name))

        share(scratchpad.read, {
            Opcode.LINEAR: linear.read, Opcode.HAMMING: hamming.read, Opcode.STORE: control.spike_read,
        })
        share(scratchpad.write, {Opcode.LINEAR: linear.write, Opcode.LOAD: control.spike_write})
        share(scratchpad.u_read, {Opcode.LINEAR: linear.u_read, Opcode.STORE: control.u_read})
        share(scratchpad.u_write, {Opcode.LINEAR: linear.u_write, Opcode.LOAD: control.u_write})
        share(params.read, {Opcode.LINEAR: linear.params, Opcode.HAMMING: hamming.params})
        for port, writers in (
            (params.write, (control.param_write, hamming.param_write)), (linear.weights, (control.weight_write, hamming.weights)),
        ):
            for writer in writers:
                with m.If(writer.en):
                    m.d.comb += [getattr(port, name).eq(getattr(writer, name)) for name in writer.signature.members]
        return m
