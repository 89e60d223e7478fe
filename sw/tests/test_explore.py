"""The area model against its points, and the search for designs that nothing beats."""

import json
from dataclasses import replace

import pytest

from golden.spec.config import BASE, SMALL
from golden.tests.test_data_video import noise, write
from sw import explore
from sw.tests.test_command_line import sw


def test_area_at_the_measured_points():
    area = explore.AreaModel()
    assert set(area.errors) == {*explore.TERMS, "machine"}
    assert max(area.errors.values()) < 0.1


def test_area_of_other_sizes():
    area = explore.AreaModel()
    lanes = [area.tables(replace(BASE, neuron_lanes=n)) for n in (16, 32, 64)]
    assert lanes[2] - lanes[1] == pytest.approx(2 * (lanes[1] - lanes[0]), abs=2)  # each lane costs the same
    assert area.tables(replace(BASE, cores=2)) < area.tables(BASE)


def test_area_of_a_block_without_points(tmp_path):
    points = json.loads(explore.POINTS.read_text())
    points["points"] = [x for x in points["points"] if x["block"] != "walker"]
    (tmp_path / "points.json").write_text(json.dumps(points))
    with pytest.raises(ValueError, match=r"no point of 'walker'.*python -m sim.area"):
        explore.AreaModel(tmp_path / "points.json")


def test_pareto():
    sizes = ((3, 5), (1, 9), (2, 9), (4, 5), (5, 1))
    designs = [explore.Candidate(SMALL, tables, cycles, 0.5) for tables, cycles in sizes]
    assert [(x.tables, x.cycles) for x in explore.pareto(designs)] == [(1, 9), (3, 5), (5, 1)]


def test_command(tiny, tmp_path, monkeypatch):
    from golden.integer.network import save

    save(tmp_path / "m.safetensors", tiny.model, tiny.tensors)
    write(tmp_path / "a.mkv", noise(4, 16, 16))
    narrow = replace(SMALL, name="narrow", u_bits=12)  # cannot run a model of 16 bits
    monkeypatch.setattr(explore, "DESIGNS", [SMALL, replace(SMALL, name="alone", sharing=1), narrow])
    result = sw("explore", tmp_path / "a.mkv", "--model", tmp_path / "m.safetensors", "--picture", tmp_path / "p.png")
    assert result.exit_code == 0 and "2 designs" in result.stdout and "alone" in result.stdout, result.output
    slow = sw("explore", tmp_path / "a.mkv", "--model", tmp_path / "m.safetensors", "--picture", tmp_path / "p.png",
              "--bandwidth", 0.5)
    assert slow.exit_code == 0 and slow.stdout != result.stdout
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert sw("explore", tmp_path / "none.mkv", "--model", tmp_path / "m.safetensors").exit_code == 2
