"""``data`` and ``sweeps``: what there is to train on, and what there is to run."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from fmnist_sweep import config
from fmnist_sweep import data as datasets
from fmnist_sweep.schema import DataSection
from fmnist_sweep.settings import Settings


def data(settings: Settings, console: Console) -> dict[str, Any]:
    """Finds or fetches the data set, or with a sweep the images that it names, and verifies it."""
    section = config.load(settings.sweep)[1].data if settings.sweep else DataSection()
    source = datasets.source_of(section, settings.data_dir, say=lambda line: console.print(line, highlight=False))
    sound = "complete and unaltered" if section.train is None else "complete"
    console.print(f"{sound}, from {source.origin}: {source.folder}", highlight=False, soft_wrap=True)
    for name, md5 in source.md5:
        console.print(f"  {md5}  {name}", highlight=False)
    height, width, channels = source.image_shape
    images = {"training": source.train_limit, "validation": source.validation_count, "test": source.test_count}
    console.print(
        f"{source.name}: {height}x{width}x{channels}, {len(source.class_names)} classes; images: "
        + ", ".join(f"{count:,} {part}" for part, count in images.items()),
        highlight=False,
        soft_wrap=True,
    )
    return {
        "name": source.name,
        "image_shape": list(source.image_shape),
        "classes": list(source.class_names),
        "images": images,
        "folder": str(source.folder),
        "origin": source.origin,
        "files": dict(source.md5),
        "fingerprint": source.fingerprint,
    }


def sweeps(settings: Settings, console: Console) -> dict[str, Any]:
    """Lists the shipped sweeps, and whose name a study in the home folder has."""
    loaded = {name: config.load(name)[1] for name in config.names()}
    begun = [name for name in loaded if name in settings.home.studies()]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("sweep", no_wrap=True)
    table.add_column("for")
    table.add_column("trials", justify="right")
    table.add_column("epochs", justify="right")
    for name, sweep in loaded.items():
        table.add_row(name, sweep.title, str(sweep.study.trials), str(sweep.epochs))
    console.print(table)
    console.print(f"their files: {config.folder()}", highlight=False, soft_wrap=True)
    if begun:
        there = f"studies of these names in {settings.home.path}: {', '.join(begun)}"
        console.print(there, highlight=False, soft_wrap=True, markup=False)
    return {
        "sweeps": [
            {
                "name": name,
                "title": sweep.title,
                "trials": sweep.study.trials,
                "epochs": sweep.epochs,
                "begun": name in begun,
            }
            for name, sweep in loaded.items()
        ]
    }
