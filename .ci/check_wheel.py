"""Install the built wheel in a clean environment, and prove that it is whole and alone.

Usage: python .ci/check_wheel.py dist
"""

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

TOP_LEVELS = {"agenther_live"}

# Runs in the clean environment, away from the checkout: only what the wheel brought is there to import.
PROBE = """
import importlib, importlib.util, pkgutil
for name in ("buffer", "integrations"):
    assert importlib.util.find_spec(name) is None, f"a top-level {name} is installed"
import agenther_live, agenther_live.buffer, agenther_live.integrations
found = [module.name for module in pkgutil.walk_packages(agenther_live.__path__, "agenther_live.")]
for name in found:
    # Alembic runs env.py itself; imported by hand it has no context. Trainers and PostgreSQL are extras.
    apart = (
        "agenther_live.buffer.migrations.env",
        "agenther_live.buffer.engines.postgresql",
        "agenther_live.integrations.trl",
    )
    if not name.startswith(apart):
        importlib.import_module(name)
"""


def source_files(root: Path) -> set[str]:
    """Names, as they stand in a wheel, of every module and data file of the working tree."""
    data = {".py", ".sql", ".md", ".mako", ".ini"}
    names = set()
    for folder, package in (
        ("agenther_live", "agenther_live"),
        ("buffer", "agenther_live/buffer"),
        ("integrations", "agenther_live/integrations"),
    ):
        # rglob does not follow the two links inside agenther_live, so each file is met once, at its real place.
        for path in (root / folder).rglob("*"):
            if path.is_file() and (path.suffix in data or path.name == "py.typed"):
                names.add(f"{package}/{path.relative_to(root / folder).as_posix()}")
    return names


def check_contents(wheel: Path, sdist: Path, root: Path) -> None:
    """Compare both archives with the working tree: a file left out is found here, not by a user."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = source_files(root)
    if inside != expected:
        sys.exit(f"{wheel.name}: missing {sorted(expected - inside)}, unexpected {sorted(inside - expected)}")
    if {name.split("/")[0] for name in inside} != TOP_LEVELS:
        sys.exit(f"{wheel.name}: installs more than {sorted(TOP_LEVELS)}")
    with tarfile.open(sdist) as archive:
        shipped = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    wanted = {name.replace("agenther_live/buffer/", "buffer/") for name in expected}
    wanted = {name.replace("agenther_live/integrations/", "integrations/") for name in wanted}
    if absent := (wanted | {"LICENSE", "README.md", "pyproject.toml"}) - shipped:
        sys.exit(f"{sdist.name}: missing {sorted(absent)}")


def check_installed(wheel: Path) -> None:
    """Install the wheel where nothing else is, and use it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        bin_dir = Path(folder, "bin")
        python = str(bin_dir / "python")
        run(folder, python, "-m", "pip", "install", "--quiet", str(wheel.resolve()))
        run(folder, python, "-I", "-c", PROBE)
        run(folder, str(bin_dir / "agenther-live"), "--help")


def run(folder: str, *command: str) -> None:
    """Run a command in `folder`; its output is shown only where it fails."""
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{Path(command[0]).name} {command[1]} failed with {done.returncode}")


def main(dist: Path) -> None:
    """Check the one wheel and the one sdist in `dist`."""
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    check_contents(wheel, sdist, Path(__file__).resolve().parent.parent)
    check_installed(wheel)
    print(f"{wheel.name}: whole, alone, and usable without the dev extras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
