"""The benchmark of the fleet runs, in a size that takes seconds; ours and theirs answer alike."""

import importlib.util
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
    for step in ("encode", "train", "evaluate"):
        assert [line for line in lines if re.match(rf"{step}, ours +\d+\.\d items/s", line)]
    assert re.match(last, lines[-1])


@pytest.mark.slow
def test_the_benchmark_of_replies_runs_and_ours_are_theirs(fleet, capsys):
    import generation  # pyright: ignore[reportMissingImports]

    generation.main(["--tiny", "--busy", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert "16 of 16 replies alike" in lines
    assert len([line for line in lines if re.match(r"ours, .*( +\d+\.\d+){4}$", line)]) == 2
    sys.modules.pop("generation")


def test_the_simulation_of_coverage_runs_and_a_plain_bootstrap_covers_less(capsys, published):
    path = Path(__file__).parents[1] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    simulation = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = simulation
    spec.loader.exec_module(simulation)
    simulation.main(["--studies", "3", "--only", "runs move", "--published", str(published)])
    lines = capsys.readouterr().out.splitlines()
    rows = [re.findall(r"\d+\.\d+", line) for line in lines if line.startswith("runs move")]
    assert len(rows) == 2
    for ours, theirs, *_ in rows:
        assert float(ours) > 90
        assert float(theirs) < float(ours)
    assert [line.split()[0] for line in lines[-4:]] == ["32b", "32b", "3b", "3b"]
    sys.modules.pop(spec.name)
