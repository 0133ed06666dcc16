import json
import subprocess
import sys


def test_instrument_captures_every_graph_of_a_process(tmp_path):
    command = [sys.executable, "-m", "tests.capture.instrumented", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    added = [["add", "2", False]]
    assert json.loads(done.stdout) == {
        "plain": ["agent", "finished", 1, "uata", added],
        "both": ["both", "finished", 1, "uata", added],
        "explicit": ["agent", "finished", 1, "uata", added],
        "thread": ["agent", "finished", 1, "uata", added],
        "dynamic": ["agent", "finished", 2, "uata", [["confirm", "yes", False]]],
        "static": ["agent", "interrupted", 1, "ua", [["add", None, False]]],
    }
