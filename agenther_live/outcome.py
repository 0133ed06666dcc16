"""Whether the goal was reached: a pure function of evidence and of how the run ended.

Ranks: a person's latest word, then the environment's reward, evaluators, an outcome judge, terminal facts. The
first rank that says anything decides. Sources of one rank that contradict each other leave the outcome unknown,
and unknown is never treated as a failure (DESIGN.md, decision 1: structured signals alone cannot tell a failure,
AUROC 0.55 on labelled runs).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

from agenther_live.trajectory import Evidence, EvidenceSource, Outcome, Status

__all__ = ["decide", "is_not_the_agents_doing", "terminal_outcome", "verdict_of"]

RANKS: Final[tuple[EvidenceSource, ...]] = ("person", "reward", "evaluator", "judge", "terminal")

RECURSION_LIMIT = "GraphRecursionError"

DISPUTE = "dispute"  # key of the evidence of a panel that calls the failed goal met, word for word
IGNORED = "ignored"  # value of evidence by which an agent's declared polarity silences how a run ended

# Errors by the name of their type: the model's provider, the network, or the process going down. None of them says
# anything about what the agent did.
_ELSEWHERE: Final = frozenset(
    {
        # OpenAI's and Anthropic's clients (openai, anthropic: APIError and below)
        "APIError",
        "APIStatusError",
        "APIConnectionError",
        "APITimeoutError",
        "APIResponseValidationError",
        "RateLimitError",
        "InternalServerError",
        "ServiceUnavailableError",
        "OverloadedError",
        "DeadlineExceededError",
        "AuthenticationError",
        "PermissionDeniedError",
        # Google (google.api_core.exceptions, google.genai.errors), AWS, Azure, Mistral, Ollama
        "ServerError",
        "ResourceExhausted",
        "TooManyRequests",
        "ServiceUnavailable",
        "DeadlineExceeded",
        "GatewayTimeout",
        "BadGateway",
        "ThrottlingException",
        "ModelTimeoutException",
        "ServiceUnavailableException",
        "EndpointConnectionError",
        "HttpResponseError",
        "ChatGoogleGenerativeAIError",
        "TransientModelError",
        # Transports (httpx, requests, urllib3, aiohttp, anyio, the standard library)
        "TimeoutError",
        "Timeout",
        "TimeoutException",
        "ConnectTimeout",
        "ReadTimeout",
        "WriteTimeout",
        "PoolTimeout",
        "ConnectError",
        "ReadError",
        "WriteError",
        "CloseError",
        "NetworkError",
        "TransportError",
        "ProtocolError",
        "RemoteProtocolError",
        "ChunkedEncodingError",
        "MaxRetryError",
        "ConnectionError",
        "ConnectionResetError",
        "ConnectionAbortedError",
        "ConnectionRefusedError",
        "BrokenPipeError",
        "ClientConnectionError",
        "ClientConnectorError",
        "ServerDisconnectedError",
        "ServerTimeoutError",
        "IncompleteRead",
        "gaierror",
        "SSLError",
        # Shutdown and cancellation
        "CancelledError",
        "KeyboardInterrupt",
        "SystemExit",
        "GeneratorExit",
        "GraphDrained",
        "BrokenExecutor",
        "BrokenProcessPool",
    }
)
_STATUS: Final = re.compile(r"(?:error code|status(?:[ _]code)?|http)\W{0,3}(?:429|5\d\d)\b", re.IGNORECASE)
_SHUTDOWN: Final = re.compile(
    r"cannot schedule new futures after (?:interpreter )?shutdown|event loop is closed", re.IGNORECASE
)


def verdict_of(evidence: Evidence, *, success_threshold: float) -> bool | None:
    """Give what one statement says: its `success`, else its score against the threshold, else nothing."""
    if evidence.ambiguous:
        return None
    if evidence.success is not None:
        return evidence.success
    if evidence.score is None or not math.isfinite(evidence.score):
        return None
    return evidence.score >= success_threshold


def is_not_the_agents_doing(error_type: str | None, error_message: str | None = None) -> bool:
    """Say whether an error came from the provider (429, 5xx), the network, a timeout or a shutdown.

    `error_type` is the name of the exception's type, with or without its module.
    """
    name = (error_type or "").rpartition(".")[2]
    message = (error_message or "")[:2000]
    return name in _ELSEWHERE or bool(_STATUS.search(message)) or bool(_SHUTDOWN.search(message))


def terminal_outcome(
    status: Status,
    *,
    error_type: str | None = None,
    error_message: str | None = None,
    final_answer: str | None = None,
    answers: bool = False,
) -> Outcome:
    """Give what the end of the run alone says: failure for an error of the agent's own, else unknown.

    Args:
        status: how the trajectory stands; only 'error' and 'finished' can say anything.
        error_type: type of the exception that ended it.
        error_message: its message.
        final_answer: the answer, None or blank where none was given.
        answers: whether the agent is declared to end with an answer.
    """
    if status == "error":
        name = (error_type or "").rpartition(".")[2]
        if name == RECURSION_LIMIT:
            return Outcome(label="failure", source="terminal", reason="the agent ran into the recursion limit")
        if is_not_the_agents_doing(error_type, error_message):
            return Outcome(reason=f"{name or 'an error'} is not the agent's doing")
        return Outcome(label="failure", source="terminal", reason=f"the agent raised {name or 'an error'}")
    if status == "finished" and answers and not (final_answer or "").strip():
        return Outcome(label="failure", source="terminal", reason="it finished without the answer it is to give")
    return Outcome()


def decide(
    evidence: Iterable[Evidence],
    *,
    status: Status,
    success_threshold: float = 1.0,
    error_type: str | None = None,
    error_message: str | None = None,
    final_answer: str | None = None,
    answers: bool = False,
) -> Outcome:
    """Decide a trajectory's outcome.

    A later statement of the same source and key replaces the earlier one; of a person, the latest word counts
    whatever its key. `reward` of the result is the environment's latest, else the deciding score.

    Args:
        evidence: all statements about this trajectory, in any order.
        status: how the trajectory stands.
        success_threshold: a score from here on is a success.
        error_type: see `terminal_outcome`, as the rest.
        error_message: its message.
        final_answer: the answer, if any.
        answers: whether the agent is declared to end with an answer.
    """
    ordered = sorted(evidence, key=lambda item: (item.at, item.evidence_id))
    reward = next(
        (item.score for item in reversed(ordered) if item.source == "reward" and _is_score(item.score)),
        None,
    )
    disputed = next((item.comment or "" for item in ordered if (item.source, item.key) == ("judge", DISPUTE)), None)
    for source in RANKS:
        if source == "terminal" and (signs := [item for item in ordered if item.source == "terminal"]):
            ordered = signs[-1:]  # the latest reading of the signs counts, also where it says nothing
        said = [
            (item, verdict)
            for item in ordered
            if item.source == source and (verdict := verdict_of(item, success_threshold=success_threshold)) is not None
        ]
        if said:
            return _in_doubt(_weigh(source, said, reward), disputed)
    if any(item.source == "terminal" and item.value == IGNORED for item in ordered[-1:]):
        return Outcome(reward=reward, reason="its agent is declared so that this end says nothing")
    outcome = terminal_outcome(
        status,
        error_type=error_type,
        error_message=error_message,
        final_answer=final_answer,
        answers=answers,
    )
    return _in_doubt(outcome if reward is None else outcome.model_copy(update={"reward": reward}), disputed)


def _in_doubt(outcome: Outcome, disputed: str | None) -> Outcome:
    """A failure that a panel disputes is unknown until a person says so; what a person said is not in doubt."""
    if disputed is None or outcome.label != "failure" or outcome.source == "person":
        return outcome
    return Outcome(reward=outcome.reward, source="judge", reason=f"in dispute: {disputed}")


def _weigh(source: EvidenceSource, said: Sequence[tuple[Evidence, bool]], reward: float | None) -> Outcome:
    latest = {"" if source == "person" else item.key: (item, verdict) for item, verdict in said}
    verdicts = {verdict for _, verdict in latest.values()}
    item, verdict = said[-1]
    score = reward if reward is not None else item.score
    if len(verdicts) > 1:
        keys = ", ".join(sorted(latest))
        return Outcome(reward=score, source=source, reason=f"{source} contradicts itself ({keys})")
    return Outcome(
        label="success" if verdict else "failure",
        reward=score,
        source=source,
        reason=item.comment or item.value,
    )


def _is_score(score: float | None) -> bool:
    return score is not None and math.isfinite(score)
