"""Writes an export's folder, whole or not at all, and reads one back without trusting it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmnist_sweep import durable
from fmnist_sweep.errors import ExportError
from fmnist_sweep.executors.local import call
from fmnist_sweep.exporting import card, checks, examples
from fmnist_sweep.exporting.base import EXTRA, Format
from fmnist_sweep.exporting.checks import FormatCheck, Material, Original
from fmnist_sweep.exporting.formats import FORMATS, PREFERRED, missing

MANIFEST = "manifest.json"
MANIFEST_VERSION = 2

Describe = Callable[[Original], dict[str, Any]]
"""From what the original says to all that the manifest says of the model, the formats aside."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the formats that were asked for.

    Attributes:
        checks: By name, those that are in the folder.
        refused: By name, why one is not.
    """

    checks: dict[str, FormatCheck]
    refused: dict[str, str]


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that was read back.

    Attributes:
        form: The format to predict with.
        path: Its file or folder, checksums verified.
        classes: By label.
        shape: Height, width and channels of an image.
    """

    form: Format
    path: Path
    classes: tuple[str, ...]
    shape: tuple[int, int, int]


def write(target: Path, wanted: Sequence[Format], material: Material, describe: Describe, *, log: Path) -> Written:
    """Writes the formats that agree with the original into ``target``, in place of an older export there.

    Args:
        target: The folder to make.
        wanted: At least one.
        material: The model, and the images to check it with.
        describe: Makes the manifest.
        log: Gets what the converters print.

    Raises:
        ExportError: No format is left, a converter failed, or the folder is in the way or can't be written.
    """
    target = target.resolve()  # a link to a folder leads to it, and stays
    if target.exists():
        _check_ours(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".export-"))
        try:
            written = _fill(scratch, wanted, material, describe, log)
            scratch.chmod(0o755)
            _sync(scratch)
            _put(scratch, target)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        durable.sync_folder(target.parent)
    except OSError as error:
        raise ExportError(f"--out {target} can't be written: {error.strerror or error}") from None
    return written


def _check_ours(target: Path) -> None:
    """Raises ExportError unless a folder is an export, of any release, and nothing else: it is about to be replaced."""
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        named = {str(file).split("/")[0] for form in manifest["formats"].values() for file in form["files"]}
        int(manifest["manifest_version"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ExportError(f"--out {target} exists and is no export; choose another folder") from None
    ours = {
        MANIFEST,
        card.FILE,
        ".DS_Store",
        *(name for form in FORMATS.values() for name in (form.path, examples.file_name(form))),
    }
    others = sorted(it.name for it in target.iterdir() if it.name not in ours | named)
    if others:
        raise ExportError(f"--out {target} holds {others[0]!r} beside an export; choose another folder, or move it")


def _put(scratch: Path, target: Path) -> None:
    """Moves the new export into place; until it is there, the old one is not gone."""
    if not target.exists():
        os.replace(scratch, target)  # noqa: PTH105
        return
    _check_ours(target)  # minutes have passed
    old = scratch.with_name(f"{scratch.name}-old")
    os.replace(target, old)  # noqa: PTH105
    try:
        os.replace(scratch, target)  # noqa: PTH105
    except BaseException:
        os.replace(old, target)  # noqa: PTH105
        raise
    shutil.rmtree(old, ignore_errors=True)


def _fill(scratch: Path, wanted: Sequence[Format], material: Material, describe: Describe, log: Path) -> Written:
    original: Original = _called(f"{material.model.key} can't be rebuilt", log, checks.measure, material)
    kept: dict[str, FormatCheck] = {}
    refused: dict[str, str] = {}
    for form in wanted:
        failed = f"format {form.name} can't be written"
        check: FormatCheck = _called(failed, log, checks.convert, form, material, original, scratch)
        if reason := checks.refusal(form, check):
            refused[form.name] = reason
            _remove(scratch / form.path)
        else:
            kept[form.name] = check
    if not kept:
        reasons = "; ".join(f"format {name} {reason}" for name, reason in refused.items())
        raise ExportError(f"{reasons}; nothing was exported")
    described = {name: check.to_dict() for name, check in kept.items()}
    manifest = {"manifest_version": MANIFEST_VERSION, **describe(original), "formats": described}
    for form in wanted:
        if form.name in kept:
            (scratch / examples.file_name(form)).write_text(examples.script(form, manifest), encoding="utf-8")
    (scratch / card.FILE).write_text(card.text(manifest), encoding="utf-8")
    (scratch / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return Written(kept, refused)


def _called(failed: str, log: Path, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(function, *args, log=log)
    except RuntimeError as error:
        reason = str(error).removeprefix("ExportError: ").splitlines()[0]
        raise ExportError(f"{failed}: {reason} (what its libraries said: {log})") from None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            durable.sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def read(folder: Path) -> Exported:
    """An export and the format to predict with: Keras' if it is there, else the first that can be run here.

    Raises:
        ExportError: No export, one that was altered, or one whose formats can't be run here.
    """
    manifest = _parsed(folder)
    form = _runnable(folder, [form for form in PREFERRED if form.name in manifest["formats"]])
    _verify(folder, form, manifest["formats"][form.name]["files"])
    return Exported(form, folder / form.path, tuple(manifest["classes"]), tuple(manifest["input"]["shape"]))


def read_manifest(folder: Path) -> dict[str, Any]:
    """What an export says of itself, with the checksums of all its formats verified.

    Raises:
        ExportError: No export, or one that was altered.
    """
    manifest = _parsed(folder)
    for name, described in manifest["formats"].items():
        _verify(folder, FORMATS[name], described["files"])
    return manifest


def _parsed(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["manifest_version"] != MANIFEST_VERSION:
            raise ExportError(
                f"{folder} has a manifest of version {manifest['manifest_version']!r}; valid: {MANIFEST_VERSION}. "
                "Export the model again"
            )
        sums = {FORMATS[name].name: dict(described["files"]) for name, described in manifest["formats"].items()}
        sizes = [int(size) for size in manifest["input"]["shape"]]
        if not sums or len(sizes) != 3 or len(manifest["classes"]) < 2:
            raise ValueError("it names no format, or no images, or no classes")
    except FileNotFoundError:
        raise ExportError(f"{folder} is no exported model: it has no {MANIFEST}") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ExportError(f"{folder / MANIFEST} can't be read: {type(error).__name__} {error}") from None
    return manifest


def _runnable(folder: Path, named: Sequence[Format]) -> Format:
    there = [form for form in named if (folder / form.path).exists()]
    if not there:
        raise ExportError(f"{folder} holds no model: {', '.join(form.path for form in named)} is missing")
    usable = [form for form in there if not missing(form.runs_on)]
    if not usable:
        raise ExportError(f"{there[0].path} needs {missing(there[0].runs_on)}, which is not installed; {EXTRA}")
    return usable[0]


def _verify(folder: Path, form: Format, expected: dict[str, str]) -> None:
    """Compares every file of a format, and that there is no other one, with the manifest."""
    found = checks.checksums(folder / form.path, folder)
    for name in sorted(expected.keys() | found.keys()):
        is_, was = found.get(name, "no file"), expected.get(name, "that there is none")
        if is_ != was:
            raise ExportError(f"{folder / name}: sha256 is {is_}, the manifest says {was}; export it again")
