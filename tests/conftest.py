"""What every test shares: checked shapes, reproducible examples, the published tables.

The import hook must be in place before anything imports the modules it checks.
"""

from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

CHECKED = tuple(
    f"transferscope.{room}"
    for room in ("measure", "simulate", "stats", "agreement", "nulls", "evidence", "graph")
)
"""Modules whose annotations, shapes included, are checked at every call in the tests."""

install_import_hook(CHECKED, "beartype.beartype")

# Same examples on every machine, and no failure because one was slow that day.
settings.register_profile("reproducible", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("reproducible")


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of the authors' published PGF tables, which lies beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "published"
    if not folder.is_dir():
        pytest.skip(f"needs the published tables in {folder}")
    return folder
