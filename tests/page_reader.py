"""The page in a real browser, read by a test as a reader would; `conftest.browser` starts it."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from transferscope.analysis import Analysis
from transferscope.report import page

DESKTOP = {"width": 1300, "height": 900}
PHONE = {"width": 390, "height": 844}
NO_IDLING = "window.requestIdleCallback = () => 0"
"""Leaves figures away from the screen undrawn, for tests that need none."""


class Reader:
    """One page as one reader sees it."""

    def __init__(self, browser: Any, file: Path, *, figures: bool = False, **options: Any):
        self.file = file
        self.context = browser.new_context(**({"viewport": DESKTOP} | options))
        self.context.set_default_timeout(45_000)
        if not figures:
            self.context.add_init_script(NO_IDLING)
        self.view = self.context.new_page()
        self.wrong: list[str] = []
        self.view.on("console", lambda said: self.wrong.append(said.text))
        self.view.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.view.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.wrong.append(f"asked the network for {request.url}")

    def open(self, **view: str) -> "Reader":
        self.view.goto("about:blank")
        self.view.goto(self.file.as_uri() + ("#" + urlencode(view) if view else ""))
        return self

    def choose(self, control: str, label: str) -> None:
        self.view.select_option(f"#explorer-{control}", label=label)

    def each(self, selector: str, read: str) -> list[Any]:
        """`read` is a JavaScript expression on `e`, evaluated for every element."""
        return self.view.eval_on_selector_all(selector, f"all => all.map(e => {read})")

    def text(self, selector: str) -> str:
        return self.view.inner_text(selector)

    def cells(self) -> dict[tuple[int, int], tuple[float | None, bool]]:
        """{source, target: value, hollow} as drawn."""
        read = "[e.dataset.i, e.dataset.j, e.dataset.value, e.classList.contains('hollow')]"
        return {
            (int(i), int(j)): (None if value is None else float(value), hollow)
            for i, j, value, hollow in self.each("#explorer-heatmap .cell", read)
        }

    def edges(self) -> set[tuple[int, int]]:
        read = "[+e.dataset.i, +e.dataset.j]"
        return {(i, j) for i, j in self.each("#explorer-graph .edge", read)}


def written(folder: Path, analysis: Analysis, **more: Any) -> Path:
    file = folder / "report.html"
    file.write_text(page(analysis, **more), "utf-8")
    return file
