"""Where the settings come from, and how their problems are told.

Reading, the environment's overrides and the words for pydantic's errors; what is valid is said in ``core.settings``.
"""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

ENV_PREFIX = "WECOM_CRM_"
CONFIG_VARIABLE = "WECOM_CRM_CONFIG"
DEFAULT_FILE = Path("wecom-crm.toml")

# Where pydantic's own words are about Python.
_KINDS = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "string_type": "must be text in quotation marks",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "path_type": "must be the name of a folder in quotation marks",
}

Place = tuple[str | int, ...]


class SettingsError(Exception):
    """The configuration can't be used; ``problems`` are whole sentences without any of its values."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read_file(path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """The document of ``path``, else of WECOM_CRM_CONFIG, else of ./wecom-crm.toml. Raises ``SettingsError``."""
    chosen = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else DEFAULT_FILE)
    try:
        return tomllib.loads(chosen.read_text(encoding="utf-8"))
    except FileNotFoundError:
        advice = f"write one as docs/reference/configuration.md shows, and name it with --config or {CONFIG_VARIABLE}"
        raise SettingsError([f"there is no configuration file {chosen}: {advice}"]) from None
    except OSError as error:
        raise SettingsError([f"the configuration file {chosen} can't be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"the configuration file {chosen} is not UTF-8 text"]) from None
    except tomllib.TOMLDecodeError as error:
        # tomllib names the place and what it expected, not the value.
        raise SettingsError([f"the configuration file {chosen} is not valid TOML: {error}"]) from None


def overrides(
    model: type[BaseSettings], document: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[Place, str], list[str]]:
    """``document`` with WECOM_CRM_<TABLE>__<KEY> laid over it, which variable gave which place, and problems."""
    given_by: dict[Place, str] = {}
    usable: dict[str, str] = {}
    problems: list[str] = []
    tables = [name for name, kind in _keys(model).items() if not isinstance(kind, list)]
    for name in sorted(environ):
        if not name.upper().startswith(ENV_PREFIX):
            continue
        path = name[len(ENV_PREFIX) :].lower().split("__")
        if path[0] in tables and len(path) > 1 and all(path):
            usable[name] = environ[name]
            given_by[tuple(path)] = name
        elif len(path) > 1 and path[0] in _keys(model):
            problems.append(f"{name}: lists ([[{path[0]}]]) can't be set in the environment, only in the file")
        elif len(path) > 1:
            problems.append(f"{name}: there is no table [{path[0]}]{_meant(path[0], tables)}")
        elif any(path[0] == table or path[0].startswith(f"{table}_") for table in tables):
            problems.append(f"{name}: write two underscores after the table, as in {ENV_PREFIX}DATABASE__URL")
    laid = dict(document)
    for name, value in usable.items():
        try:
            laid = _merge(laid, _Environment(model, {name: value})())
        except SourceError:
            problems.append(f"{name}: must be written as JSON")
    return laid, given_by, problems


def explain(model: type[BaseModel], error: ValidationError, given_by: Mapping[Place, str]) -> list[str]:
    """Each error of ``error`` as one sentence that names the place and quotes no value."""
    # The hints of pydantic itself (url, input, context) may quote values; type, place and message do not.
    return [
        _sentence(model, tuple(item["loc"]), item["type"], item["msg"], given_by)
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


class _Environment(EnvSettingsSource):
    """pydantic-settings' reader of nested variables, reading the mapping it is given."""

    def __init__(self, model: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = {name.lower(): value for name, value in environ.items()}
        super().__init__(model, env_prefix=ENV_PREFIX, env_nested_delimiter="__", case_sensitive=False)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._environ


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _sentence(model: type[BaseModel], place: Place, kind: str, message: str, given_by: Mapping[Place, str]) -> str:
    known, hint = _around(model, place)
    where = _where(place)
    name = given_by.get(place)
    source = f" (from {name})" if name else ""
    if kind == "extra_forbidden":
        return f"{where}{source}: is not known{_meant(str(place[-1]), known)}"
    if kind == "missing":
        return f"{where}: is missing" + (f": {hint}" if hint else "")
    if kind in _KINDS:
        message = _KINDS[kind]
    return f"{where}{source}: {message.replace('Input should', 'must')}"


def _where(place: Place) -> str:
    """``("corp", 0, "agent", 1, "secret")`` as "[[corp]] number 1, [[corp.agent]] number 2, secret"."""
    steps: list[str] = []
    tables: list[str] = []
    keys: list[str] = []
    for step in place:
        if isinstance(step, int):
            tables.append(keys.pop())
            steps.append(f"[[{'.'.join(tables)}]] number {step + 1}")
        else:
            keys.append(step)
    if not steps and len(keys) > 1:
        return f"[{keys[0]}] {'.'.join(keys[1:])}"
    return ", ".join([*steps, *([".".join(keys)] if keys else [])]) or "the configuration"


def _meant(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}" if known else ""


def _around(model: type[BaseModel], place: Place) -> tuple[list[str], str]:
    """The keys that the table holding ``place`` knows, and the description of the key itself."""
    table = model
    for step in place[:-1]:
        kind = None if isinstance(step, int) else _keys(table).get(step)
        inner = kind[0] if isinstance(kind, list) else kind
        if inner is not None:
            table = inner
    field = table.model_fields.get(str(place[-1])) if place else None
    return list(table.model_fields), (field.description or "") if field else ""


def _keys(model: type[BaseModel]) -> dict[str, Any]:
    """The keys of a table: a model for a table, a list with a model for a list of tables, else None."""
    return {name: _kind(field.annotation) for name, field in model.model_fields.items()}


def _kind(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = [_kind(argument) for argument in get_args(annotation)]
    found = next((argument for argument in arguments if argument is not None), None)
    if found is not None and get_origin(annotation) in {Union, types.UnionType}:
        return found
    return [found] if found is not None else None
