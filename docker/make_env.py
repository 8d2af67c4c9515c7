"""Writes .env from .env.example, with a random secret wherever the template leaves one empty."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

_SECRET = re.compile(r"^(\w*(?:PASSWORD|KEY|TOKEN))=$", re.MULTILINE)


def filled(template: str) -> str:
    """The template with a secret of its own behind each empty password, key and token."""
    return _SECRET.sub(lambda match: f"{match[1]}={secrets.token_hex(24)}", template)


def main() -> int:
    """Writes the file, readable by its owner alone; never over an old one."""
    root = Path(__file__).parent.parent
    target = root / ".env"
    text = filled((root / ".env.example").read_text(encoding="utf-8"))
    try:
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} is there already; its databases know these passwords, so it stays as it is", file=sys.stderr)
        return 0
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        opened.write(text)
    print(f"{target} is written, with new passwords; keep a copy in a safe place", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
