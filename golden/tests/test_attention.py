"""The attention family against naive definitions, and its cost."""

import itertools

import numpy as np
import pytest
import torch

from golden.integer import ops
from golden.models.attention import QK, SDSA1, AttentionConfig, Mix, attention, operations, product
from golden.models.neurons import NeuronConfig
from golden.models.parts import Parts
from golden.spec.encoding import Encoding
from golden.spec.model import FRAME, JOINT, POSITION

T, B, HEADS, D, H, W = 3, 2, 2, 4, 2, 3
PARTS = Parts(encoding=Encoding(height=H, width=W, timesteps=T, frames=1, patch=1), neuron_config=NeuronConfig())


def bits(seed, t=T, c=HEADS * D):
    return torch.rand(t, B, c, H, W, generator=torch.Generator().manual_seed(seed)).gt(0.6).float()


def together(scope):
    """Mask [tokens, tokens] of those that see each other; token = (t H + y) W + x."""
    t, place = torch.arange(T * H * W) // (H * W), torch.arange(T * H * W) % (H * W)
    every = torch.ones(T * H * W, T * H * W, dtype=torch.bool)
    return {JOINT: every, FRAME: t[:, None] == t, POSITION: place[:, None] == place}[scope].float()


@pytest.mark.parametrize("scope", [JOINT, FRAME, POSITION])
@pytest.mark.parametrize("hamming", [True, False])
def test_products_are_attention_of_tokens_on_tokens(scope, hamming):
    """(S V) with the similarity S = (2Q-1)(2K-1)ᵀ or Q Kᵀ of every pair of tokens written out, at quadratic cost."""
    q, k, v = (bits(i) for i in range(3))

    def tokens(x):  # [B, heads, T H W, D]
        return x.reshape(T, B, HEADS, D, H * W).permute(1, 2, 0, 4, 3).flatten(2, 3)

    a, b = (2 * tokens(q) - 1, 2 * tokens(k) - 1) if hamming else (tokens(q), tokens(k))
    similarity = torch.einsum("bhnd,bhmd->bhnm", a, b) * together(scope)
    expected = torch.einsum("bhnm,bhmd->bhnd", similarity, tokens(v))
    torch.testing.assert_close(tokens(product(q, k, v, HEADS, scope, hamming)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("scope", [JOINT, FRAME, POSITION])
def test_products_equal_the_integer_ones(scope):
    x = [bits(i) for i in range(3)]
    whole = [y[:, 0].permute(0, 2, 3, 1).numpy().astype(np.uint8) for y in x]
    for hamming, integer in ((True, ops.sdha), (False, ops.ssa)):
        found = product(x[0], x[1], x[2], HEADS, scope, hamming)[:, 0].permute(0, 2, 3, 1).numpy()
        np.testing.assert_array_equal(found, integer(whole[0], whole[1], whole[2], HEADS, scope))


def watched(mix, s):
    """Output of a mixing whose neurons fire, and the spikes of its parts by name."""
    seen: dict[str, torch.Tensor] = {}
    for name, parameter in mix.named_parameters():
        if name.endswith("bn.bias"):
            torch.nn.init.ones_(parameter)
    for name, module in mix.named_modules():
        module.register_forward_hook(lambda m, x, y, name=name: seen.__setitem__(name, y))
    return mix(s), seen


def lif(x):
    v, out = torch.zeros_like(x[0]), []
    for t in range(len(x)):
        h = (v + x[t]) / 2
        out.append((h >= 0.5).float())
        v = h * (1 - out[-1])
    return torch.stack(out)


def test_sdsa1_gates_channels_by_the_columns_of_k_and_v():
    torch.manual_seed(0)
    mix = Mix(PARTS, HEADS * D, HEADS, H * W, FRAME, AttentionConfig(kind=SDSA1, design="spatial"), bias=False)
    out, seen = watched(mix, bits(3))
    g = lif((seen["k"] * seen["v"]).sum(dim=(3, 4), keepdim=True))
    assert torch.equal(out, seen["q"] * g) and 0 < out.mean() < 1 and 0 < g.mean() < 1


def test_qk_gates_tokens_by_the_rows_of_q():
    torch.manual_seed(0)
    mix = Mix(PARTS, HEADS * D, HEADS, H * W, FRAME, AttentionConfig(kind=QK, design="spatial"), bias=False)
    out, seen = watched(mix, bits(3))
    a = lif(seen["q"].reshape(T, B, HEADS, D, H, W).sum(dim=3))
    expected = (seen["k"].reshape(T, B, HEADS, D, H, W) * a[:, :, :, None]).reshape(seen["k"].shape)
    assert torch.equal(out, expected) and 0 < out.mean() < 1 and 0 < a.mean() < 1


@pytest.mark.parametrize(("design", "weights"), [("joint", 4), ("spatial", 4), ("factorised", 7), ("hierarchical", 8)])
def test_designs_have_the_published_number_of_weights(design, weights):
    """4, 7 and 8 D² parameters: SpikeVideoFormer's comparison of space-time designs."""
    d = HEADS * D
    made = attention(PARTS, d, HEADS, H * W, AttentionConfig(design=design))
    assert sum(p.numel() for p in made.parameters() if p.ndim > 1) == weights * d * d
    assert made(torch.randn(T, B, d, H, W)).shape == (T, B, d, H, W)


def test_cost_is_linear_in_time():
    """Counted as it runs, T = 4 to 64: twice the frames, twice the operations; written out token by token, four times."""
    def cost(t, scope, hamming):
        return operations(lambda q, k, v: product(q, k, v, HEADS, scope, hamming), bits(0, t), bits(1, t), bits(2, t))

    for scope in (JOINT, FRAME):
        for hamming in (True, False):
            counts = [cost(t, scope, hamming) for t in (4, 8, 16, 32, 64)]
            ratios = [b / a for a, b in itertools.pairwise(counts)]
            assert all(1.9 < r <= 2 for r in ratios), (scope, hamming, counts)
    assert cost(8, JOINT, False) == 2 * (8 * H * W) * B * HEADS * D * D  # KᵀV and QM: N d² each

    def written_out(q, k, v):
        q, k, v = (x.reshape(len(q), B, HEADS, D, H * W) for x in (q, k, v))
        s = torch.einsum("tbhin,ubhim->bhtnum", q, k)
        return torch.einsum("bhtnum,ubhjm->tbhjn", s, v)

    first, second = (operations(written_out, bits(0, t), bits(1, t), bits(2, t)) for t in (16, 32))
    assert second == 4 * first


def test_attention_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="no attention 'softmax'"):
        AttentionConfig(kind="softmax")
    with pytest.raises(ValueError, match="'spatial' only"):
        AttentionConfig(kind=QK)
    with pytest.raises(ValueError, match="8 channels do not divide into 3 heads"):
        attention(PARTS, 8, 3, H * W, AttentionConfig())
