"""The accelerator: wiring only."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, PureInterface, connect, flipped

from golden.spec.config import Config
from golden.spec.registers import ADDRESS_BITS
from hw.axi import Axi, AxiLite
from hw.control import Control
from hw.hamming import Hamming
from hw.linear import Linear
from hw.scratchpad import Scratchpad


class Accelerator(wiring.Component):
    """Control side, LINEAR unit, Hamming engine and the memories between them.

    One unit runs at a time, so the ports of the memories are shared without arbitration: a unit that does not run drives
    no enable. Only the loader writes while others run; the compiler keeps its regions apart from theirs.

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
        m.submodules.params = params = Memory(shape=c.param_beat_bits, depth=c.param_beats, init=[])
        params_in, params_out = params.write_port(), params.read_port()

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
        for name in ("adds", "results", "busy", "starved", "blocked", "saturations"):
            m.d.comb += getattr(control, name).eq(getattr(linear, name))

        def share_read(port: PureInterface, users: list[PureInterface]) -> None:
            """The user that enables reads; all see the data."""
            for user in users:
                m.d.comb += user.data.eq(port.data)
                with m.If(user.en):
                    m.d.comb += [port.addr.eq(user.addr), port.en.eq(1)]

        share_read(scratchpad.read, [control.spike_read, linear.read, hamming.read])
        share_read(scratchpad.u_read, [control.u_read, linear.u_read])
        share_read(params_out, [linear.params, hamming.params])
        for user in (control.spike_write, linear.write):
            with m.If(user.mask.any()):
                m.d.comb += [scratchpad.write.bank.eq(user.bank), scratchpad.write.addr.eq(user.addr),
                             scratchpad.write.data.eq(user.data), scratchpad.write.mask.eq(user.mask)]
        for user in (control.u_write, linear.u_write):
            with m.If(user.en):
                m.d.comb += [scratchpad.u_write.en.eq(1), scratchpad.u_write.addr.eq(user.addr),
                             scratchpad.u_write.data.eq(user.data)]
        for user in (control.param_write, hamming.param_write):
            with m.If(user.en):
                m.d.comb += [params_in.en.eq(1), params_in.addr.eq(user.addr), params_in.data.eq(user.data)]
        for user in (control.weight_write, hamming.weights):
            with m.If(user.en):
                m.d.comb += [linear.weights.en.eq(1), linear.weights.bank.eq(user.bank), linear.weights.row.eq(user.row),
                             linear.weights.data.eq(user.data)]
        return m
