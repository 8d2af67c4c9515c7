"""Options that mean the same everywhere: what they are read as."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from fmnist_sweep.errors import UsageError
from fmnist_sweep.options import folder, seconds, whole


@pytest.mark.parametrize(("text", "found"), [("90s", 90), ("45m", 2_700), ("1.5h", 5_400), ("7", 7), (" 2h ", 7_200)])
def test_times(text: str, found: float) -> None:
    assert seconds("--timeout", text) == found


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0s", "5 m", "1h30m", "1e3"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--timeout is .*; valid: a time such as 90s, 45m or 2h"):
        seconds("--timeout", text)


def test_whole_numbers_have_bounds() -> None:
    assert [whole(0, 9)("0"), whole(0, 9)("9"), whole(3)(3)] == [0, 9, 3]
    for low, high, text, valid in (
        (0, 9, "10", "from 0 to 9"),
        (3, None, "2", "of 3 or more"),
        (0, 9, "1.5", "from 0"),
    ):
        with pytest.raises(typer.BadParameter, match=f"valid: a whole number {valid}"):
            whole(low, high)(text)


def test_a_folder_has_a_name() -> None:
    assert folder("there") == Path("there")
    with pytest.raises(typer.BadParameter, match="''; valid: a folder"):
        folder("")
