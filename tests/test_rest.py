"""A worker with nothing to do leaves the buffer's file closed, and wakes up for whatever could give it work."""

from pathlib import Path

import duckdb
import pytest

from agenther_live import Live
from agenther_live.errors import BufferLocked
from tests.whole import answering, say


def test_quiet_ticks_leave_the_file_to_others_and_nothing_is_missed(tmp_path: Path) -> None:
    with Live(tmp_path / "home", relabeler="template", judges=["rules"], lock_timeout_seconds=0.0) as live:
        agent = live.attach(answering(), name="a")
        say(agent, thread="t")
        assert live.tick().ingested == 1
        assert not live.tick().busy
        with duckdb.connect(live.buffer.where):  # what must open the file is refused
            assert not live.tick().busy
            live.feedback(thread_id="t", success=False)
            with pytest.raises(BufferLocked):
                live.tick()
        assert live.tick().relabeled == {"rejected": 1}
        while live.tick().busy:
            pass
        with duckdb.connect(live.buffer.where) as other:  # whoever writes to the file itself is seen too
            assert not live.tick().busy
            other.execute("UPDATE store.state SET needs_settle = true")
            with pytest.raises(BufferLocked):
                live.tick()
        assert live.tick(immediate=True).paused is None
