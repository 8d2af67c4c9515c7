"""``data`` and ``sweeps``: what there is to train on, and what there is to run."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from fmnist_sweep import config
from fmnist_sweep import data as datasets
from fmnist_sweep.settings import Settings


def data(settings: Settings, console: Console) -> dict[str, Any]:
    """Finds or fetches the data set and verifies it."""
    source = datasets.find(settings.data_dir, say=lambda line: console.print(line, highlight=False))
    console.print(f"complete and unaltered, from {source.origin}: {source.folder}", highlight=False, soft_wrap=True)
    for name, md5 in source.md5:
        console.print(f"  {md5}  {name}", highlight=False)
    return {
        "folder": str(source.folder),
        "origin": source.origin,
        "files": dict(source.md5),
        "fingerprint": source.fingerprint,
    }


def sweeps(console: Console) -> dict[str, Any]:
    """Lists the shipped sweeps."""
    loaded = {name: config.load(name)[1] for name in config.names()}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("sweep", no_wrap=True)
    table.add_column("for")
    table.add_column("trials", justify="right")
    table.add_column("epochs", justify="right")
    for name, sweep in loaded.items():
        table.add_row(name, sweep.title, str(sweep.study.trials), str(sweep.epochs))
    console.print(table)
    console.print(f"their files: {config.folder()}", highlight=False, soft_wrap=True)
    return {
        "sweeps": [
            {"name": name, "title": sweep.title, "trials": sweep.study.trials, "epochs": sweep.epochs}
            for name, sweep in loaded.items()
        ]
    }
