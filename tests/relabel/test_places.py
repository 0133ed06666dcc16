"""The index of replies: what was put last is found, whatever else was put, and files can be forgotten."""

from __future__ import annotations

import random

from agenther_live.journal.places import Places


def test_every_key_is_found_where_it_was_put_last() -> None:
    rng, places, known = random.Random(3), Places(), dict[bytes, tuple[int, int]]()
    for _ in range(5000):
        key = rng.choice(list(known)) if known and rng.random() < 0.02 else rng.randbytes(32)
        known[key] = rng.randrange(4), rng.randrange(2**44)
        places.put(key, *known[key])
    known[bytes(32)] = 0, 0
    places.put(bytes(32), 0, 0)
    assert len(places) == len(known)
    assert all(places.get(key) == place for key, place in known.items())
    assert places.get(rng.randbytes(32)) is None
    places.drop({1, 3})
    assert len(places) == sum(file in (0, 2) for file, _ in known.values())
    assert all(places.get(key) == (place if place[0] in (0, 2) else None) for key, place in known.items())
