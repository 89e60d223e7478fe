"""Frozen blocks: what is kept of them is what they make, and training leaves them alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden import frozen as module
from golden.examples import open_examples
from golden.frozen import frozen, made
from golden.models.catalogue import build
from golden.models.checkpoint import load_checkpoint
from golden.models.network import as_input
from golden.recipe import Phase, Recipe
from golden.spec.model import ModelError
from golden.training import Run, train

PHASE = Phase(epochs=1, lr=4e-3, batch=8, clips=16)
RECIPE = Recipe(name="tiny", network="svformer-nano", data="digit-motion", pool=24, val_pool=8, float=PHASE, qat=PHASE, frozen=1,
                draws=2, change={"inverted": ((3, 1, 1, 32, 1), (3, 1, 2, 32, 1))})


@pytest.fixture
def parts(tmp_path):
    return open_examples(RECIPE, RECIPE.config.encoding, None, tmp_path, ("train", "val")).parts


def test_the_rest_of_the_network_says_the_same_of_what_was_kept(tmp_path, parts):
    torch.manual_seed(1)
    net = build(RECIPE.config).eval()
    clips = np.stack([parts["val"].see(i, None).x for i in range(8)])
    with frozen(net, 2) as front:
        kept = made(net, front, parts["val"], 1, 1, tmp_path / "x.npy", "digest")
        with torch.no_grad():
            rest = net(as_input(np.stack([kept.see(i, None).x for i in range(8)]), net.config.encoding))
            u = front(as_input(clips, net.config.encoding)).half().float()
    assert np.array_equal(kept.x[0, :8], u.permute(1, 0, 3, 4, 2).numpy()) and kept.x.any()
    front[-1].register_forward_hook(lambda block, xs, out: out.half().float())  # as it was kept
    with torch.no_grad():
        assert torch.equal(rest, net(as_input(clips, net.config.encoding)))
    assert [p.requires_grad for p in net.parameters()] == [p.requires_grad for p in build(RECIPE.config).parameters()]


def test_clips_are_seen_again_only_for_another_digest(tmp_path, parts, monkeypatch):
    net = build(RECIPE.config)
    passes: list[int] = []
    through = module._through

    def counted(*x):
        passes.append(1)
        return through(*x)

    monkeypatch.setattr(module, "_through", counted)
    with frozen(net, 1) as front:
        first = made(net, front, parts["train"], 2, 1, tmp_path / "x.npy", "a")
        assert len(passes) == 2 * 24 / module.BATCH and first.x.shape[:2] == (2, 24)
        again = made(net, front, parts["train"], 2, 1, tmp_path / "x.npy", "a")
        assert len(passes) == 6 and np.array_equal(first.x, again.x)
        made(net, front, parts["train"], 1, 1, tmp_path / "x.npy", "b")
    assert len(passes) == 9
    assert {int(first.see(3, np.random.default_rng(i)).x is not None) for i in range(9)} == {1}


def test_training_leaves_them_alone(tmp_path):
    """Stem and first block keep their weights while those behind learn; the same run again is the same."""
    train(RECIPE, Run(out=tmp_path / "a"))
    train(RECIPE, Run(out=tmp_path / "b"))
    trained, again = (load_checkpoint(tmp_path / x / "tiny_float.safetensors").state_dict() for x in "ab")
    torch.manual_seed(RECIPE.seed)
    before = build(RECIPE.config).state_dict()
    kept = [k for k, v in before.items() if v.is_floating_point() and "running" not in k and torch.equal(v, trained[k])]
    assert {k for k in kept if k.endswith("conv.weight")} == {
        k for k in before if k.startswith(("chain.stem.", "chain.local0.")) and k.endswith("conv.weight")}
    assert all(torch.equal(v, again[k]) for k, v in trained.items())


def test_no_more_than_the_network_has():
    for count in (3, -1):
        with pytest.raises(ModelError, match=f"no {count} blocks that could be frozen"), frozen(build(RECIPE.config), count):
            pass
    with pytest.raises(ModelError, match="no 1 blocks"), frozen(build(replace(RECIPE, change={}).config), 1):
        pass
