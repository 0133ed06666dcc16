"""Relabeling: failed runs become samples for the goals that they did reach. Start reading at `hindsight.relabel`."""

from agenther_live.relabel.demonstrate import success_sample
from agenther_live.relabel.detect import ModelDetector, RulesDetector
from agenther_live.relabel.extract import ModelExtractor, RulesExtractor
from agenther_live.relabel.goals import ModelRelabeler
from agenther_live.relabel.hindsight import relabel
from agenther_live.relabel.judges.judge import ModelJudge, RulesJudge
from agenther_live.relabel.models import (
    ChatModel,
    Detector,
    Extractor,
    Judge,
    ModelReply,
    ModelRequest,
    Policy,
    Relabeler,
)
from agenther_live.relabel.templates.template import TemplateRelabeler

__all__ = [
    "ChatModel",
    "Detector",
    "Extractor",
    "Judge",
    "ModelDetector",
    "ModelExtractor",
    "ModelJudge",
    "ModelRelabeler",
    "ModelReply",
    "ModelRequest",
    "Policy",
    "Relabeler",
    "RulesDetector",
    "RulesExtractor",
    "RulesJudge",
    "TemplateRelabeler",
    "relabel",
    "success_sample",
]
