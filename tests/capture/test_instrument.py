import json
from pathlib import Path

from tests import forking
from tests.capture import instrumented


def test_instrument_captures_every_graph_of_a_process(tmp_path: Path):
    assert forking.run(instrumented.main, tmp_path) == 0
    added = [["add", "2", False]]
    assert json.loads((tmp_path / "told.json").read_text()) == {
        "plain": ["agent", "finished", 1, "uata", added],
        "both": ["both", "finished", 1, "uata", added],
        "explicit": ["agent", "finished", 1, "uata", added],
        "thread": ["agent", "finished", 1, "uata", added],
        "dynamic": ["agent", "finished", 2, "uata", [["confirm", "yes", False]]],
        "static": ["agent", "interrupted", 1, "ua", [["add", None, False]]],
    }
