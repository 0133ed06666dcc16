from __future__ import annotations

import os
import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenther_live import ids


def test_uuid7_is_one_and_holds_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(ids.uuid7())
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000 + 1
    assert str(made) == str(made).lower()


def test_ids_of_one_process_are_unique_and_in_order_even_when_the_clock_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [ids.uuid7() for _ in range(2000)]
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    made += [ids.uuid7() for _ in range(2000)]
    monkeypatch.undo()
    made += [ids.uuid7() for _ in range(10)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(uuid.UUID(one).version == 7 for one in made)


def test_ids_of_threads_and_of_a_forked_child_are_unique() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(ids.uuid7() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writing, ids.uuid7().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with open(reading, "rb") as file:
        made.append(file.read().decode())
    made.append(ids.uuid7())
    assert len(set(made)) == len(made) == 2002


def test_content_hash_is_of_the_content() -> None:
    assert ids.content_hash({"b": 1, "a": [1.0, "ü"]}) == ids.content_hash({"a": [1.0, "ü"], "b": 1})
    assert ids.content_hash({"a": 1}) != ids.content_hash({"a": "1"})
    assert ids.content_hash({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert len(ids.content_hash({"huge": 1 << 80, "lone": "\ud800"})) == 64
    with pytest.raises(TypeError):
        ids.content_hash({"x": object()})


@given(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4)))
def test_content_hash_does_not_see_the_order_of_keys(value: dict[str, object]) -> None:
    assert ids.content_hash(value) == ids.content_hash(dict(reversed(value.items())))
