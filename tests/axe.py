"""Accessibility of a page in the browser, as axe-core finds it; skips where npm cannot bring it."""

import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

VERSION = "4.14.1"


@cache
def script() -> str | None:
    """axe-core, from npm, kept in the temporary folder; None where there is none."""
    folder = Path(tempfile.gettempdir(), f"axe-core-{VERSION}")
    file = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not file.is_file():
        if (npm := shutil.which("npm")) is None:
            return None
        options = ("--prefer-offline", "--no-audit", "--no-fund", "--silent")
        command = [npm, "install", *options, "--prefix", folder, f"axe-core@{VERSION}"]
        if subprocess.run(command, timeout=120, check=False).returncode:
            return None
    return file.read_text("utf-8")


def violations(view: Any, *rules: str) -> list[str]:
    """What axe-core objects to in an open page, by some rules or all of them, and where."""
    if (axe := script()) is None:
        pytest.skip("no axe-core here")
    view.evaluate(axe)
    chosen = json.dumps({"runOnly": rules} if rules else {})
    found = view.evaluate(f"axe.run({chosen})")["violations"]
    return [f"{rule['id']}: {[node['target'] for node in rule['nodes']]}" for rule in found]
