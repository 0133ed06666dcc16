"""The page with plots: it draws what the views say, and nothing of what a run brought in gets out of its cell."""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from agenther_live import Live
from agenther_live.report import Figures, collect, page
from tests.whole import run_cli

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC).replace(tzinfo=None)
EMPTY: dict[str, Any] = {
    "status": {}, "funnel": [], "days": [], "failure_types": [], "refusals": [], "costs": [], "agreement": [],
    "rates": [], "goals": [],
}  # fmt: skip


class Read(HTMLParser):
    """Every tag of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_verb_writes_one_whole_page(demo_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    told = run_cli("report", file, "--home", demo_home, "--json").json
    html = file.read_text("utf-8")
    assert told == {"file": str(file), "bytes": len(html.encode())}
    assert list(tmp_path.iterdir()) == [file]
    seen = Read(html)
    assert not seen.tags & {"script", "link", "iframe", "img", "object"}
    assert not re.findall(r"""(?:src|href)=["']https?:""", html), "nothing is loaded from elsewhere"
    with Live(demo_home) as live:
        for step in live.buffer.funnel():
            assert step["step"] in seen.text
        for (kind,) in live.buffer.sql("select distinct failure_type from failures").fetchall():
            assert kind in seen.text
        newest = "select hindsight_goal from goals g join trajectories using (trajectory_id) where accepted "
        [(goal,)] = live.buffer.sql(f"{newest} order by finished_at desc limit 1").fetchall()
    assert goal in seen.text
    drawn = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawn) >= 4
    for svg in drawn:
        ElementTree.fromstring(svg)


def test_equal_figures_give_an_equal_page(demo_home: Path) -> None:
    with Live(demo_home) as live:
        pages = {page(collect(live.buffer, live.status()), home="demo", now=NOW) for _ in range(2)}
    assert len(pages) == 1


def test_a_home_without_a_run_has_a_page(home: Path, tmp_path: Path) -> None:
    assert run_cli("report", tmp_path / "r.html", "--home", home).code == 0
    assert "Nothing to draw yet." in (tmp_path / "r.html").read_text("utf-8")


def test_what_is_no_file_is_written_into_and_a_link_stays_one(home: Path, tmp_path: Path) -> None:
    """`/dev/stdout` is a link, to a pipe often enough: to put a file in its place would take it from everybody."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run_cli("report", link, "--home", home).code == 0
        assert os.read(reader, 1 << 16).startswith(b"<!doctype html>")
    finally:
        os.close(reader)
    assert link.is_symlink()
    assert pipe.is_fifo()
    reader, writer = os.pipe()  # its name below /dev/fd is a link to no path at all
    try:
        assert run_cli("report", f"/dev/fd/{writer}", "--home", home).code == 0
        assert os.read(reader, 1 << 16).startswith(b"<!doctype html>")
    finally:
        os.close(reader)
        os.close(writer)


def test_text_of_runs_stays_text() -> None:
    attack = "</td></table><script>alert(1)</script>\u202e\x00$\\frac{"
    rows = {
        "days": [{"day": date(2026, 11, 22), "captured": 1, "failed": 1, "accepted": 1}],
        "failure_types": [{"failure_type": attack, "failures": 1, "accepted": 0}],
        "refusals": [{"reason": attack, "trajectories": 1}],
        "rates": [{"agent": attack, "policy_version": None, "success_rate": 0.5, "low": 0.1, "high": 0.9}],
        "costs": [{"day": date(2026, 11, 22), "calls": 2, "cost_usd": 0.1, "unpriced_calls": 1}],
        "agreement": [{"judge": attack, "other": attack, "goals": 1, "agreement": 1.0}],
        "goals": [{"agent": attack, "goal": attack, "hindsight_goal": attack, "failure_type": None, "confidence": 1.0}],
        "funnel": [{"step": "captured", "n": 1, "dropped": {attack: 1}}],
    }
    html = page(Figures(**EMPTY | rows), home=attack, now=NOW)
    seen = Read(html)
    assert "script" not in seen.tags
    assert "alert(1)" in seen.text
    assert "at least, since 1 calls have no known price" in seen.text
    assert not any(name.startswith("on") for name in seen.attributes)
    assert "\u202e" not in html
    assert "\x00" not in html


def test_a_file_that_cannot_be_written_is_said(demo_home: Path, tmp_path: Path) -> None:
    done = run_cli("report", tmp_path / "missing" / "r.html", "--home", demo_home)
    assert done.code == 1
    assert "No such file" in done.err
    assert "Traceback" not in done.err
