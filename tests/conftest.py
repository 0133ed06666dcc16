"""The suite stands alone: what the caller's shell says about keys, endpoints, homes and proxies does not reach it."""

import fcntl
import gc
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgresql import Server

FOREIGN = ("AGENTHER_", "OPENAI_", "ANTHROPIC_", "LANGCHAIN_", "LANGSMITH_", "LANGGRAPH_")
KEPT = {"AGENTHER_TEST_DATA", "AGENTHER_TEST_KILLS", "AGENTHER_CONVERTERS"}  # real runs, how often, trainers' places
PROXIES = {"http_proxy", "https_proxy", "all_proxy"}

# At import, before any fixture or module under test reads the environment; child processes inherit it.
for name in list(os.environ):
    if name not in KEPT and (name.startswith(FOREIGN) or name.lower() in PROXIES):
        del os.environ[name]

# The suite starts hundreds of interpreters: what one of them has compiled, the others read.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Of what is imported to collect the tests nothing is garbage: the collector begins behind that.
gc.disable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than cores: many tests wait for servers, kills and signals."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    """A real PostgreSQL server for all test processes; each test makes a database of its own."""
    from tests.postgresql import serving

    with serving(common(tmp_path_factory) / "pg") as server:
        yield server


LONG = [
    "test_fastapi_service",
    "test_worker",
    "test_real_input",
    "test_kills",
    "test_panel_http",
    "test_cli",
    "test_live",
    "test_files",
    "test_walk",
    "test_attacks",
    "test_soak",
    "test_demo",
    "test_delete",
    "test_langgraph_server",
    "test_odd_runs",
    "test_faults",
    "test_metrics",
    "test_work",
    "test_postgresql",
    "test_redact",
    "test_publish",
    "test_pairs",
    "test_ingest",
    "test_replay",
    "test_doctor",
    "test_retention",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long begin first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def pytest_collection_finish() -> None:
    """What the modules under test have made so far stays: the collector need not go through it again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 20)  # a test lets most of what it makes go by itself


def common(factory: pytest.TempPathFactory) -> Path:
    """The folder that all test processes of this run share."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first test process makes for all of them; each gets a copy of its own."""
    shared = common(factory)
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / name).exists():
            make(shared / f"{name}.new")
            (shared / f"{name}.new").rename(shared / name)
    return Path(shutil.copytree(shared / name, factory.mktemp("once") / name))


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty buffer, made once: making one takes half a second."""
    from agenther_live import Live

    return once(tmp_path_factory, "empty", lambda home: Live(home).buffer.create())


@pytest.fixture
def home(tmp_path: Path, empty_home: Path) -> Path:
    """A home of the test's own, with an empty buffer."""
    shutil.copytree(empty_home, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def demo_told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One demo: its home, and what it told, for tests that only look at them."""
    from rich.console import Console

    from agenther_live.demo.run import demo

    def make(folder: Path) -> None:
        told = io.StringIO()
        demo(
            folder / "home",
            relabeler="template",
            judges=["rules"],
            tasks=60,
            seed=0,
            console=Console(file=told, width=200),
        )
        (folder / "told").write_text(told.getvalue())
        (folder / "path").write_text(str(folder / "home"))

    folder = once(tmp_path_factory, "demo", make)
    told = (folder / "told").read_text().replace((folder / "path").read_text(), str(folder / "home"))
    return folder / "home", told


@pytest.fixture
def demo_home(demo_told: tuple[Path, str]) -> Path:
    """The home of that demo."""
    return demo_told[0]
