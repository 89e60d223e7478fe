"""What stands in for the board when a component is placed and routed on its own."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.verilog import flat_ports


class Harness(wiring.Component):
    """A component with one pin in and one out, so that its ports need no pins and all its paths begin and end in registers.

    Inputs come from a shift register; outputs are registered, one gate and one register later they are in a signature
    (each bit shifts into the next and takes in an output), whose last bit is the pin. Nothing can be optimised away, and
    the path at each port is at least as long as that of a board that registers its side.

    Ports
    -----
    scan_in : Signal(), in
    scan_out : Signal(), out
    """

    def __init__(self, component: wiring.Component) -> None:
        self.component = component
        super().__init__({"scan_in": In(1), "scan_out": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = self.component
        ports = flat_ports(self.component).values()
        inputs = Cat(signal for signal, direction in ports if direction.name == "Input")
        outputs = Cat(signal for signal, direction in ports if direction.name == "Output")
        scan, registered, signature = Signal(len(inputs)), Signal(len(outputs)), Signal(len(outputs))
        m.d.comb += [inputs.eq(scan), self.scan_out.eq(signature[-1])]
        m.d.sync += [
            scan.eq(Cat(self.scan_in, scan)), registered.eq(outputs),
            signature.eq(registered ^ Cat(scan[-1], signature[:-1])),
        ]
        return m
