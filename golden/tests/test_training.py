"""Training: what was killed goes on, processes share, seeds decide, recipes and checkpoints that lie are refused."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from golden import training
from golden.integer import network
from golden.models.catalogue import CONFIGS, build
from golden.models.checkpoint import load_checkpoint, save_checkpoint
from golden.models.svformer import SVFormerConfig
from golden.recipe import SHIPPED, Distillation, Phase, Recipe, load_recipe
from golden.spec.model import ModelError
from golden.training import Run, train

QUICK = Phase(epochs=2, lr=4e-3, batch=8, clips=16)
SHORT = replace(QUICK, epochs=1)
TINY = Recipe(name="tiny", network="svformer-nano", data="digit-motion", pool=24, val_pool=8, float=QUICK, qat=SHORT)


@pytest.fixture(autouse=True)
def one_thread():
    """So that sums are the same ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tensors(path: Path) -> dict[str, np.ndarray]:
    with safe_open(str(path), framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def same(a: Path, b: Path) -> bool:
    x, y = tensors(a), tensors(b)
    return x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x)


def test_a_killed_run_goes_on_with_the_same_result(tmp_path, monkeypatch):
    drawn = []

    class Student(training.Student):
        """What tells of the teacher's view begins with random weights."""

        def __init__(self, *x):
            drawn.append(torch.get_rng_state())
            super().__init__(*x)

    monkeypatch.setattr(training, "Student", Student)
    train(TINY, Run(out=tmp_path / "whole"))
    judged = []

    def kill(net, examples, batch=32, judge=training.judge):
        judged.append(net)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return judge(net, examples, batch)

    with monkeypatch.context() as m:
        m.setattr(training, "judge", kill)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, Run(out=tmp_path / "killed"))
    assert not (tmp_path / "killed/tiny.safetensors").exists()
    card = train(TINY, Run(out=tmp_path / "killed"))
    assert len(drawn) == 5 and torch.equal(drawn[1], drawn[4]), "a network that was not killed begins its last phase otherwise"
    for kind in ("_float", "_qat", ""):
        assert same(tmp_path / f"whole/tiny{kind}.safetensors", tmp_path / f"killed/tiny{kind}.safetensors")
    rows = list(csv.DictReader((tmp_path / "killed/log.csv").open()))
    assert [(row["phase"], row["epoch"]) for row in rows] == [("float", "1"), ("float", "2"), ("qat", "1")]
    assert (tmp_path / "killed/curves.png").stat().st_size > 1000
    assert float(card["QAT validation accuracy"]) == float(card["integer validation accuracy"])
    assert network.load(tmp_path / "whole/tiny.safetensors")[0].card["seed"] == "1"
    with pytest.raises(ModelError, match="of another recipe"):
        train(replace(TINY, seed=2), Run(out=tmp_path / "killed"))


def test_another_seed_gives_another_network(tmp_path):
    for seed in (1, 2):
        train(replace(TINY, seed=seed, float=SHORT), Run(out=tmp_path / str(seed)))
    assert not same(tmp_path / "1/tiny_float.safetensors", tmp_path / "2/tiny_float.safetensors")


def test_two_processes_train_as_one(tmp_path):
    """The same loss in the first step; later ones but for the order of additions, which flips a spike now and then."""
    recipe = tmp_path / "r.toml"
    phase = "epochs = {}\nlr = 4e-3\nbatch = 32\n"
    head = "network = 'svformer-nano'\ndata = 'digit-motion'\npool = 32\nval_pool = 8\n"
    recipe.write_text(head + "[float]\n" + phase.format(6) + "[qat]\n" + phase.format(1))
    losses = []
    for name in "12":
        start = ["torch.distributed.run", "--nproc-per-node", name, "--standalone", "-m", "golden", "train"]
        command = [sys.executable, "-m", *start, str(recipe), "--out", str(tmp_path / name)]
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        losses.append([float(row["loss"]) for row in csv.DictReader((tmp_path / name / "log.csv").open())])
    one, two = (np.array(x) for x in losses)
    assert np.abs(one - two)[:3].max() <= 1e-3 and np.abs(one / two - 1).max() < 0.1 and one[5] < 0.9 * one[0]


def test_pretrained_weights_are_taken_where_they_fit(tmp_path):
    config = CONFIGS["svformer-nano"]
    torch.manual_seed(5)
    net, other = build(config), build(replace(config, classes=("a", "b")))
    training.begin(other, net)
    mine, its = net.state_dict(), other.state_dict()
    assert all(torch.equal(mine[k], its[k]) for k in its if not k.startswith("head."))
    assert its["head.layer.conv.weight"].shape[0] == 2
    save_checkpoint(tmp_path / "x.safetensors", net)
    train(replace(TINY, float=SHORT), Run(out=tmp_path, init=tmp_path / "x.safetensors"))
    with pytest.raises(ModelError, match="no tensor in common"):
        training.begin(net, build(SVFormerConfig(**{**vars(config), "dims": (96, 128), "kernel": 3})))


def test_learning_rate_rises_and_falls():
    rates = [training.rate(QUICK, step, 100) for step in range(100)]
    top = int(np.argmax(rates))
    assert top == 15 and rates[top] == pytest.approx(QUICK.lr) and rates[0] < rates[top] / 10 and rates[-1] < rates[top] / 1000
    assert (np.diff(rates[:top]) > 0).all() and (np.diff(rates[top:]) < 0).all()


@pytest.mark.parametrize("name", sorted(x.stem for x in SHIPPED.glob("*.toml")))
def test_shipped_recipes_are_sound(name):
    recipe = load_recipe(name)
    net = build(recipe.config, recipe.quantisation)  # a RepConv is as large as it is in the end
    assert recipe.name == name and sum(p.numel() for p in net.parameters()) <= 1_200_000


@pytest.mark.parametrize(("text", "message"), [
    ("network = 1 =", "cannot read recipe"), ("network = 'nothing'", "no network 'nothing'"), ("speed = 3", "has no speed"),
    ("network = 'svformer-nano'\n[float]\nepochs = 1\nlr = 1\n[qat]\nepochs = 1\nlr = 1\nbf16 = true", "cannot be bf16"),
    ("network = 'svformer-nano'\n[float]\nepochs = 1\nrate = 1", r"\[float\] has no rate"),
    ("network = 'svformer-nano'\ndata = 'web'", "data is 'web'"),
    ("network = 'svformer-nano'\n[change]\ndepth = 3", "depth"),
    ("network = 'svformer-nano'\nfrozen = 1\ndraws = 0", "draws is at least 1"),
    ("network = 'svformer-nano'\ncalibration = -1", "calibration are at least 0"),
])
def test_bad_recipes_are_refused(tmp_path, text, message):
    path = tmp_path / "r.toml"
    tail = "" if "[float]" in text or "1 =" in text else "\n[float]\nepochs = 1\nlr = 1\n[qat]\nepochs = 1\nlr = 1"
    path.write_text(text + tail)
    with pytest.raises(ModelError, match=message):
        load_recipe(str(path))


def test_unknown_recipes_are_named():
    with pytest.raises(ModelError, match=r"shipped are .*svformer-nano"):
        load_recipe("nothing")


def test_distillation_needs_videos(tmp_path):
    with pytest.raises(ModelError, match="needs a folder of videos"):
        train(replace(TINY, distillation=Distillation()), Run(out=tmp_path))


def test_batches_must_fit(tmp_path):
    with pytest.raises(ModelError, match="exceeds 24 clips"):
        train(replace(TINY, float=replace(QUICK, batch=64, clips=0)), Run(out=tmp_path))


def test_checkpoints_keep_networks(tmp_path):
    net = load_checkpoint(Path("golden/weights/svformer-nano_float.safetensors"))
    save_checkpoint(tmp_path / "x.safetensors", net)
    assert load_checkpoint(tmp_path / "x.safetensors").config == net.config
