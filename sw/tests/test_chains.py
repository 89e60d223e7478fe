"""Layers in chains, tile by tile: bit by bit the same, and what is between them never leaves the chip."""

from dataclasses import replace

import pytest

from golden.integer.random_graph import SMALL as ENCODING
from golden.integer.random_graph import random_graph
from golden.spec.model import INPUT, Encoding
from sw import support
from sw.spilling import Plan, Planner
from sw.tests.test_compiler import check_equal, clips
from sw.tests.test_contract import CONFIGS, conv, made, possible
from sw.tests.test_spilling import PLACES, shrunken, small
from sw.traffic import traffic

KEPT = {"kernel": 3, "padding": 1}


def blocks(**window):
    """Two inverted residual blocks, the first with another window, with 1x1 convolutions around them."""
    return made(
        conv("a", INPUT, 12, kernel=3, padding=1), conv("b", "a.s", 150),
        conv("c", "b.s", 150, groups=150, **window), conv("d", "c.s", 10), conv("e", "d.s", 140),
        conv("f", "e.s", 140, groups=140, **KEPT),
        conv("g", "f.s", 10, u_out="g.u"), conv("h", "g.s", 10, residual="g.u", u_out="h.u"), encoding=PLACES,
    )


def held(plan):
    """Tensors that never leave the chip because they are in a chain."""
    return frozenset[str]().union(*(stage.held for stage in plan.stages))


@pytest.fixture
def longest(monkeypatch):
    """Chains are as long as they can be, whatever they cost; gives the plans that are made."""
    plan, plans = Planner.plan, []

    def favoured(planner: Planner) -> Plan:
        found = plan(planner)
        plans.append(replace(found, cycles=-len(held(found))))
        return plans[-1]

    monkeypatch.setattr(Planner, "alone", lambda _: 1.0)
    monkeypatch.setattr(Planner, "plan", favoured)
    return plans


def test_what_the_plan_chooses():
    """Of two wide tensors both, though tiles make places of the first one twice."""
    many = {"levels": 7, "step": 16}
    source = made(conv("a", INPUT, 8), conv("b", "a.s", 96, **many), conv("c", "b.s", 96, groups=96, **many, **KEPT),
                  conv("d", "c.s", 8), encoding=Encoding(height=24, width=24, timesteps=4, frames=1, patch=1))
    machine = small(CONFIGS[2], 768, 256)
    check_equal(source, machine, clips(source.model.encoding))
    plan = support.check(source.model, source.tensors, machine)
    assert held(plan) == {"b.s", "c.s"} and max(len(x) for x in plan.cuts) > 8
    assert not held(plan).intersection(x.tensor for x in traffic(plan, machine))


@pytest.mark.parametrize(("window", "end"), [
    (KEPT, ""), ({"kernel": 5, "padding": 2, "stride": 2}, ""), ({"kernel": 3, "padding": 1, "stride": 2}, ""),
    ({"kernel": 2, "stride": 3}, "b.s"), ({"kernel": 3, "stride": 3}, "b.s"),
], ids=str)
def test_windows(longest, window, end):
    """Windows that leave some places out end a chain, since a trace stores all; and there is one residual tensor at most."""
    source = blocks(**window)
    for config in CONFIGS:
        assert shrunken(source, config, 1024, 1 << 16, clips(PLACES), 0.75)
    tried = frozenset[str]().union(*(held(x) for x in longest))
    assert tried == {"a.s", "b.s", "c.s", "d.s", "e.s", "f.s"} - {end}
    assert any(len(cut) > 1 for x in longest if held(x) for stage, cut in zip(x.stages, x.cuts, strict=True) if stage.held)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(longest, seed):
    shrunken(possible(random_graph(seed)), CONFIGS[seed % 3], 512, 1024, clips(ENCODING))
    assert longest
