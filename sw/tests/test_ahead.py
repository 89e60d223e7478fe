"""Long images load during long layers, where their rows are free; what comes out is the same."""

from golden.spec.config import BASE, SMALL
from golden.spec.descriptor import FIELDS, Opcode
from golden.spec.model import INPUT
from sw.ahead import load_ahead, region
from sw.allocation import Region, place
from sw.compiler import compile_model
from sw.cycles import predict
from sw.tests.test_compiler import check_equal, clips
from sw.tests.test_contract import conv, made

LONG, SHORT = 64, 2  #: output height and width of layers


def program(*layers):
    """LINEAR descriptors of (output size, image rows), placed as the compiler places them."""
    items, before = [], Region()
    for number, (size, rows) in enumerate(layers):
        before, rows_apart, beats_apart = place(BASE, rows // BASE.issue, 1, before)
        items.append((Opcode.LINEAR, dict.fromkeys(FIELDS, 0) | {
            **dict.fromkeys(("kernel_h", "kernel_w", "words", "planes", "slices", "groups", "steps", "in_h"), 1),
            "slice_words": rows // BASE.word, "out_h": size, "out_w": size, "weight_rows": rows, "weight_addr": number << 20,
            "weight_base": before.row, "param_beats": 1, "param_addr": 0, "prefetch": int(rows_apart and beats_apart),
        }))
    return items


def early(items):
    """For each descriptor whose image it loads a piece of."""
    return [d["offset"] >> 20 if d["count"] else None for _, d in items]


def test_a_long_image_behind_a_short_layer():
    items = program((LONG, 64), (SHORT, 64), (SHORT, 2048), (SHORT, 64))
    load_ahead(BASE, items)
    assert early(items)[0] == 2
    first, _, user, after = (d for _, d in items)
    assert user["weight_rows"] + first["count"] == 2048 and user["weight_rows"] < 64
    assert first["base"] - user["weight_base"] == user["weight_rows"] // BASE.issue
    assert (first["offset"] - user["weight_addr"]) * 8 == user["weight_rows"] * BASE.row_bits
    place_ = region(BASE, *items[2])
    others = [region(BASE, *x) for x in items if x[1] is not user]
    assert all(x.row + x.rows <= place_.row or x.row >= place_.row + place_.rows for x in others)
    assert after["prefetch"] and user["param_beats"]


def test_pieces_in_several_layers():
    """Each loads what it has time for; together they are the image."""
    items = program((24, 64), (24, 64), (24, 64), (24, 64), (SHORT, 64), (SHORT, 2048))
    load_ahead(BASE, items)
    assert early(items)[:4].count(5) >= 2
    user = items[5][1]
    pieces = sorted((d["offset"] - user["weight_addr"], d["count"]) for _, d in items if d["count"])
    at = user["weight_rows"]
    for offset, count in pieces:
        assert offset * 8 == at * BASE.row_bits and offset % 64 == 0
        at += count
    assert at == 2048


def test_nothing_is_moved_in_vain():
    for layers in ([(LONG, 64), (LONG, 2048)], [(SHORT, 64), (SHORT, 64), (SHORT, 2048)], [(LONG, 64), (LONG, 64), (LONG, 2048)]):
        items = program(*layers)
        load_ahead(BASE, items)
        assert early(items) == [None] * len(items)


def test_rows_that_are_not_free_stay():
    for rows, found in ((1920, 2), (2048, None)):  # 480 or 512 of each bank, beside 512 and 16
        items = program((LONG, 2048), (SHORT, 64), (SHORT, rows))
        load_ahead(BASE, items)
        assert early(items)[0] == found


def test_shared_weights_stay():
    items = program((LONG, 64), (SHORT, 64), (SHORT, 2048), (SHORT, 0))
    items[3][1].update(slice_words=items[2][1]["slice_words"], weight_base=items[2][1]["weight_base"])
    load_ahead(BASE, items)
    assert early(items)[0] is None


def test_rows_that_later_descriptors_find_stay():
    """The last one finds the weights of the first, which nobody else near the long image uses."""
    items = program((SHORT, 64), (LONG, 64), (SHORT, 64), (SHORT, 2048), (SHORT, 64), (SHORT, 0))
    for item, row in zip(items, (0, 1008, 992, 16, 976, 0), strict=True):
        item[1]["weight_base"] = row
    items[5][1]["slice_words"] = items[0][1]["slice_words"]
    load_ahead(BASE, items)
    assert early(items)[1] == 3 and items[3][1]["weight_base"] == 16


def test_result(monkeypatch):
    """The result of a network in which it happens is the golden model's, and it takes less time."""
    source = made(conv("a", INPUT, 32, kernel=3, padding=1), conv("b", "a.s", 8), conv("c", "b.s", 32, kernel=4, stride=4),
                  conv("d", "c.s", 32, kernel=3, padding=1))
    some = clips(source.model.encoding)
    bundle = check_equal(source, SMALL, some)
    moved = sum(d["count"] for d in bundle.descriptors("run") if d["opcode"] == Opcode.LINEAR)
    monkeypatch.setattr("sw.program.load_ahead", lambda *_: None)
    plain = compile_model(source, SMALL)
    gain = predict(plain, SMALL, some[0]).cycles - predict(bundle, SMALL, some[0]).cycles
    assert moved and gain > moved * SMALL.row_bits // SMALL.axi_bits // 2
