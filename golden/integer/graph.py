"""The graph of fused layers of a small SVFormer with joint space-time Hamming attention."""

from __future__ import annotations

from golden.spec.model import CONV, HEAD, INPUT, SDHA, Encoding, Layer, Model


def svformer_graph(
    *,
    name: str,
    encoding: Encoding,
    classes: tuple[str, ...],
    local: int = 32,
    wide: int = 64,
    heads: int = 2,
    blocks: int = 1,
    ratio: int = 2,
    u_frac: int = 6,
    u_bits: int = 16,
    card: dict[str, str] | None = None,
) -> Model:
    """Stem, one local block, strided downsampling, global blocks, head; every kind of layer the machine has.

    The layer that ends a branch also adds the residual and opens the next branch: U' = U + y, spikes = LIF(U').
    ``s`` tensors are the spikes that open a branch, ``u`` tensors the residual stream.

    ``local`` and ``wide`` are the channels of the local and of the global stage, which has ``blocks`` blocks with
    ``heads`` attention heads of ``wide / heads`` channels; ``ratio`` is the expansion inside local blocks and MLPs.
    The other arguments are those of `Model`.
    """
    theta = 2 << u_frac  # H = (V + X) / 2 fires at 1; h = 2H

    def layer(name: str, source: str, channels: int, **more: object) -> Layer:
        fields: dict[str, object] = {"op": CONV, "inputs": (source,), "theta": theta if more.get("spike_out") else 0, **more}
        return Layer(name=name, channels=channels, **fields)  # type: ignore[arg-type]

    layers = [
        layer("stem", INPUT, local, u_out="stem.u", spike_out="stem.s"),
        layer("local.pw1", "stem.s", ratio * local, spike_out="local.a"),
        layer("local.dw", "local.a", ratio * local, kernel=5, padding=2, groups=ratio * local, spike_out="local.b"),
        layer("local.pw2", "local.b", local, residual="stem.u", u_out="local.u", spike_out="local.s"),
        layer("local.fc1", "local.s", ratio * local, spike_out="local.c"),
        layer("local.fc2", "local.c", local, residual="local.u", spike_out="down.s"),
        layer("down", "down.s", wide, kernel=4, stride=2, padding=1, u_out="down.u", spike_out="g0.s"),
    ]
    u = "down.u"
    for i in range(blocks):
        g = f"g{i}"
        last = i == blocks - 1
        layers += [
            *(layer(f"{g}.{x}", f"{g}.s", wide, spike_out=f"{g}.{x}.s") for x in "qkv"),
            layer(f"{g}.sdha", "", wide, op=SDHA, inputs=(f"{g}.q.s", f"{g}.k.s", f"{g}.v.s"), heads=heads, spike_out=f"{g}.a"),
            layer(f"{g}.proj", f"{g}.a", wide, residual=u, u_out=f"{g}.u", spike_out=f"{g}.m"),
            layer(f"{g}.fc1", f"{g}.m", ratio * wide, spike_out=f"{g}.c"),
            layer(f"{g}.fc2", f"{g}.c", wide, residual=f"{g}.u", u_out="" if last else f"{g}.w",
                  spike_out="head.s" if last else f"g{i + 1}.s"),
        ]
        u = f"{g}.w"
    layers.append(layer("head", "head.s", len(classes), op=HEAD))
    return Model(
        name=name, encoding=encoding, u_frac=u_frac, u_bits=u_bits, classes=classes, layers=tuple(layers), card=card or {}
    )
