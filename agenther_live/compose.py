"""From names to parts: which relabeler, judges, detector and extractor the settings ask for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from agenther_live.buffer.store import Buffer
from agenther_live.coroutines import run_coroutine
from agenther_live.errors import SettingsError
from agenther_live.evaluate import Evaluator
from agenther_live.fleet import EVERYTHING
from agenther_live.home import Home
from agenther_live.journal import Reader
from agenther_live.judging import OutcomeJudging
from agenther_live.relabel.detect import ModelDetector, RulesDetector
from agenther_live.relabel.extract import ModelExtractor, RulesExtractor
from agenther_live.relabel.goals import ModelRelabeler
from agenther_live.relabel.judges.judge import ModelJudge, RulesJudge
from agenther_live.relabel.judges.outcome_judge import OutcomeJudge
from agenther_live.relabel.judges.probe import Finding, probe_models
from agenther_live.relabel.models import ChatModel, Judge, Policy, Relabeler
from agenther_live.relabel.templates.template import TemplateRelabeler
from agenther_live.replies import Replies, marker_key
from agenther_live.scheduler import Parts
from agenther_live.settings import Settings
from agenther_live.shards.stores.mirror import Mirror
from agenther_live.shards.stores.objects import ObjectStore
from agenther_live.trust import cheapest_first, judges_itself

__all__ = ["build_parts", "check_models"]

logger = logging.getLogger("agenther_live")


def build_parts(
    *,
    settings: Settings,
    home: Home,
    buffer: Buffer,
    relabeler: Any,
    judges: Sequence[Any],
    evaluators: Sequence[Evaluator],
    stop: threading.Event,
    only: frozenset[str] = EVERYTHING,
) -> Parts:
    """Make everything that a worker needs; no model is called.

    Raises:
        SettingsError: a model string is unknown, a key is missing, or `pii` is not decided for a remote model.
    """
    replies = Replies(
        home.replies,
        spend_per_day_usd=settings.spend_per_day_usd,
        tokens_per_day=settings.tokens_per_day,
        spend_per_hour_usd=settings.spend_per_hour_usd,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
    )

    def model(spec: Any, setting: str) -> ChatModel:
        # Here: where templates and rules work, nobody waits a second for LangChain.
        from langchain_core.language_models import BaseChatModel

        from agenther_live.integrations.chat_model import chat_model

        if not isinstance(spec, str | Mapping | BaseChatModel):
            raise SettingsError(
                f"{setting} = {spec!r}: neither a name, nor a chat model, nor an object with the method that it needs"
            )
        return replies.remembered(chat_model(spec, settings=settings))

    def make_relabeler(spec: Any) -> Relabeler | None:
        if spec is None or hasattr(spec, "propose"):
            return cast(Relabeler | None, spec)
        return TemplateRelabeler() if spec == "template" else ModelRelabeler(model(spec, "relabeler"))

    def make_judge(spec: Any) -> Judge:
        if hasattr(spec, "judge"):
            return cast(Judge, spec)
        return RulesJudge() if spec == "rules" else ModelJudge(model(spec, "judges"))

    if "relabel" not in only:  # a worker beside an agent needs no model, and no key of one
        relabeler, judges, evaluators = None, (), ()
        settings = settings.model_copy(update={"detector": "rules", "extractor": "rules", "outcome_judge": None})
    policy = Policy.of(settings, marker_key=marker_key(home.path))
    if relabeler == "rules":
        raise SettingsError("relabeler = 'rules': rules judge, they do not relabel; 'template' or a chat model")
    if "template" in judges:
        raise SettingsError("judges = 'template': a template relabels, it does not judge; 'rules' or a chat model")
    proposes, panel = make_relabeler(relabeler), cheapest_first([make_judge(judge) for judge in judges])
    if judges_itself(proposes, panel):
        logger.warning("the relabeler %s judges its own labels: a judge of another family finds more", relabeler)
    return Parts(
        settings=settings,
        home=home,
        buffer=buffer,
        reader=Reader(home.journal),
        relabeler=proposes,
        judges=panel,
        detector=(
            RulesDetector() if settings.detector == "rules" else ModelDetector(model(settings.detector, "detector"))
        ),
        extractor=(
            RulesExtractor()
            if settings.extractor == "rules"
            else ModelExtractor(model(settings.extractor, "extractor"))
        ),
        policy=policy,
        replies=replies,
        evaluators=evaluators,
        stop=stop,
        only=only,
        mirror=Mirror(home.shards, ObjectStore(settings.shards)) if settings.shards else None,
        outcome_judging=(
            None
            if settings.outcome_judge is None
            else OutcomeJudging(
                OutcomeJudge(model(settings.outcome_judge, "outcome_judge"), share=settings.outcome_judge_share),
                policy,
                settings.concurrency,
                settings.retry_seconds,
            )
        ),
    )


def check_models(parts: Parts) -> list[Finding]:
    """Ask every chat model that these parts use whether it is there and answers as it must; costs two calls each."""
    named: list[tuple[str, Any]] = [("relabeler", parts.relabeler), ("detector", parts.detector)]
    named += [("extractor", parts.extractor), *((f"judges[{i}]", judge) for i, judge in enumerate(parts.judges))]
    if parts.outcome_judging is not None:
        named.append(("outcome_judge", parts.outcome_judging.judge))
    models = {setting: getattr(part, "model", None) for setting, part in named}
    used = {setting: model for setting, model in models.items() if isinstance(model, ChatModel)}
    return run_coroutine(probe_models(used, parts.policy))
