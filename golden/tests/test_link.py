"""The link's protocol: its sizes fit each other, and bodies survive packing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.spec import link
from golden.spec.link import FRAME_BYTES, IDENTITY, REQUESTS, STATUS_TEXT, Kind, Status


def values(fields):
    """Any values that the fields can have."""
    kinds = {
        "count": lambda f: st.integers(0, (1 << (8 * f.size)) - 1), "data": lambda f: st.binary(max_size=f.size),
        "hex": lambda f: st.binary(min_size=f.size, max_size=f.size).map(bytes.hex),
        "text": lambda f: st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=f.size),
    }
    return st.fixed_dictionaries({f.name: kinds[f.kind](f) for f in fields})


def test_everything_has_its_place():
    assert set(REQUESTS) == set(Kind) - {Kind.NONE} and set(STATUS_TEXT) == set(Status)
    for request in REQUESTS.values():
        largest = max(link.size(request.fields)[1], 1 + link.size(request.answer)[1])  # an answer has a status, too
        assert link.HEADER_BYTES + largest + link.CRC_BYTES <= FRAME_BYTES
    assert all(kind < link.ANSWER for kind in Kind)
    for request in REQUESTS.values():
        for fields in (request.fields, request.answer):
            assert all(f.kind != "data" for f in fields[:-1])  # data end a body


@given(st.data())
def test_round_trip(data):
    fields = data.draw(st.sampled_from([f for r in REQUESTS.values() for f in (r.fields, r.answer)]))
    given_values = data.draw(values(fields))
    body = link.pack(fields, given_values)
    assert link.size(fields)[0] <= len(body) <= link.size(fields)[1]
    assert link.unpack(fields, body) == given_values


@pytest.mark.parametrize(("name", "value"), [
    ("memory", 1 << 32), ("clock", -1), ("build", "00"), ("digest", "00" * 17), ("board", "x" * 17),
])
def test_values_that_do_not_fit(name, value):
    good = {f.name: 0 if f.kind == "count" else "00" * f.size if f.kind == "hex" else "" for f in IDENTITY}
    link.pack(IDENTITY, good)
    with pytest.raises(ValueError, match=name):
        link.pack(IDENTITY, {**good, name: value})


@pytest.mark.parametrize("kind", REQUESTS)
def test_bodies_of_the_wrong_length(kind):
    low, high = link.size(REQUESTS[kind].fields)
    for length in ([low - 1] if low else []) + [high + 1]:
        with pytest.raises(ValueError, match="bytes"):
            link.unpack(REQUESTS[kind].fields, bytes(length))
