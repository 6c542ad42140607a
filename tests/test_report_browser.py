"""The page in a real browser, where there is one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from analysis_factory import HOSTILE, Shape, make

from transferscope.report import page
from transferscope.report.gallery import gallery

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
NAMES = (*HOSTILE[:5], "<img src=x onerror=\"document.title='owned'\">", *HOSTILE[5:])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_the_page_draws_every_figure_without_errors_and_hostile_names_as_text(tmp_path: Path):
    analysis = make(Shape(models=("3B", HOSTILE[0]), names=NAMES, conduct=True))
    file = tmp_path / "report.html"
    file.write_text(page(analysis), "utf-8")
    command = [
        str(BROWSER),
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-dev-shm-usage"),
        *("--enable-logging=stderr", "--virtual-time-budget=60000"),
        f"--user-data-dir={tmp_path / 'profile'}",
        *("--dump-dom", file.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert not re.findall(r"CONSOLE.*", done.stderr)
    assert 'data-drawn="light"' in done.stdout
    seen = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.S)
    assert "could not be drawn" not in seen
    drawn = re.findall(r'<svg[^>]*class="marks"', seen)
    assert len(drawn) == len(gallery(analysis))
    assert "<title>Task transfer" in seen
    assert ">&lt;script&gt;alert(1)&lt;/script&gt;" in seen
    assert not re.search(r"<img\b", seen)
