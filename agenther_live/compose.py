"""From names to parts: which relabeler, judges, detector and extractor the settings ask for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from agenther_live.buffer.store import Buffer
from agenther_live.errors import SettingsError
from agenther_live.evaluate import Evaluator
from agenther_live.home import Home
from agenther_live.journal import Reader
from agenther_live.relabel.detect import ModelDetector, RulesDetector
from agenther_live.relabel.extract import ModelExtractor, RulesExtractor
from agenther_live.relabel.goals import ModelRelabeler
from agenther_live.relabel.judge import ModelJudge, RulesJudge
from agenther_live.relabel.models import ChatModel, Judge, Policy, Relabeler
from agenther_live.relabel.template import TemplateRelabeler
from agenther_live.replies import Replies, marker_key
from agenther_live.scheduler import Parts
from agenther_live.settings import Settings

__all__ = ["build_parts"]

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

    if relabeler == "rules":
        raise SettingsError("relabeler = 'rules': rules judge, they do not relabel; 'template' or a chat model")
    if "template" in judges:
        raise SettingsError("judges = 'template': a template relabels, it does not judge; 'rules' or a chat model")
    if relabeler is not None and relabeler in judges:
        logger.warning("the relabeler %s judges its own labels: a judge of another family finds more", relabeler)
    return Parts(
        settings=settings,
        home=home,
        buffer=buffer,
        reader=Reader(home.journal),
        relabeler=make_relabeler(relabeler),
        judges=[make_judge(judge) for judge in judges],
        detector=(
            RulesDetector() if settings.detector == "rules" else ModelDetector(model(settings.detector, "detector"))
        ),
        extractor=(
            RulesExtractor()
            if settings.extractor == "rules"
            else ModelExtractor(model(settings.extractor, "extractor"))
        ),
        policy=Policy.of(settings, marker_key=marker_key(home.path)),
        replies=replies,
        evaluators=evaluators,
        stop=stop,
    )
