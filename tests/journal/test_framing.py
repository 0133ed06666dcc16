from __future__ import annotations

import datetime
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agenther_live.journal import decode_line, encode_line, scan

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)
records = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), json_values, max_size=6)


# Making an example costs more than looking at it: few are made, and each is looked at in many ways.


@settings(max_examples=40, deadline=None)
@given(records)
def test_what_is_written_is_read(record: dict[str, Any]) -> None:
    line = encode_line(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_line(line[:-1]) == record


@settings(max_examples=15, deadline=None)
@given(st.lists(records, min_size=1, max_size=5))
def test_a_cut_at_any_byte_loses_the_torn_line_only(written: list[dict[str, Any]]) -> None:
    lines = [encode_line(record) for record in written]
    whole = b"".join(lines)
    ends = [sum(map(len, lines[: i + 1])) for i in range(len(lines))]
    for cut in {*range(0, len(whole) + 1, 1 + len(whole) // 100), *ends, *(end - 1 for end in ends)}:
        read = [record for _, _, record in scan(whole[:cut])]
        assert read == [record for record, end in zip(written, ends, strict=True) if end <= cut]


@settings(max_examples=15, deadline=None)
@given(st.lists(records, min_size=1, max_size=4), st.integers(0, 1 << 32))
def test_damage_never_raises_and_never_yields_what_was_not_written(written: list[dict[str, Any]], seed: int) -> None:
    chance = random.Random(seed)
    whole = b"".join(encode_line(record) for record in written)
    for _ in range(20):
        for start, end, record in scan(damaged(whole, chance)):
            assert start < end
            assert record is None or record in written


def damaged(whole: bytes, chance: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) or 1)
        match chance.randrange(3):
            case 0:
                data[at : at + 1] = chance.randbytes(1)
            case 1:
                del data[at : at + chance.randint(1, 9)]
            case _:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
    return bytes(data)


def test_odd_values_become_text_instead_of_losing_the_record() -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    circle: list[Any] = []
    circle += [circle, circle]
    record = {
        "surrogate": "a\ud800b",
        "huge": 1 << 80,
        "set": {1},
        "bytes": b"\xff\x00",
        "rude": Rude(),
        "circle": circle,
        "when": datetime.datetime(2026, 1, 2),  # noqa: DTZ001
        3: "key",
        "deep": __import__("functools").reduce(lambda inner, _: [inner], range(500), 0),
    }
    read = decode_line(encode_line(record)[:-1])  # type: ignore[arg-type]
    assert read is not None
    assert read["huge"] == str(1 << 80)
    assert read["surrogate"] == "a?b"
    assert read["set"] == [1]
    assert read["circle"] == ["…", "…"]
    assert read["rude"] == "<Rude>"
    assert read["3"] == "key"


def test_lines_that_are_not_ours_are_refused() -> None:
    good = encode_line({"a": 1})[:-1]
    for line in (b"", b"x", good[:-1], good + b" ", b"00000000 " + good[9:], b"[1]", encode_line({})[:8]):
        assert decode_line(line) is None
