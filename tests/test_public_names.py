"""The names that users import: few, sorted, documented, and changed only on purpose."""

import agenther_live

PUBLIC = ["AgentHERError", "Live", "Message", "Outcome", "Settings", "ShardStream", "Trajectory"]


def test_all_is_the_documented_list() -> None:
    assert list(agenther_live.__all__) == PUBLIC
    assert sorted(PUBLIC) == PUBLIC


def test_each_name_is_there_with_a_docstring() -> None:
    for name in PUBLIC:
        assert getattr(agenther_live, name).__doc__, name
