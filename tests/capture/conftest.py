from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.capture.kit import Recording


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    made = Recording(tmp_path)
    yield made
    made.writer.close()
