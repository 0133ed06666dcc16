"""What the build is told, against the working tree. The archives themselves are checked by .ci/check_wheel.py."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
LINKED = ("buffer", "integrations")


def test_every_package_is_named() -> None:
    found = set()
    for folder, package in SETUPTOOLS["package-dir"].items():
        for path in (ROOT / package).rglob("*.py"):
            inner = path.parent.relative_to(ROOT / package).parts
            if not (package == "agenther_live" and inner[:1] and inner[0] in LINKED):
                found.add(".".join((folder, *inner)))
    assert sorted(found) == SETUPTOOLS["packages"]


def test_every_package_has_an_init() -> None:
    for name in SETUPTOOLS["packages"]:
        assert (ROOT / Path(*name.split(".")) / "__init__.py").is_file(), name


def test_the_links_are_relative_links_to_the_folders_at_the_top() -> None:
    for name in LINKED:
        link = ROOT / "agenther_live" / name
        assert link.is_symlink()
        assert str(link.readlink()) == f"../{name}"
