"""How well rules find failures, and what went wrong in them, on real labelled runs; nothing of them is written out.

Stage 0: what the deterministic part (how a run ended) says without any grade, where agents are declared to end with an
answer (all but the one that ends with a purchase). Stage 1: the type that the detector gives
to failed runs against the sources' own labels, through mapping.json: `primary` labels for macro-F1 (strong ones), `in
set` for all that may be scored. Type and source are confounded when pooled, so each source stands alone, with the
majority answer beside it. Intervals: bootstrap over tasks.

    python benchmarks/detect.py --json detect.json
    python benchmarks/detect.py --model openai:gpt-4o-mini        # the LLM detector on the same runs
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file too

from agenther_live.integrations.chat_model import chat_model
from agenther_live.outcome import decide
from agenther_live.relabel import ModelDetector, Policy, RulesDetector
from agenther_live.relabel.models import Detector, Unanswered
from agenther_live.relabel.reading.calls import view
from agenther_live.settings import load_settings
from agenther_live.trajectory import Outcome
from benchmarks.common import ABSENT, Record, data_folder, grouped, interval, machine, records, save, show

ENDS_BY_DEED = ("react-webshop",)  # its agent's last word is a purchase: not declared to end with an answer
FAILED = Outcome(label="failure", source="reward", reason="the evaluator says so")


@dataclass(frozen=True)
class Scored:
    """A labelled failure with what the detector said. `primary` is None where only the set counts."""

    record: Record
    primary: str | None
    accept: tuple[str, ...]
    found: str


def gold(record: Record, mapping: dict[str, Any]) -> tuple[str | None, tuple[str, ...]] | None:
    """The expected type and the accepted ones; None where the label is not to be scored."""
    label = record.raw["failure_label"]
    if label is None:
        return None
    names = [
        str(name).casefold() for name in (label["label"] if isinstance(label["label"], list) else [label["label"]])
    ]
    section = {"human": mapping["bioagent-errors"], "script": mapping["swebench-script"]}.get(
        label["kind"], mapping["grader"]
    )
    if record.source == "agentrx-tau-retail":
        section = mapping["agentrx"]
    found = [
        entry for name in names for key in (name, f"{record.source}:{name}", f"*:{name}") if (entry := section.get(key))
    ]
    if not found or found[0]["strength"] == "none":
        return None
    if record.source == "fireact-hotpotqa":
        answer = (record.raw["final_answer"] or "").strip().casefold()
        if answer in ("", "none", "unknown"):
            return "incomplete", ("incomplete",)
        if (label.get("f1") or record.raw["meta"].get("f1") or 0) >= 0.6:
            return None  # near-correct: a string match, no failure
    strong = found[0]["strength"] == "strong"
    return (found[0]["primary"] if strong else None), tuple(found[0]["accept"])


def macro_f1(items: Sequence[Scored]) -> float:
    """The mean F1 over the types that the labels name (strong labels only)."""
    scores = []
    strong = [item for item in items if item.primary]
    for kind in {item.primary for item in strong}:
        hit = sum(item.primary == kind == item.found for item in strong)
        said = sum(item.found == kind for item in strong)
        true = sum(item.primary == kind for item in strong)
        scores.append(2 * hit / (said + true) if said + true else 0.0)
    return sum(scores) / len(scores) if scores else float("nan")


def in_set(items: Sequence[Scored]) -> float:
    return sum(item.found in item.accept for item in items) / len(items) if items else float("nan")


def stage_0(found: Sequence[Record]) -> list[dict[str, Any]]:
    rows = []
    for group in [*grouped(found, lambda record: record.source), list(found)]:
        said = [
            (
                record.success,
                decide(
                    [],
                    status=record.trajectory.status,
                    error_type=record.trajectory.error_type,
                    error_message=record.trajectory.error_message,
                    final_answer=record.trajectory.final_answer,
                    answers=record.source not in ENDS_BY_DEED,
                ).label
                == "failure",
            )
            for record in group
        ]
        wrong = sum(success is True and failed for success, failed in said)
        right = sum(success is False and failed for success, failed in said)
        failures = sum(success is False for success, _ in said)
        rows.append(
            {
                "source": group[0].source if len(rows) < len({record.source for record in found}) else "all",
                "successes": sum(success is True for success, _ in said),
                "called failed": wrong,
                "failures": failures,
                "found": right,
                "recall": right / failures if failures else float("nan"),
            }
        )
    return rows


async def detect(found: Sequence[Record], detector: Detector, mapping: dict[str, Any]) -> tuple[list[Scored], int]:
    scored, unanswered = [], 0
    for record in found:
        if record.success is True or (expected := gold(record, mapping)) is None:
            continue
        try:
            said = await detector.detect(record.trajectory, FAILED, view(record.trajectory), Policy())
        except Unanswered:
            unanswered += 1
            continue
        scored.append(Scored(record, *expected, said.failure_type))
    return scored, unanswered


def stage_1(scored: Sequence[Scored], resamples: int) -> list[dict[str, Any]]:
    rows = []
    by_source = grouped(scored, lambda item: item.record.source)
    for name, group in [*((items[0].record.source, items) for items in by_source), ("all (confounded)", list(scored))]:
        strong = [item for item in group if item.primary]
        major = Counter(item.primary for item in strong).most_common(1)
        always = str(major[0][0]) if major else "wrong_result"
        blind = [Scored(item.record, item.primary, item.accept, always) for item in group]
        clusters = grouped(group, lambda item: item.record.task)
        rows.append(
            {
                "source": name,
                "runs": len(group),
                "strong": len(strong),
                "tasks": len(clusters),
                "macro-F1": macro_f1(group),
                "95 %": interval(clusters, macro_f1, n=resamples) if strong else "",
                "in set": in_set(group),
                "in set 95 %": interval(clusters, in_set, n=resamples),
                "majority": always,
                "its macro-F1": macro_f1(blind),
                "its in set": in_set(blind),
            }
        )
    return rows


def confusion(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    strong = [item for item in scored if item.primary]
    kinds = sorted({item.found for item in strong} | {str(item.primary) for item in strong})
    counts = Counter((item.primary, item.found) for item in strong)
    return [{"label \\ found": true, **{kind: counts[true, kind] for kind in kinds}} for true in kinds]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer bootstrap samples")
    parser.add_argument("--model", help="score a chat model as detector too: provider:name[,base_url=…]")
    arguments = parser.parse_args()
    folder = data_folder()
    if folder is None:
        raise SystemExit(ABSENT)
    mapping = json.loads((folder / "mapping.json").read_text())
    resamples = 200 if arguments.quick else 1000
    began = time.perf_counter()
    found = list(records(folder))
    print(machine())
    outcomes = stage_0(found)
    show("stage 0: failures found by how a run ended, without its grade", outcomes)
    result: dict[str, Any] = {"stage_0": outcomes}
    detectors: list[Detector] = [RulesDetector()]
    if arguments.model:
        detectors.append(ModelDetector(chat_model(arguments.model, settings=load_settings())))
    for detector in detectors:
        start = time.process_time()
        scored, unanswered = asyncio.run(detect(found, detector, mapping))
        cost = (time.process_time() - start) / max(1, len(scored)) * 1e3
        rows = stage_1(scored, resamples)
        show(f"stage 1: failure type by {detector.name} ({cost:.1f} ms CPU a run, {unanswered} unanswered)", rows)
        table = confusion(scored)
        show("strong labels by what was found", table)
        result[detector.name] = {"scores": rows, "counts": table, "unanswered": unanswered, "cpu_ms": round(cost, 2)}
    print(f"{time.perf_counter() - began:.0f} s")
    save(arguments.json, result)


if __name__ == "__main__":
    main()
