"""The script behind docs/scaling.md, in a size that takes seconds."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def scaling():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        import scaling

        yield scaling
        sys.modules.pop("scaling")


@pytest.mark.parametrize(
    ("size", "parameters"), [("3B", 3_754_622_976), ("7B", 8_292_166_656), ("32B", 33_452_718_336)]
)
def test_the_shapes_have_as_many_parameters_as_the_published_weights(scaling, size, parameters):
    assert scaling.shapes(size).parameters == parameters


def test_the_curve_never_beats_the_number_of_gpus(scaling, capsys):
    tasks = {f"task-{k}": 20 for k in range(3)}
    cases = {str(cut): scaling.case({"3B": "3B", "7B": "7B"}, tasks, 3, cut)
             for cut in (scaling.Cut(9), scaling.Cut(1))}  # fmt: skip
    points = scaling.curve("title", cases, 400.0)
    fleet, alone = ([p["times faster"] for p in points if p["how"] == name] for name in cases)
    for gpus, *found in zip(scaling.GPUS, fleet, alone, strict=True):
        assert all(value <= gpus + 1e-9 for value in found)
    # fleets of 9: two bases and two fleets are four shards, whatever the number of GPUs
    assert fleet[-1] == pytest.approx(fleet[2])
    assert fleet[-1] < alone[-1] < 20
    scaling.shares("title", cases["fleets of 1"], 400.0)
    shown = capsys.readouterr().out
    assert "| 64 |" in shown
    assert "| 7B | 10 |" in shown
    assert scaling.figure({"one": points}).startswith("<svg")
