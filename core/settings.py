"""The configuration: one TOML file with environment variables over its tables, resolved once, frozen.

``load`` reports every problem at once, in words that name the place and say what is wanted, and never shows a value:
a secret in the wrong place would end up in a log.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from core.settings_rules import contradictions
from core.settings_sources import SettingsError, explain, overrides, read_file

DATABASES = ("sqlite+aiosqlite", "postgresql+asyncpg", "mysql+asyncmy")
SHORTEST_SECRET_KEY = 32
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

__all__ = [
    "AgentSettings",
    "CallbackPair",
    "CallbackSettings",
    "CorpSettings",
    "KafkaSettings",
    "Settings",
    "SettingsError",
    "load",
    "parse",
]


def _refuse(words: str) -> PydanticCustomError:
    return PydanticCustomError("rule", words)


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise _refuse("must be a URL") from None
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.username or parts.password:
        raise _refuse("must be a URL that begins with https:// (or http:// for a loopback address)")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise _refuse("must begin with https://; plain http is allowed for localhost, 127.0.0.1 and [::1] only")
    return parts


def _url(value: str) -> str:
    parts = _split(value)
    if parts.query or parts.fragment:
        raise _refuse("must have neither a query (?…) nor a fragment (#…)")
    return value.rstrip("/")


def _origin(value: str) -> str:
    if _split(value).path.rstrip("/"):
        raise _refuse("must be the origin only, as in https://qyapi.weixin.qq.com, without a path")
    return _url(value)


def _proxy(value: str) -> str:
    if urlsplit(value).scheme not in {"http", "https"}:
        raise _refuse("must be a URL that begins with http:// or https://")
    return value


def _database(value: str) -> str:
    scheme = value.partition("://")[0]
    if scheme not in DATABASES:
        raise _refuse(
            "must begin with sqlite+aiosqlite://, postgresql+asyncpg:// or mysql+asyncmy:// (also for MariaDB)"
        )
    try:
        database = make_url(value).database
    except (ArgumentError, ValueError):
        raise _refuse("is not a database address, as in postgresql+asyncpg://user:password@host/database") from None
    if not database or database == ":memory:":
        raise _refuse("must name the database (SQLite: a file, as in sqlite+aiosqlite:////var/lib/wecom-crm/crm.db)")
    return value


def _id(value: str) -> str:
    if not value or len(value) > 128 or not value.isprintable():
        raise _refuse("must be 1 to 128 characters, none of them a control character")
    return value


def _callback_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise _refuse("is part of the callback's address: 1 to 64 letters, digits, - and _")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    if value.get_secret_value().startswith("put here "):
        raise _refuse("is the example's, which everybody knows; make one with: openssl rand -base64 32")
    if len(value.get_secret_value()) < SHORTEST_SECRET_KEY:
        raise _refuse(f"must have at least {SHORTEST_SECRET_KEY} characters; make one with: openssl rand -base64 32")
    return value


def _filled(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise _refuse("must not be empty")
    return value


def _aes_key(value: SecretStr) -> SecretStr:
    # 43 characters are 258 bits: the last two are not used and may be anything, so a strict decoder won't do.
    key = value.get_secret_value()
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}", key) or len(base64.b64decode(key + "=")) != 32:
        raise _refuse("must be the 43 characters (letters and digits) that the admin console shows as EncodingAESKey")
    return value


def _verify_files(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not re.fullmatch(r"[A-Za-z0-9_-]+\.txt", name):
            raise _refuse("must map file names such as WW_verify_AbC.txt to their content")
    return value


def _ancestors(value: tuple[str, ...]) -> tuple[str, ...]:
    if any(not re.fullmatch(r"[^\s;,]+", origin) for origin in value):
        raise _refuse("must be a list of origins, each without blanks, commas and semicolons")
    return value


def _joined(value: Any) -> Any:
    """A list of servers as the text that Kafka's own clients take."""
    if isinstance(value, list | tuple) and all(isinstance(server, str) for server in value):
        return ",".join(value)
    return value


def _servers(value: str) -> str:
    servers = [server.strip() for server in value.split(",")]
    for server in servers:
        found = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", server)
        if found is None or not 0 < int(found[1]) <= 65535:
            raise _refuse(
                'must be text such as "kafka-1:9092,kafka-2:9092", or a list of such servers, each with a port'
            )
    return ",".join(servers)


def _topic(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) or value in {".", ".."}:
        raise _refuse("must be 1 to 249 letters, digits, dots, - and _")
    return value


Url = Annotated[str, AfterValidator(_url)]
Origin = Annotated[str, AfterValidator(_origin)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=300)]
Secret = Annotated[SecretStr, AfterValidator(_filled)]
AesKey = Annotated[SecretStr, AfterValidator(_aes_key)]
Identifier = Annotated[str, AfterValidator(_id)]


class _Table(BaseModel):
    """One table of the file: unknown keys are problems, and errors never quote what was given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServiceSettings(_Table):
    """``[service]``. Ports may be 0 for any free one; ``data_dir`` is relative to where the command is started."""

    public_url: Url = "http://127.0.0.1:8080"
    host: str = "127.0.0.1"
    port: Port = 8080
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8081
    secret_key: Annotated[SecretStr, AfterValidator(_long_enough)] = Field(
        description=f"any text of at least {SHORTEST_SECRET_KEY} characters; make one with: openssl rand -base64 32"
    )
    data_dir: Annotated[Path, AfterValidator(Path.absolute)] = Field(Path("data"), validate_default=True)
    language: Literal["zh-CN", "en"] = "zh-CN"
    verify_files: Annotated[dict[str, str], AfterValidator(_verify_files)] = {}
    frame_ancestors: Annotated[tuple[str, ...], AfterValidator(_ancestors)] = ()
    answer_503: bool = False
    """Answer 503 when a delivery can't be kept, instead of closing the connection."""
    max_log_bytes: Annotated[int, Field(ge=2**20)] = 4 * 2**30
    """The event log refuses deliveries at this size if nothing in it has been applied yet."""


class DatabaseSettings(_Table):
    """``[database]``. Left out, it is an SQLite file in the data folder."""

    url: Annotated[str, AfterValidator(_database)] = Field(repr=False)


class KafkaSettings(_Table):
    """``[kafka]``. With it ingest publishes to Kafka and sync reads from there; left out, both share one process."""

    bootstrap_servers: Annotated[str, BeforeValidator(_joined), AfterValidator(_servers)] = Field(
        description='where to find the cluster, as in "kafka-1:9092,kafka-2:9092"'
    )
    topic: Annotated[str, AfterValidator(_topic)] = "wecom.contact-events"
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 6
    replication_factor: Annotated[int, Field(ge=1, le=100)] = 1
    group_id: Identifier = "crm-sync"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: Identifier | None = None
    sasl_password: Secret | None = None
    ssl_cafile: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """The authorities to believe, instead of the system's."""
    ssl_certfile: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """This client's own certificate and, unless it is in the same file, its key in ``ssl_keyfile``."""
    ssl_keyfile: Annotated[Path, AfterValidator(Path.absolute)] | None = None


class TimeoutSettings(_Table):
    """``[wecom] timeouts``, in seconds: for a connection, and for one whole call."""

    connect: Seconds = 5.0
    total: Seconds = 15.0


class WecomSettings(_Table):
    """``[wecom]``: where the platform is; a private deployment or a simulator has other addresses."""

    api_base_url: Origin = "https://qyapi.weixin.qq.com"
    authorize_url: Url = "https://open.weixin.qq.com/connect/oauth2/authorize"
    proxy: Annotated[str, AfterValidator(_proxy)] | None = Field(None, repr=False)
    timeouts: TimeoutSettings = TimeoutSettings()


class CallbackPair(_Table):
    """Token and key that were valid before a rotation and still are."""

    token: Secret = Field(description="the Token that the admin console showed for this callback")
    encoding_aes_key: AesKey = Field(description="the EncodingAESKey that the admin console showed for this callback")


class CallbackSettings(_Table):
    """``[[corp.callback]]``: one receiver of events in the admin console."""

    name: Annotated[str, AfterValidator(_callback_name)] = Field(
        description="the last part of the callback's address: letters, digits, - and _"
    )
    token: Secret = Field(description="the Token that the admin console shows for this callback")
    encoding_aes_key: AesKey = Field(description="the EncodingAESKey that the admin console shows for this callback")
    previous: CallbackPair | None = None


class AgentSettings(_Table):
    """``[[corp.agent]]``: one app of the corporation and its secret."""

    agentid: Annotated[int, Field(ge=0)] = Field(description="the app's AgentId in the admin console")
    secret: Secret = Field(description="the app's Secret in the admin console")
    name: str = ""
    customer_data: bool = False
    """Whether this app's secret reads customers; exactly one app of a corp."""

    @property
    def secret_name(self) -> str:
        """What the secret is called in the table ``credential`` and in logs."""
        return f"agent:{self.agentid}"


class CorpSettings(_Table):
    """``[[corp]]``: one corporation. ``name`` defaults to the corpid."""

    corpid: Identifier = Field(description="the corporation's id in the admin console")
    name: str = ""
    callback: tuple[CallbackSettings, ...] = ()
    agent: tuple[AgentSettings, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, table: Any) -> Any:
        if isinstance(table, dict) and isinstance(table.get("corpid"), str):
            return {"name": table["corpid"], **table}
        return table

    @property
    def callbacks(self) -> tuple[CallbackSettings, ...]:
        """Its receivers of events."""
        return self.callback

    @property
    def agents(self) -> tuple[AgentSettings, ...]:
        """Its apps."""
        return self.agent

    @property
    def customer_agent(self) -> AgentSettings:
        """The app whose secret reads customers."""
        return next(agent for agent in self.agent if agent.customer_data)


class Settings(BaseSettings):
    """Everything that is configured. Made by ``load`` or ``parse``; never reads the environment by itself."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    service: ServiceSettings
    database: DatabaseSettings
    wecom: WecomSettings = WecomSettings()
    corp: tuple[CorpSettings, ...] = ()
    kafka: KafkaSettings | None = None

    @property
    def corps(self) -> tuple[CorpSettings, ...]:
        """The corporations, in the file's order."""
        return self.corp

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what it is given: ``load`` has laid the environment over the file already."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, document: dict[str, Any]) -> dict[str, Any]:
        filled = {"service": {}, "database": {}, **document}
        service = filled["service"] if isinstance(filled["service"], dict) else {}
        if isinstance(filled["database"], dict) and "url" not in filled["database"]:
            folder = Path(str(service.get("data_dir", "data"))).absolute()
            filled["database"] = {"url": f"sqlite+aiosqlite:///{folder / 'crm.db'}", **filled["database"]}
        port = str(service.get("port", ""))
        if "public_url" not in service and port.isdecimal() and 0 < int(port) <= 65535:
            filled["service"] = {"public_url": f"http://127.0.0.1:{port}", **service}
        return filled


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file (``path``, else WECOM_CRM_CONFIG, else ./wecom-crm.toml) and of ``environ``.

    Raises ``SettingsError`` with every problem found.
    """
    return parse(read_file(path, environ), environ)


def parse(document: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a document as TOML would give it, with ``environ`` laid over it."""
    merged, given_by, problems = overrides(Settings, document, environ or {})
    problems.extend(contradictions(merged))
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        # Not chained: the original quotes values, and a traceback would show it.
        raise SettingsError([*problems, *explain(Settings, error, given_by)]) from None
    if problems:
        raise SettingsError(problems)
    return settings
