"""Sweep files (TOML): finding them, and reading them with every mistake reported at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from fmnist_sweep import mistakes
from fmnist_sweep.errors import ConfigError, UsageError
from fmnist_sweep.schema import SweepConfig


def parse(text: str, source: str) -> SweepConfig:
    """Reads one sweep.

    Args:
        text: TOML.
        source: What to call it in messages, as a rule the file's name.

    Raises:
        ConfigError: With every mistake found.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, [f"not TOML: {error}"]) from None
    try:
        config = SweepConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(source, mistakes.explained([dict(problem) for problem in error.errors()], data)) from None
    found = mistakes.in_space(data)
    if found:
        raise ConfigError(source, found)
    return config


def folder() -> Path:
    """Where the shipped sweep files are: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "sweeps"
    return installed if installed.is_dir() else package.parent / "sweeps"


def names() -> list[str]:
    """Names of the shipped sweeps."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load(sweep: str) -> tuple[str, SweepConfig]:
    """Finds a sweep by name or file and reads it.

    Returns:
        The sweep's name (a file's stem) and its content.

    Raises:
        UsageError: No such sweep.
        ConfigError: Mistakes in the file.
    """
    path = Path(sweep) if sweep.endswith(".toml") or "/" in sweep else folder() / f"{sweep}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = mistakes.closest(sweep, names())
        raise UsageError(
            f"--sweep {sweep}: {error.strerror or error}{hint}; valid: {', '.join(names())}, or a .toml file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), ["not text in UTF-8"]) from None
    config = parse(text, str(path))
    return path.stem, config.model_copy(update={"data": config.data.below(path.resolve().parent)})
