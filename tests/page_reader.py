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

    def each(self, selector: str, read: str) -> list[Any]:
        """`read` is a JavaScript expression on `e`, evaluated for every element."""
        return self.view.eval_on_selector_all(selector, f"all => all.map(e => {read})")

    def text(self, selector: str) -> str:
        return self.view.inner_text(selector)

    def drawn(self) -> "Reader":
        """Waits until the charts in sight are there."""
        for _ in range(600):  # Playwright's own waiting needs `eval`, which the policy forbids
            if all(self.each(".chart", "!e.offsetParent || e.querySelector('svg') !== null")):
                return self
            self.view.wait_for_timeout(50)
        raise AssertionError("a chart was not drawn")

    def cells(self) -> dict[tuple[int, int], dict[str, Any]]:
        """{source, target: what a cell of the heatmap in sight holds}."""
        read = "[...e.querySelectorAll('path')].map(p => p.__data__ && p.__data__.datum)"
        (found,) = filter(None, self.each(".map", f"e.offsetParent ? {read} : null"))
        return {(d["i"], d["j"]): d for d in found if d and "j" in d}

    def click_cell(self, i: int, j: int) -> None:
        """Clicks the middle of a cell of the heatmap in sight."""
        read = (
            "([i, j]) => { const all = [...document.querySelectorAll('.map')]"
            ".find(e => e.offsetParent).querySelectorAll('path');"
            " const mark = [...all].find(p => p.__data__ && p.__data__.datum"
            " && p.__data__.datum.i === i && p.__data__.datum.j === j);"
            " const box = mark.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; }"
        )
        self.view.mouse.click(*self.view.evaluate(read, [i, j]))


def written(folder: Path, analysis: Analysis, **more: Any) -> Path:
    file = folder / "report.html"
    file.write_text(page(analysis, **more), "utf-8")
    return file
