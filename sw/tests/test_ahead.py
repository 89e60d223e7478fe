"""Long images load during long layers, where their rows are free; what comes out is the same."""

from golden.spec.config import BASE, SMALL
from golden.spec.descriptor import FIELDS, Opcode
from golden.spec.model import INPUT
from sw.ahead import load_ahead, region
from sw.allocation import Region, place
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
            "slice_words": rows // BASE.word, "out_h": size, "out_w": size, "weight_rows": rows, "weight_addr": 64 * number,
            "weight_base": before.row, "param_beats": 1, "param_addr": 0, "prefetch": int(rows_apart and beats_apart),
        }))
    return items


def early(items):
    """For each descriptor the address of the image that it loads for a later one."""
    return [d["offset"] // 64 if d["count"] else None for _, d in items]


def test_a_long_image_behind_a_short_layer():
    items = program((LONG, 64), (SHORT, 64), (SHORT, 2048), (SHORT, 64))
    load_ahead(BASE, items)
    assert early(items)[0] == 2
    first, _, user, after = (d for _, d in items)
    assert user["weight_rows"] == 0 and user["weight_base"] == first["base"] and first["count"] == 2048
    others = [region(BASE, *x) for x in items if x[1] is not user]
    assert all(x.row + x.rows <= first["base"] or x.row >= first["base"] + 512 for x in others)
    assert after["prefetch"] and user["param_beats"]


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


def test_result():
    """The result of a network in which it happens is the golden model's, and nobody waits for the image."""
    source = made(conv("a", INPUT, 32, kernel=3, padding=1), conv("b", "a.s", 8), conv("c", "b.s", 32, kernel=4, stride=4),
                  conv("d", "c.s", 32, kernel=3, padding=1))
    some = clips(source.model.encoding)
    bundle = check_equal(source, SMALL, some)
    program = list(bundle.descriptors("run"))
    moved = [d for d in program if d["opcode"] == Opcode.LINEAR and d["count"]]
    assert moved
    waits = [x["wait"] for x in predict(bundle, SMALL, some[0]).records]
    users = [i for i, d in enumerate(program) if d["opcode"] == Opcode.LINEAR and not d["weight_rows"]]
    assert users and all(waits[i] < moved[0]["count"] * SMALL.row_bits // SMALL.axi_bits for i in users)
