"""A decoder whose barrier a bench opens."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.decoder import Decoder, open_entry
from hw.walker import entry_layout


class GatedDecoder(wiring.Component):
    """Releases the barrier in the cycle in which it is there and ``open`` is high, as the other slots of a core would."""

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "lanewise": In(1), "entries": In(stream.Signature(entry_layout(config))), "hold": In(1), "open": In(1),
            "emit": Out(1), "row": Out(clog2(config.weight_rows)), "gate": Out(config.lanes), "high": Out(1),
            "barrier": Out(1), "released": Out(1), "shift": Out(3), "ended": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = Decoder(self.config)
        m.d.comb += [
            decoder.entries.payload.eq(open_entry(m, self.config, self.entries.payload, self.lanewise, "opened")),
            decoder.entries.valid.eq(self.entries.valid), self.entries.ready.eq(decoder.entries.ready),
        ]
        m.d.comb += [decoder.lanewise.eq(self.lanewise), decoder.hold.eq(self.hold),
                     self.released.eq(decoder.barrier & self.open), decoder.release.eq(self.released)]
        m.d.comb += [self.ended.eq(decoder.end), self.high.eq(decoder.top)]
        m.d.comb += self.gate.eq(decoder.gate | ~self.lanewise.replicate(self.config.lanes))
        for name in ("emit", "row", "barrier", "shift"):
            m.d.comb += getattr(self, name).eq(getattr(decoder, name))
        return m
