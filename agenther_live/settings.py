"""One frozen settings model: argument > environment (AGENTHER_…) > agenther.toml in the home > default."""

from __future__ import annotations

import codecs
import difflib
import json
import logging
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from agenther_live.errors import SettingsError

ShardFormat = Literal[
    "trl_sft",
    "trl_dpo",
    "trl_dpo_step",
    "trl_kto",
    "goal_contrast",
    "sharegpt",
    "swift_sft",
    "swift_dpo",
    "axolotl_sft",
    "openai_sft",
    "openai_dpo",
]


logger = logging.getLogger("agenther_live")
_BETWEEN_NAMES = re.compile(r",(?!\s*[a-z_]+=)")  # `openai:x,base_url=http://…,rules` is two names
_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
_CENTURY = {"seconds": 36_525 * 86_400, "days": 36_525}
_LARGEST = 2**53  # every engine holds it, also twice


class Settings(BaseSettings):
    """Everything that can be set. Units are in the names; sizes are bytes, times are seconds."""

    model_config = SettingsConfigDict(env_prefix="AGENTHER_", env_ignore_empty=True, frozen=True, extra="forbid")

    home: Path = Field(
        Path("agenther"), validate_default=True, description="Directory that holds journal, buffer, replies and shards."
    )
    enabled: bool = Field(True, description="False switches everything off; the agent runs as if never attached.")
    strict: bool = Field(False, description="True raises where the library would log once and go on.")

    # capture
    policy_version: str | None = Field(None, description="Name of the model and prompts that act.")
    pii: Literal["redact", "keep"] | None = Field(
        None, description="Personal data: must be set before text goes to an endpoint that is not loopback."
    )
    flush_seconds: float = Field(0.2, gt=0, le=60, description="Facts of open runs reach the journal this late.")
    sample_rate: float = Field(1.0, ge=0, le=1, description="Share of runs that are recorded.")
    max_queue_bytes: int = Field(8 << 20, gt=0, description="Held in memory while the volume refuses writes.")
    max_run_events: int = Field(10_000, gt=0, description="Facts kept of one run.")
    max_run_bytes: int = Field(8 << 20, gt=0, description="Bytes kept of one run.")
    max_field_bytes: int = Field(65_536, gt=0, description="Bytes kept of one field; its length is kept too.")
    max_open_runs: int = Field(10_000, gt=0, description="Runs open at once in one process.")
    idle_run_seconds: float = Field(3600, gt=0, description="An open run without a fact for so long is abandoned.")
    segment_bytes: int = Field(16 << 20, gt=0, description="A journal segment is sealed at this size.")

    # buffer
    buffer: str | None = Field(
        None,
        repr=False,  # it may hold a password
        description="SQLAlchemy URL (postgresql+psycopg://user@host/database); None is the DuckDB file in the home.",
    )
    lock_timeout_seconds: float = Field(5.0, ge=0, description="How long to retry a buffer that is locked.")
    lease_seconds: float = Field(
        300.0, gt=0, description="PostgreSQL: what a worker claimed goes to another one so long after it fell silent."
    )
    sql_seconds: float = Field(60.0, gt=0, description="A user's SQL is stopped after so long.")
    interrupted_ttl_seconds: float = Field(30 * 86_400, gt=0, description="A run waits this long for a resume.")
    history_days: float = Field(30, gt=0, description="Trajectories are kept this long.")
    history_bytes: int = Field(
        10 << 30, gt=0, description="Bytes of all trajectories, uncompressed, at which the oldest go."
    )
    history_trajectories: int | None = Field(None, gt=0, description="Trajectories kept at most; None: no limit.")

    # outcome
    success_threshold: float = Field(1.0, description="A score from here on is a success.")
    outcome_settle_seconds: float = Field(600, ge=0, description="A machine-found failure waits for a person.")

    outcome_judge: str | None = Field(
        None, description="Chat model that is asked how a run ended where no evidence says so; None: nobody."
    )
    outcome_judge_share: float = Field(1.0, ge=0, le=1, description="Share of such runs that it is asked about.")
    polarity: dict[str, dict[str, Literal["success", "failure", "unknown"]]] = Field(
        default_factory=dict, description="What signs of a run mean, by agent: {agent: {handoff: success}}."
    )

    # relabel
    relabeler: str | None = Field(None, description="'template' or a chat model; None captures and analyses only.")
    judges: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="'rules' or chat models; an empty panel accepts nothing."
    )
    detector: str = Field("rules", description="Stage 1: 'rules' or a chat model.")
    extractor: str = Field("rules", description="Stage 2: 'rules' or a chat model.")
    theta: float = Field(0.5, ge=0, le=1, description="Confidence gate θ of relabeler and judges.")
    delta: float = Field(0.3, ge=0, le=1, description="Weight below which a failure is discarded.")
    fallback_factor: float | None = Field(
        None, gt=0, le=1, description="The paper's fallback: accept the best valid attempt from factor·θ; None is off."
    )
    max_attempts: int = Field(3, ge=1, le=10, description="Attempts K at a hindsight goal.")
    style_examples: int = Field(
        3, ge=0, le=20, description="Other users' requests that a relabeler sees, for their manner alone; 0: none."
    )
    reuse_goals: bool = Field(True, description="First look for a goal of another user that the run in fact reached.")
    future_prefixes: int = Field(
        0, ge=0, le=8, description="Goals for so many cut runs of each failure beside its own; 0: none."
    )
    max_lanes: int = Field(
        8, ge=1, le=1000, description="Lanes relabeled of one run; those beyond are counted (`lanes_left_out`)."
    )
    canary_share: float = Field(
        0.02,
        ge=0,
        le=0.5,
        description="Share of judged items beside which the panel gets a known-bad goal; 0: none.",
    )
    tool_kinds: dict[str, dict[str, Literal["read", "write"]]] = Field(
        default_factory=dict, description="What tools do, by agent: {agent: {tool: read}}; the others go by name."
    )
    concurrency: int = Field(16, ge=1, le=1024, description="Model calls in flight at once.")
    request_timeout_seconds: float = Field(60, gt=0, description="One model call.")
    max_context_chars: int = Field(120_000, gt=1000, description="Evidence that one prompt may hold.")
    retry_seconds: float = Field(30, gt=0, description="First wait before an errored trajectory is tried again.")
    max_retries: int = Field(5, ge=0, description="Tries of an errored trajectory before it stays errored.")
    spend_per_day_usd: float = Field(5.0, ge=0, description="Cap on model spend of one UTC day.")
    tokens_per_day: int = Field(5_000_000, ge=0, description="Cap on model tokens of one UTC day.")
    spend_per_hour_usd: float | None = Field(None, ge=0, description="Cap on model spend of one hour; None: no cap.")
    requests_per_minute: int | None = Field(None, ge=1, description="Pace of requests to each endpoint; None: none.")
    tokens_per_minute: int | None = Field(None, ge=1, description="Pace of prompt tokens to each endpoint; None: none.")
    allowed_hosts: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None, description="Hosts that text may go to; None: any."
    )

    # worker
    drain_seconds: float = Field(
        20.0, ge=0, description="A leaving worker that only ingests waits so long for agents that still write."
    )
    tick_seconds: float = Field(1.0, gt=0, description="Pause between two ticks.")
    slice_seconds: float = Field(
        2.0,
        gt=0,
        description="While models are asked: pause between two looks at the journal, at new failures, and at shards "
        "that are due.",
    )
    batch: int = Field(200, ge=1, description="Trajectories relabeled per tick.")

    # shards
    shards: str | None = Field(
        None, description="URL of an object store (s3://bucket/path) to publish to as well; None: the home's folder."
    )
    formats: Annotated[tuple[ShardFormat, ...], NoDecode] = Field(
        ("trl_sft", "sharegpt"), description="Shard formats to publish."
    )
    shard_rows: int = Field(1000, ge=1, description="Rows at which a shard is closed.")
    shard_bytes: int = Field(64 << 20, ge=1, description="Bytes at which a shard is closed.")
    shard_seconds: float = Field(60, ge=0, description="Age of the oldest pending sample at which a shard is closed.")
    held_out: float = Field(0.05, ge=0, lt=1, description="Share of goals that never reach a shard.")
    held_out_key: str | None = Field(None, description="Metadata key to split by; None: the normalised goal.")
    success_samples: bool = Field(True, description="Successful runs become samples too.")
    success_share: float | None = Field(
        None, ge=0, le=1, description="Successes are at most this share of a shard's rows; None: as they come."
    )
    shard_files: Literal["jsonl", "parquet"] = Field(
        "jsonl", description="Form of the files; a folder of shards has one. OpenAI's formats are always JSONL."
    )
    keep_by_weight: Annotated[tuple[ShardFormat, ...], NoDecode] = Field(
        (), description="Formats whose trainers know no weights: a sample gets in with probability w."
    )
    keep_seed: int = Field(0, description="Seed of that choice; each sample's is fixed by seed and id.")
    pairs_per_sample: int = Field(4, ge=1, description="Pairs that a sample may stand in, on either side.")

    @field_validator("judges", "formats", "allowed_hosts", "keep_by_weight", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Read a list from text: JSON, or names with commas between (an option of a model is no name of its own)."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError as error:
                raise ValueError(f"a JSON list, or names with commas between: {error}") from None
        return tuple(name for part in _BETWEEN_NAMES.split(value) if (name := part.strip()))

    @field_validator("*", mode="after")
    @classmethod
    def _reckonable(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what no date can be reckoned with, what no column holds, and what is no number."""
        for unit, most in _CENTURY.items():
            if isinstance(value, float) and str(info.field_name).endswith(f"_{unit}") and value > most:
                raise ValueError(f"at most {most:,} {unit}, a hundred years")
        if isinstance(value, float) and math.isnan(value):
            raise ValueError("a number")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise ValueError(f"at most {_LARGEST:,}")
        return value

    @field_validator("shards", mode="after")
    @classmethod
    def _a_store(cls, value: str | None) -> str | None:
        if value is None:
            return None
        kind, there, where = value.partition("://")
        if not there or kind in ("", "file", "local"):
            raise ValueError("a URL such as s3://bucket/path; local shards are in the home, which may be a link")
        if not where.strip("/") or (kind in _BUCKETS and where.startswith("/")):
            raise ValueError(f"it names no bucket; write {kind}://bucket/path")
        return value

    @field_validator("home", mode="after")
    @classmethod
    def _at_home(cls, value: Path) -> Path:
        """Give the whole path: the home stays where it is when the process goes to another folder."""
        return Path(os.path.abspath(value.expanduser()))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Argument beats environment beats file."""
        given = init_settings.init_kwargs.get("home")  # type: ignore[attr-defined]
        if given is None:
            given = env_settings().get("home") or "agenther"
        if not str(given).strip():  # of a variable that is not set, most likely; it would be the folder one stands in
            raise SettingsError(f"home = {str(given)!r}: it is empty; the folder where you are is '.'")
        try:
            file = Path(given).expanduser() / "agenther.toml"
        except RuntimeError as error:  # ~somebody
            raise SettingsError(f"home = {str(given)!r}: {error}") from None
        try:
            if os.path.lexists(file) and not file.is_file():  # pydantic passes by what is no file
                raise ValueError("it is no file")
            toml = TomlConfigSettingsSource(settings_cls, toml_file=file)
        except OSError as error:
            raise SettingsError(f"{file} cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            marked = file.is_file() and file.read_bytes().startswith(codecs.BOM_UTF8)
            why = "it begins with a byte-order mark: save it as UTF-8 without one" if marked else error
            raise SettingsError(f"{file} cannot be read: {why}") from None
        if "home" in toml():
            raise SettingsError(f"{file}: home says where this file lies, so it cannot stand in it")
        return init_settings, env_settings, toml


def load_settings(**given: Any) -> Settings:
    """Make the settings from arguments (None is 'not given'), environment and `agenther.toml`.

    Raises:
        SettingsError: naming each wrong setting, its value and what is allowed.
    """
    _tell_slips()
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("invalid settings: " + "; ".join(map(_told, error.errors()))) from None
    except ValueError as error:  # a source that cannot be read
        raise SettingsError(f"invalid settings: {error}") from None


def _tell_slips() -> None:
    """Warn of variables that look like a setting and are none: unlike a file's, other programs may own such names."""
    for variable in sorted(os.environ):
        name = variable.removeprefix("AGENTHER_").lower()
        if name != variable.lower() and name not in Settings.model_fields:
            for near in difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.85):
                logger.warning("%s: there is no such setting, did you mean AGENTHER_%s?", variable, near.upper())


def _told(error: Any) -> str:
    """One wrong setting in words: its name, its value, and what is allowed."""
    name = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{name} = {error['input']!r}: {error['msg']}"
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f"{name} = {error['input']!r}: there is no such setting" + (f", did you mean {near[0]}?" if near else "")
