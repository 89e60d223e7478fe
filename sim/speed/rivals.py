"""Published accelerators of spiking transformers, as their authors give them; nothing here was measured again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One published figure. None: not given there.

    Parameters
    ----------
    name, source : str
        Whose, and where it is published.
    platform : str
        Chip and clock.
    kluts : float
        Thousands of lookup tables, of ``inputs`` inputs each.
    dsps : int
        Multipliers used beside them.
    gsops : float
        Billions of additions a second that a spike causes; ``peak``: of the array, whatever it runs.
    gops : float
        Billions of dense-equivalent operations a second: two for each multiplication, skipped ones too.
    rate : float
        Inferences a second.
    network : str
        Network, data, accuracy; ``open``: whether the hardware can be had, and built without vendor tools.
    """

    name: str
    source: str
    platform: str
    kluts: float
    inputs: int
    dsps: int | None
    gsops: float | None = None
    peak: bool = False
    gops: float | None = None
    rate: float | None = None
    network: str
    open: str = "no"


RIVALS = (
    Rival(name="Sparse accelerator for Spike-driven Transformer", source="arXiv 2501.07825", kluts=453.266, inputs=6,
          dsps=None, platform="Virtex UltraScale, 200 MHz", gsops=307.2, peak=True,
          network="Spike-driven Transformer, CIFAR-10, 94.87 %"),
    Rival(name="FireFly-T", source="arXiv 2505.12771", platform="KV260, 300 MHz", kluts=46, inputs=6, dsps=304, gops=3029,
          rate=907, network="Spikingformer-4-256, CIFAR-10, 94.45 %"),
    Rival(name="FireFly-T", source="arXiv 2505.12771", platform="KV260, 300 MHz", kluts=46, inputs=6, dsps=304, gops=3397,
          rate=50, network="Spikingformer-8-512, ImageNet, 71.55 %"),
    Rival(name="FireFly v2", source="arXiv 2309.16158", platform="XCZU5EV, 250/500 MHz", kluts=26, inputs=6, dsps=512, gops=3443,
          network="convolutional, CIFAR-10, 93.6 %", open="MIT, vendor tools"),
    Rival(name="ESTU", source="IEEE TCAS-II, December 2025", platform="iCE40UP5K, 12 to 21 MHz", kluts=4.279, inputs=4, dsps=None,
          gops=0.192, network="Spikformer, sEMG, 87.21 %", open="MIT, yosys and nextpnr"),
)
