"""The benchmark of the fleet runs, in a size that takes seconds; ours and theirs answer alike."""

import re
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings("ignore")  # of PEFT and transformers, in what is theirs


@pytest.fixture
def fleet(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import fleet  # pyright: ignore[reportMissingImports]

    yield fleet
    for name in ("fleet", "peft_runs"):
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (["--embedded", "glimpse-s"], r"common +\d+\.\d min +\d+\.\d"),
        (["--shapes", "7b"], r"evaluate, ours +\d+%"),
        pytest.param(
            ["--shapes", "32b", "--gpus", "2"], r"evaluate, ours +\d+%", marks=pytest.mark.slow
        ),
        pytest.param(
            ["--shapes", "32b", "--quantization", "nf4"],
            r"evaluate, ours +\d+%",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_benchmark_runs_and_ours_and_theirs_answer_alike(fleet, arguments, last, capsys):
    if "nf4" in arguments:
        pytest.importorskip("bitsandbytes", reason="needs the extra quant")
    fleet.main([*arguments, "--tiny", "--busy"])
    lines = capsys.readouterr().out.splitlines()
    for name in ("common", "tuned"):
        (loss,) = [line for line in lines if line.startswith(f"{name}: loss differs")]
        assert float(re.findall(r"\d\.\de[+-]\d+", loss)[0]) < 1e-4
        (choices,) = [line for line in lines if line.startswith(f"{name}: ") and "choices" in line]
        same, of = re.search(r"(\d+) of (\d+) choices as ours", choices).groups()
        assert same == of
        assert int(of) > 0
    for step in ("look", "train", "evaluate"):
        assert [line for line in lines if re.match(rf"{step}, ours +\d+\.\d items/s", line)]
    assert re.match(last, lines[-1])


def test_the_simulation_of_coverage_runs(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import coverage_of_intervals  # pyright: ignore[reportMissingImports]

    coverage_of_intervals.main(["--studies", "2", "--only", "few sources"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "| 0.5 |" in line]
    assert len(rows) == 4
    for row in rows:
        cells, own_seeds = (float(row[k].removesuffix(" %")) for k in (5, 6))
        assert 60 <= cells <= 100
        assert 60 <= own_seeds <= 100
    sys.modules.pop("coverage_of_intervals")
