"""Settings of this machine, read once, closed, each traced to its source.

Order: command-line flag, then environment, then ``sandbox.toml`` in the data folder, then the default.
An unknown name anywhere is an error: a misspelt setting must not be silently without effect.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sandbox.errors import ConfigError

PREFIX = "SANDBOX_"
FILE_NAME = "sandbox.toml"

Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """One table of ``sandbox.toml``: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageSettings(Section):
    """The page for people."""

    port: Port = Field(default=8501, description="port of the page on 127.0.0.1")
    open: bool = Field(default=True, description="open the sign-in link in the desktop's browser, where there is one")


class ApiSettings(Section):
    """The gateway."""

    port: Port = Field(default=8502, description="port of the API on 127.0.0.1")
    max_body_bytes: int = Field(
        default=2 * 1024 * 1024, ge=1024, description="longest request body that is taken, in bytes"
    )
    max_requests: int = Field(default=64, ge=1, description="requests answered or waiting at the same time")


class StewardSettings(Section):
    """The one who starts and supervises engines."""

    port: int = Field(default=0, ge=0, le=65535, description="port of the steward on 127.0.0.1; 0 takes a free one")


class EngineSettings(Section):
    """How models are run."""

    kind: Literal["auto", "llama-server", "xllamacpp", "llama-cpp-python", "ollama"] = Field(
        default="auto", description="which engine serves; auto takes llama-server where found, else xllamacpp"
    )
    path: Path | None = Field(default=None, description="a llama-server of your own, instead of searching for one")
    context_tokens: int | None = Field(
        default=None, ge=128, le=1_048_576, description="context of one slot in tokens; unset lets the plan decide"
    )
    accelerator: Literal["auto", "cpu", "cuda", "vulkan", "metal"] = Field(
        default="auto", description="what computes; auto takes what this machine has"
    )
    slots: int | None = Field(
        default=None, ge=1, le=64, description="requests answered at the same time; unset lets the plan decide"
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="threads that compute; unset lets the plan decide"
    )
    cache_ram_mib: int = Field(
        default=256, ge=0, le=1_048_576, description="memory for prompts seen before, in MiB; 0 switches it off"
    )
    ollama_url: str = Field(
        default="http://127.0.0.1:11434",
        pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\]):\d{1,5}$",
        description="a running Ollama on this machine, for kind ollama",
    )
    start_timeout_s: float = Field(default=120, gt=0, description="seconds until a started engine must be ready")
    silence_timeout_s: float = Field(
        default=120, gt=0, description="seconds without a sign of life after which an answer is given up"
    )


class ClusterSettings(Section):
    """The Kubernetes cluster, where the backend is one."""

    name: str = Field(
        default="sandbox", pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", description="name of the kind cluster"
    )
    node_image: str | None = Field(
        default=None, min_length=1, description="a kind node image of your own; unset takes the pinned or the built one"
    )
    kind: Path | None = Field(default=None, description="a kind program of your own, instead of searching for one")
    ready_timeout_s: float = Field(
        default=300, gt=0, description="seconds until what was deployed in the cluster must be ready"
    )
    allow_unproved: bool = Field(
        default=False, description="run where network isolation is not enforced; every page then says so"
    )


class ModelsSettings(Section):
    """Which models are served."""

    serve: tuple[str, ...] = Field(
        default=("smollm2-135m-instruct",), min_length=1, description="catalogue ids of the models to serve"
    )


class Settings(Section):
    """Everything that can be set on this machine."""

    home: Path = Field(description="data folder: models, chats, records, logs")
    cache: Path = Field(description="folder for what can be made again: engine builds")
    backend: str = Field(
        default="auto",
        pattern=r"^(auto|local|kind)$",
        description="where the sandbox runs: auto, local processes, or a kind cluster",
    )
    page: PageSettings = PageSettings()
    api: ApiSettings = ApiSettings()
    steward: StewardSettings = StewardSettings()
    engine: EngineSettings = EngineSettings()
    cluster: ClusterSettings = ClusterSettings()
    models: ModelsSettings = ModelsSettings()

    @model_validator(mode="after")
    def _ports_differ(self) -> Settings:
        if self.page.port == self.api.port:
            raise ValueError(f"page.port and api.port are both {self.page.port}; give them different ports")
        return self

    @property
    def page_url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.page.port}"

    @property
    def gateway_url(self) -> str:
        """Address of the gateway, without a path."""
        return f"http://127.0.0.1:{self.api.port}"

    @property
    def api_url(self) -> str:
        """Address that OpenAI clients take as their base."""
        return f"{self.gateway_url}/v1"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as a person looks at it."""

    name: str
    value: str
    source: str
    variable: str
    description: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each value came from."""

    settings: Settings
    sources: Mapping[str, str]

    def rows(self) -> list[SettingRow]:
        """List every setting with its value and source, in the order of the file."""
        return [
            SettingRow(
                name=name,
                value=str(_value_of(self.settings, name)),
                source=self.sources.get(name, "default"),
                variable=variable_of(name),
                description=description,
            )
            for name, description in fields().items()
        ]


def fields() -> dict[str, str]:
    """Name every setting (``page.port``) with its description."""
    found: dict[str, str] = {}
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            found.update({f"{name}.{inner}": spec.description or "" for inner, spec in section.model_fields.items()})
        else:
            found[name] = info.description or ""
    return found


def variable_of(name: str) -> str:
    """Name the environment variable of a setting: ``page.port`` → ``SANDBOX_PAGE_PORT``."""
    return PREFIX + name.replace(".", "_").upper()


def environment() -> dict[str, str]:
    """Copy the environment of this process, for those that it starts."""
    return dict(os.environ)


def environment_of(settings: Settings) -> dict[str, str]:
    """Write settings as variables, so that a process started now reads the very same ones."""
    values = {variable_of(name): _value_of(settings, name) for name in fields()}
    return {variable: str(value) for variable, value in values.items() if value is not None}


def load(flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings of this machine.

    Args:
        flags: dotted names to values given on the command line; ``None`` values are left out.
        environment: stands in for the process environment in tests.

    Raises:
        ConfigError: an unknown name, or a value out of range; every fault is named at once.
    """
    env = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    from_env = _from_environment(env)
    home = Path(str(given.get("home") or from_env.get("home") or platformdirs.user_data_path("model-sandbox")))
    home = home.expanduser().absolute()
    cache = Path(str(from_env.get("cache") or platformdirs.user_cache_path("model-sandbox"))).expanduser().absolute()
    for source, layer in (
        (FILE_NAME, _from_file(home / FILE_NAME)),
        ("environment", from_env),
        ("flag", given),
    ):
        for name, value in layer.items():
            values[name] = value
            sources[name] = source
    values["home"], values["cache"] = home, cache
    try:
        settings = Settings.model_validate(_nested(values))
    except ValidationError as error:
        raise _translated(error, sources) from error
    return Loaded(settings, sources)


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    known = {variable_of(name): name for name in fields()}
    found: dict[str, Any] = {}
    wrong = []
    for variable, text in env.items():
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        if variable not in known:
            wrong.append(f"{variable} is no setting{_did_you_mean(variable, known)}")
        elif text != "":
            name = known[variable]
            found[name] = tuple(part.strip() for part in text.split(",")) if name in LISTS else text
    if wrong:
        raise ConfigError("; ".join(sorted(wrong)), hint="list the settings: sandbox config show")
    return found


LISTS = frozenset({"models.serve"})
NOT_SETTINGS = frozenset({"SANDBOX_INSTANCE", "SANDBOX_API_KEY"})
"""Names that carry something else: the mark of our own processes, and the key in users' own programs."""


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint=f"mend or remove it: rm {path}") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint=f"mend the line it names in {path}") from error
    found: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            found.update({f"{key}.{inner}": each for inner, each in value.items()})
        else:
            found[key] = value
    known = fields()
    wrong = [f"{path}: {name} is no setting{_did_you_mean(name, known)}" for name in found if name not in known]
    wrong += [f"{path}: {name} cannot be set in the file that lies in it" for name in found if name == "home"]
    if wrong:
        raise ConfigError("; ".join(wrong), hint="list the settings: sandbox config show")
    return found


def _did_you_mean(name: str, known: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for name, value in values.items():
        head, _, tail = name.partition(".")
        if tail:
            tables.setdefault(head, {})[tail] = value
        else:
            tables[head] = value
    return tables


def _value_of(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return ",".join(value) if name in LISTS else value


def _translated(error: ValidationError, sources: Mapping[str, str]) -> ConfigError:
    """Turn pydantic's report into one message that names setting, value, rule and source."""
    told = []
    variable = ""
    for fault in error.errors(include_url=False):
        name = ".".join(str(part) for part in fault["loc"] if isinstance(part, str))
        if not name:
            told.append(str(fault["msg"]).removeprefix("Value error, "))
            continue
        variable = variable or variable_of(name)
        told.append(f"{name} = {fault['input']!r} (from {sources.get(name, 'default')}): {fault['msg']}")
    return ConfigError("; ".join(told), hint=f"set {variable or 'the setting'} anew, or see all: sandbox config show")
