"""The garbage collector is asked to come less often, and gets back what it was told before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from agenther_live.collecting import seldom_collected


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    gc.enable()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def is_old(thing: object) -> bool:
    return any(one is thing for one in gc.get_objects(generation=2))


def test_the_thresholds_come_back_after_the_last_of_nested_blocks() -> None:
    before = gc.get_threshold()
    with seldom_collected():
        with pytest.raises(RuntimeError), seldom_collected(kept=True):
            raise RuntimeError
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_kept_counts_as_old_at_once_and_is_never_frozen(kept: bool) -> None:
    with seldom_collected(kept=kept):
        made = [[number] for number in range(100)]
    assert is_old(made) == is_old(made[-1]) == kept
    assert gc.get_freeze_count() == 0


def test_what_an_application_froze_stays_frozen() -> None:
    gc.freeze()
    with seldom_collected(kept=True):
        made = [[]]
    assert gc.get_freeze_count()
    assert not is_old(made)
