"""Clocks of an ECP5."""

from __future__ import annotations

from amaranth.hdl import Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

VCO_HZ = (400_000_000, 800_000_000)  #: what the oscillator can do (Lattice FPGA-DS-02012, sysCLOCK PLL timing)
EIGHTHS = 360 // 8  #: phases are set in eighths of a period of the oscillator


def phase_steps(input_hz: int, vco_hz: int, output_hz: int, phase: float) -> int:
    """Eighths of a period of the oscillator that make ``phase`` degrees of the output.

    Raises
    ------
    ValueError
        If the oscillator cannot run so fast, or is no multiple of both others.
    """
    if not VCO_HZ[0] <= vco_hz <= VCO_HZ[1]:
        raise ValueError(f"an oscillator of {vco_hz} Hz is outside {VCO_HZ[0]}..{VCO_HZ[1]}")
    if vco_hz % input_hz or vco_hz % output_hz:
        raise ValueError(f"{vco_hz} Hz is no multiple of {input_hz} and {output_hz}")
    return round(phase * (vco_hz // output_hz) / EIGHTHS)


class EcpPll(wiring.Component):
    """EHXPLLL with two clocks of one frequency, the second one later.

    The oscillator runs at ``vco_hz``, a multiple of the input, and is compared with it through an output of its own, so that the
    comparison is as fast as the input (at least 10 MHz) and the clocks may be any part of the oscillator's.

    Parameters
    ----------
    input_hz, vco_hz, output_hz : int
        ``vco_hz`` is a multiple of both others.
    phase : float
        Degrees by which ``shifted`` is later; rounded to what the chip can do.

    Ports
    -----
    reference : Signal(), in
    clock, shifted : Signal(), out
    locked : Signal(), out
        The clocks are what they shall be.
    """

    def __init__(self, input_hz: int, vco_hz: int, output_hz: int, phase: float = 0.0) -> None:
        self.input_hz, self.vco_hz, self.output_hz = input_hz, vco_hz, output_hz
        self.steps = phase_steps(input_hz, vco_hz, output_hz, phase)
        super().__init__({"reference": In(1), "clock": Out(1), "shifted": Out(1), "locked": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor, compared = self.vco_hz // self.output_hz, self.vco_hz // self.input_hz
        m.submodules.pll = Instance(
            "EHXPLLL",
            # analogue settings as ecppll and LiteX have them
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:g}", a_FREQUENCY_PIN_CLKOP=f"{self.output_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS=f"{self.output_hz / 1e6:g}",
            a_ICP_CURRENT="6", a_LPF_RESISTOR="16", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            p_CLKI_DIV=1, p_CLKFB_DIV=1, p_FEEDBK_PATH="INT_OS3",
            p_CLKOS3_ENABLE="ENABLED", p_CLKOS3_DIV=compared, p_CLKOS3_CPHASE=compared - 1, p_CLKOS3_FPHASE=0,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=divisor, p_CLKOP_CPHASE=divisor - 1, p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED", p_CLKOS_DIV=divisor, p_CLKOS_CPHASE=divisor - 1 + self.steps // 8,
            p_CLKOS_FPHASE=self.steps % 8,
            i_CLKI=self.reference, i_RST=0, i_STDBY=0, o_CLKOP=self.clock, o_CLKOS=self.shifted, o_LOCK=self.locked,
        )
        return m
