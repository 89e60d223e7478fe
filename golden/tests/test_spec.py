"""The specification: sizes, descriptor layout, register map, generated pages, model graphs, dependency law."""

import ast
import dataclasses
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.spec import descriptor, pages
from golden.spec.config import BASE, PICO, PRESETS, SMALL, ConfigError, preset
from golden.spec.model import Model, ModelError
from golden.spec.registers import REGISTERS

ROOT = Path(__file__).parents[2]


def test_digest_changes_with_every_size():
    config = dataclasses.replace(BASE, neuron_lanes=32)
    seen = {config.digest}
    for field in dataclasses.fields(config):
        if field.name in ("name", "w_bits"):
            continue
        value = getattr(config, field.name)
        for other in (value * 2, value // 2, value - 1, value * 2 + 1):
            try:
                seen.add(dataclasses.replace(config, **{field.name: other}).digest)
                break
            except ConfigError:
                continue
        else:
            pytest.fail(f"no other value of {field.name} is legal")
    assert len(seen) == len(dataclasses.fields(config)) - 1


@pytest.mark.parametrize(("change", "numbers"), [
    ({"cores": 3}, "cores = 3"), ({"lanes": 64}, "lanes = 64"), ({"neuron_lanes": 32}, "neuron_lanes = 32"),
    ({"axi_bits": 256}, "256"), ({"weight_rows": 1000}, "1000"), ({"u_bits": 17}, "8..16"),
    ({"ham_tokens": 1}, "ham_tokens = 1 < cores = 2"), ({"head_max": 8}, "head_max = 8 < lanes = 16"),
])
def test_range_errors_show_the_numbers(change, numbers):
    with pytest.raises(ConfigError, match=numbers):
        dataclasses.replace(SMALL, **change)


def test_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match=", ".join(PRESETS)):
        preset("huge")


@given(st.data())
def test_descriptor_round_trip(data):
    opcode = data.draw(st.sampled_from(descriptor.Opcode))
    values = {f.name: data.draw(st.integers(f.low, f.high)) for f in descriptor.FIELDS.values()
              if f.name not in ("opcode", "magic", "checksum")}
    read = descriptor.decode(descriptor.encode(opcode, values))
    assert read["opcode"] == opcode
    assert {n: read[n] for n in values} == values


@given(st.integers(0, 31), st.integers(1, 2**32 - 1))
def test_a_damaged_descriptor_is_refused(word, flip):
    words = descriptor.encode(descriptor.Opcode.LINEAR, {"out_h": 3})
    words[word] ^= flip
    with pytest.raises(descriptor.DescriptorError):
        descriptor.decode(words)


def test_descriptor_refuses_what_does_not_fit():
    with pytest.raises(descriptor.DescriptorError, match=r"groups = 256 is outside 0\.\.255"):
        descriptor.encode(descriptor.Opcode.LINEAR, {"groups": 256})
    with pytest.raises(descriptor.DescriptorError, match="no field 'gruops'"):
        descriptor.encode(descriptor.Opcode.LINEAR, {"gruops": 1})


def test_registers_fit_the_address():
    assert max(r.address for r in REGISTERS.values()) < 1 << 8


@pytest.mark.parametrize("page", pages.PAGES)
def test_pages_are_fresh(page):
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == pages.PAGES[page](), "stale: run make docs"


def test_model_errors():
    for text in ("", "{}", "[1]", '{"name": 1}'):
        with pytest.raises(ModelError):
            Model.from_json(text)


def _graph():
    layer = {"name": "head", "op": "head", "inputs": ["input"], "channels": 2}
    encoding = {"height": 8, "width": 8, "timesteps": 4, "frames": 1, "patch": 4}
    return {"name": "tiny", "encoding": encoding, "classes": ["a", "b"], "layers": [layer]}


def test_a_good_graph_is_read():
    model = Model.from_json(json.dumps(_graph()))
    assert Model.from_json(model.to_json()) == model


@pytest.mark.parametrize(("path", "value"), [
    (("name",), 5), (("classes",), "ab"), (("classes",), [1, 2]), (("u_frac",), "x"), (("card",), 5), (("layers",), 3),
    (("encoding", "timesteps"), "16"), (("encoding", "patch"), 0), (("layers", 0, "inputs"), []),
    (("layers", 0, "inputs"), [["a"]]), (("layers", 0, "inputs"), [""]), (("layers", 0, "channels"), None),
    (("layers", 0, "channels"), 2.0),
    (("layers", 0, "theta"), 128.5), (("layers", 0, "stride"), 0), (("layers", 0, "heads"), "2"), (("layers", 0, "name"), ""),
    (("layers",), [_graph()["layers"][0]] * 2),
])
def test_a_damaged_graph_is_refused(path, value):
    graph = _graph()
    target = graph
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ModelError):
        Model.from_json(json.dumps(graph))


@given(st.data())
def test_any_value_in_a_graph_is_read_or_refused(data):
    graph = _graph()
    target = data.draw(st.sampled_from([graph, graph["encoding"], graph["layers"][0]]))
    key = data.draw(st.sampled_from([*target, "stride", "padding", "theta", "weight_bits", "residual", "u_out", "nonsense"]))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    target[key] = data.draw(st.recursive(scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x)))
    try:
        model = Model.from_json(json.dumps(graph))
    except ModelError:
        return
    assert Model.from_json(model.to_json()) == model


@pytest.mark.parametrize("fields", [
    {"width": 32, "mask_low": 16}, {"width": 16, "mask_low": 240}, {"width": 48}, {"width": 16, "mask_low": 8}, {"width": 128},
])
def test_hamming_channels_that_are_no_whole_groups_are_refused(fields):
    good = {"width": 32, "bank_tokens": 1, "slices": 1}
    words = descriptor.encode(descriptor.Opcode.HAMMING, {**good, **fields})
    with pytest.raises(descriptor.DescriptorError, match="whole groups"):
        descriptor.check_limits(descriptor.decode(words), SMALL)
    descriptor.check_limits(descriptor.decode(descriptor.encode(descriptor.Opcode.HAMMING, good)), SMALL)


# The dependency law of docs/structure.md: who may import what.
READERS = {"golden.spec", "golden.encoding", "golden.data.events", "golden.data.video", "numpy", "av"}
LAW = {
    "golden/spec": set(),
    "golden/encoding.py": {"golden.spec", "numpy"},
    "golden/data/events.py": READERS,
    "golden/data/files.py": READERS,
    "golden/data/video.py": READERS,
    "golden/integer": {"golden.spec", "golden.encoding", "golden.integer", "numpy", "safetensors"},
    "hw": {"golden.spec", "hw", "amaranth", "pyosys"},
    "sw": {"golden.spec", "golden.encoding", "golden.data.events", "golden.data.files", "golden.data.video", "sw", "numpy",
           "safetensors", "typer", "rich", "matplotlib", "serial", "cobs"},
}
EXTRA = {"sw/device/golden.py": {"golden.integer"},
         "hw/flow/ethernet_core.py": {"liteeth", "litex", "migen"},
         **{f"hw/boards/{x}.py": {"amaranth_boards"} for x in ("catalog", "tang_nano_20k")}}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            packages = node.module in ("golden", "hw", "sw", "sim")
            found |= {f"{node.module}.{a.name}" for a in node.names} if packages else {node.module}
    return found


def _sources():
    for folder in ("golden", "hw", "sw", "sim"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("source", [s for s in _sources() if "/tests/" not in s])
def test_dependency_law(source):
    law = next((LAW[p] | {p.replace("/", ".")} for p in LAW if source == p or source.startswith(p + "/")), None)
    for name in _imports(ROOT / source):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names:
            continue
        assert top != "sim" or source.startswith("sim/"), f"{source} imports {name}: nothing imports sim"
        if law is not None:
            allowed = law | EXTRA.get(source, set())
            assert any(name == a or name.startswith(a + ".") for a in allowed), f"{source} imports {name}"
        elif source.startswith("golden/"):
            assert top not in ("hw", "sw"), f"{source} imports {name}"


def test_every_preset_has_a_different_digest():
    assert len({c.digest for c in PRESETS.values()}) == len(PRESETS)


def test_a_lean_machine_has_narrower_limits():
    names = ("out_h", "out_w", "kernel_h", "kernel_w", "groups", "steps", "words", "planes", "slices", "bank_mask")
    ones = dict.fromkeys(names, 1)
    for more in ({"groups": 32}, {"out_w": 256}, {"kernel_h": 16}, {"count": 1}):
        fields = descriptor.decode(descriptor.encode(descriptor.Opcode.LINEAR, {**ones, **more}))
        descriptor.check_limits(fields, SMALL)
        (name, value), = more.items()
        with pytest.raises(descriptor.DescriptorError, match=f"{name} = {value} is outside"):
            descriptor.check_limits(fields, PICO)
