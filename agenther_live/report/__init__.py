"""One page about a home, with plots: what came in, what failed, what became of it and what it cost."""

from agenther_live.report.figures import Figures, collect
from agenther_live.report.page import page

__all__ = ["Figures", "collect", "page"]
