"""The base of configurations: flags and environment variables from dataclass fields, ranges, hidden secrets. Knows no setting.

Precedence: flag, then EYECATCH_<NAME>, then the default.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from eyecatch.addresses import without_secrets
from eyecatch.core.errors import InvalidInput

PREFIX = "EYECATCH_"


def option(
    default: Any,
    help: str,
    panel: str = "",
    secret: bool = False,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field with its flag. `panel`: its heading in --help, "" for the most used flags."""
    metadata = {"help": help, "panel": panel, "secret": secret, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The base of configurations: checks ranges and choices. Raises InvalidInput."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value, low, high = getattr(self, f.name), f.metadata["low"], f.metadata["high"]
            if low is not None and not low <= value <= high:
                raise InvalidInput.of(f.name, value, f"{low} to {high}")
            allowed = f.metadata["choices"]
            if allowed and value not in allowed:
                raise InvalidInput.of(f.name, value, " or ".join(map(repr, allowed)))

    def redacted(self) -> dict[str, object]:
        """The values by name, with secrets and credentials inside URLs replaced by ***."""
        return {f.name: _hide(getattr(self, f.name), f.metadata["secret"]) for f in fields(self)}


def _hide(value: object, secret: bool) -> object:
    if secret and value:
        return "***"
    return without_secrets(value) if isinstance(value, str) else value


C = TypeVar("C", bound=Settings)


def part(kind: type[C], config: Settings) -> C:
    """`config` as one of its parts, or that part's defaults if the process does not have its flags."""
    return config if isinstance(config, kind) else kind()


def resolved(kind: type[C], flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> C:
    """Flags that are not None, then environment variables, then defaults. Raises InvalidInput naming the variable."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for f in fields(kind):
        name = PREFIX + f.name.upper()
        if flags.get(f.name) is not None:
            values[f.name] = flags[f.name]
        elif name in environ:
            values[f.name] = _parse(name, environ[name], type(f.default))
    return kind(**values)


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in known:
            raise InvalidInput.of(name, text, "true or false")
        return known[text.lower()]
    try:
        return kind(text)
    except ValueError:
        raise InvalidInput.of(name, text, f"a value of type {kind.__name__}") from None
