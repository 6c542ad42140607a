"""What every test shares: checked shapes, reproducible examples, the published tables.

The import hook must be in place before anything imports the modules it checks.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import messages
import pytest
from hypothesis import settings
from jaxtyping import config, install_import_hook

CHECKED = (
    "transferscope.matrix.measure",
    "transferscope.matrix.task_effects",
    "transferscope.stats",
    "transferscope.analysis.model_effects",
    "transferscope.analysis.graph",
)
"""Modules whose annotations, shapes included, are checked at every call in their own tests.

In other packages' tests, and in simulations, the same calls are made thousands of times; checking
takes ten times as long as a simulation itself.
"""

install_import_hook(CHECKED, "beartype.beartype")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    own = item.path.parent.name in ("matrix", "stats", "analysis")
    simulated = item.get_closest_marker("simulation")
    config.update("jaxtyping_disable", simulated is not None or not own)


# Same examples on every machine, and no failure because one was slow that day.
settings.register_profile("reproducible", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("reproducible")


@pytest.fixture(scope="session", autouse=True)
def disk() -> Iterator[None]:
    """No test cuts the power: none waits until its files are on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of the authors' published PGF tables, which lies beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "published"
    if not folder.is_dir():
        pytest.skip(f"needs the published tables in {folder}")
    return folder


@pytest.fixture(scope="session")
def published_matrix(published: Path) -> Any:
    """The published tables of both models, read once."""
    from transferscope.readers import read_results

    return read_results({s: published / f"qwen2.5-vl-{s.lower()}.csv" for s in ("3B", "32B")})


@pytest.fixture(scope="session")
def published_analysis(published_matrix: Any) -> Any:
    """Their analysis with the default settings, made once."""
    import transferscope as ts

    return ts.analyze(published_matrix)


@pytest.fixture(scope="session")
def real_items() -> Path:
    """The folder of real items of the benchmark, which lies beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "real" / "blink-items"
    if not folder.is_dir():
        pytest.skip(f"needs the benchmark's items in {folder}")
    return folder


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the command; returns exit code, standard output, standard error."""
    from transferscope import cli

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["transferscope", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            sys.exit(cli.main())
        captured = capsys.readouterr()
        code = stopped.value.code or 0
        assert isinstance(code, int)
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; skips where there is none."""
    driver = pytest.importorskip("playwright.sync_api").sync_playwright
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    program = next(filter(None, found), None)
    if program is None:
        pytest.skip("no Chromium here")
    with driver() as started:
        chromium = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def shared(browser: Any, request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Any]:
    """One page of a module's own `analysis` for all of its tests."""
    from page_reader import Reader, written

    file = written(tmp_path_factory.mktemp("page"), request.getfixturevalue("analysis"))
    reader = Reader(browser, file)
    yield reader
    reader.context.close()


@pytest.fixture
def reader(shared: Any) -> Iterator[Any]:
    """That page, opened anew; at the end nothing may have gone wrong."""
    yield shared.open()
    assert shared.wrong == []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-messages", action="store_true", help="write tests/messages.txt")


def pytest_configure(config: pytest.Config) -> None:
    messages.update = config.getoption("--update-messages")
