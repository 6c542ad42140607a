"""One way to each number: functions of the matrix agree with the analysis of the same matrix."""

import numpy as np
import polars as pl
import pytest

import transferscope as ts
from transferscope.analysis.persona import ROLES

TASKS = ["A", "B", "C", "D", "E"]
ITEMS = 60


def partial_study(folder):
    """Predictions in which one source answered a third of a target's items, another source answers
    one target exactly as the base does, and a third is a copy of itself in the other seed."""
    random, rows = np.random.default_rng(3), []
    base = {(s, t): random.random(ITEMS) < 0.5 for s in "01" for t in TASKS}
    for seed in "01":
        for target in TASKS:
            answers = {None: base[seed, target]}
            for source in TASKS:
                kept = random.random(ITEMS) < 0.7
                answers[source] = np.where(kept, answers[None], random.random(ITEMS) < 0.6)
            answers["B"] = answers[None]
            for source, right in answers.items():
                last = 20 if (source, target) == ("A", "C") else ITEMS
                rows += [
                    ("m", seed, source, target, f"{target}{k}", int(right[k])) for k in range(last)
                ]
    columns = ("model", "seed", "source", "target", "item", "correct")
    file = folder / "partial.csv"
    pl.DataFrame(rows, columns, orient="row", infer_schema_length=None).write_csv(file)
    return file


@pytest.fixture(scope="module", params=["published", "partial"])
def matrix(request, tmp_path_factory):
    if request.param == "published":
        return request.getfixturevalue("published_matrix")
    return ts.read_results(partial_study(tmp_path_factory.mktemp("partial")))


@pytest.fixture(scope="module")
def analysis(matrix):
    return ts.analyze(matrix)


def test_the_partial_study_has_cells_without_a_part_in_averages(matrix):
    left = matrix["pgf"].notnull() & ~matrix["counted"]
    if "m" in matrix["model"]:
        assert left.sel(source="A", target="C").all()
        assert left.sel(source="B").all()
        assert left.sum() == 2 + 2 * 5
    else:
        assert not left.any()


@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_cliques_are_those_of_the_analysis(matrix, analysis, sign):
    def known(cliques):
        fields = ("tasks", "size", "mean", "p_value", "q_value", "every_seed")
        return [[getattr(clique, name) for name in fields] for clique in cliques]

    found = ts.cliques(matrix.pgf, sign=sign)
    assert list(found) == list(analysis.models)
    for name, model in analysis.models.items():
        assert known(found[name]) == known(getattr(model.cliques, sign))


def test_personas_are_those_of_the_analysis(matrix, analysis):
    found = ts.personas(matrix.pgf)
    for role in ROLES:
        mine, other = getattr(found, role), getattr(analysis.personas, role)
        assert [each.task for each in mine] == [each.task for each in other]
        for one, two in zip(mine, other, strict=True):
            for model, evidence in one.models.items():
                same = two.models[model]
                assert evidence.value == pytest.approx(same.value, abs=1e-15)
                assert evidence.average == pytest.approx(same.average, abs=1e-15)
                assert evidence.p_value == pytest.approx(same.p_value, nan_ok=True)


def test_the_graph_is_that_of_the_analysis(matrix, analysis):
    for name, graph in ts.transfer_graph(matrix.pgf).items():
        edges = {(s, t): data["pgf"] for s, t, data in graph.edges(data=True)}
        assert edges == {(e.source, e.target): e.pgf for e in analysis.models[name].graph.edges}


@pytest.mark.parametrize("quantity", ["transferability", "malleability"])
def test_averages_are_those_of_the_analysis(matrix, analysis, quantity):
    found, means = getattr(ts, quantity)(matrix.pgf), ts.averages(matrix.pgf).mean("seed")
    for name, model in analysis.models.items():
        for task, effect in getattr(model, quantity).items():
            dim = {"transferability": "source", "malleability": "target"}[quantity]
            for sign in ("positive", "negative"):
                value = found[sign].sel({"model": name, dim: task}).mean("seed").item()
                assert value == pytest.approx(getattr(effect, sign).mean, abs=1e-15, nan_ok=True)
                average = means[f"{quantity}_{sign}"].sel(model=name).item()
                other = getattr(getattr(model.average, quantity), sign)
                assert average == pytest.approx(other, abs=1e-15, nan_ok=True)


def test_shares_of_variance_are_those_of_the_analysis(matrix, analysis):
    found = ts.decompose(matrix.pgf)
    for name, shares in analysis.decomposition.items():
        for part in ("target", "source", "both"):
            assert found[part].sel(model=name).item() == pytest.approx(getattr(shares, part))
