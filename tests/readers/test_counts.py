"""The counts behind published PGF values: published facts, and exact inversions."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tables import long

from transferscope.matrix import apply_ceiling, from_pgf
from transferscope.matrix.measure import pgf
from transferscope.readers.counts import MOST_ERRORS, smallest_errors, with_counts

# Base accuracy in percent, as `datasets.md` 5.3 derives it from the published tables; the distinct
# values over seeds.
PUBLISHED_BASES = {
    "Art_Style": ([61.54], [49.57]),
    "Counting": ([67.50], [67.50, 65.83]),
    "Forensic_Detection": ([37.12], [71.21]),
    "Functional_Correspondence": ([22.31], [30.77]),
    "Jigsaw": ([48.67], [60.67, 62.00, 61.33]),
    "Multi-view_Reasoning": ([39.85], [46.62, 47.37]),
    "Object_Localization": ([49.18], [59.02, 57.38, 54.92, 56.56]),
    "Relative_Depth": ([55.65], [70.97, 72.58]),
    "Relative_Reflectance": ([29.85], [29.85]),
    "Semantic_Correspondence": ([30.94], [48.92]),
    "Spatial_Relation": ([83.22], [81.12, 81.82]),
    "Visual_Correspondence": ([31.40], [76.74, 77.33]),
    "Visual_Similarity": ([58.52], [62.96, 61.48]),
}
APPENDIX_ORDER = ("VS", "AS", "VC", "RD", "RR", "SR", "JG", "CN", "FC", "SC", "MR", "OL", "FD")
# Two rows of each heat map of the authors' project page (`datasets.md`, appendix).
APPENDIX = {
    ("3B", "VS"): "0.6920,0.1333,0.0678,0.3636,0.1968,-0.1250,0.0844,-0.0705,-0.0198,0.0208,"
    "0.0406,-0.0161,-0.0452",
    ("3B", "FD"): "0.2188,-0.1556,-0.0678,0.1909,0.1516,-0.1667,-0.1039,-0.0256,0.0569,0.0625,"
    "0.0469,-0.0040,0.5030",
    ("32B", "VS"): "0.8783,0.3729,0.3159,0.3501,0.2234,0.1599,0.1885,0.0744,0.0667,-0.1338,"
    "-0.1412,-0.0960,-0.3553",
    ("32B", "SC"): "0.6552,0.5678,0.5947,0.1136,0.2287,0.1791,0.0725,0.1180,0.1722,0.1127,"
    "-0.0566,-0.2119,-0.1118",
}
# Diagonal accuracies in percent, mean of seeds (`datasets.md` 5.3).
APPENDIX_DIAGONAL = {
    "3B": "AS 73.9 CN 64.4 FD 68.8 FC 20.0 JG 68.5 MR 50.4 OL 51.2 RD 92.3 RR 43.1 SC 37.2 SR 86.5 "
    "VC 68.6 VS 87.2",
    "32B": "AS 79.5 CN 71.5 FD 85.8 FC 33.1 JG 84.5 MR 55.3 OL 53.1 RD 92.7 RR 49.1 SC 54.7 "
    "SR 89.0 VC 89.8 VS 95.4",
}


@pytest.fixture(scope="module")
def paper(published_matrix):
    return published_matrix


# Published facts


@pytest.mark.parametrize("task", PUBLISHED_BASES)
def test_published_values_imply_the_published_baselines(paper, task):
    for model, percent in zip(("3B", "32B"), PUBLISHED_BASES[task], strict=True):
        found = 100 * paper["base_accuracy"].sel(model=model, target=task).values
        assert list(dict.fromkeys(np.round(found, 2))) == percent


def test_the_published_3b_baseline_misses_56_of_visual_similarity_and_39_of_counting(paper):
    errors = paper["base_errors"].sel(model="3B")
    assert (errors.sel(target="Visual_Similarity") == 56).all()
    assert (errors.sel(target="Counting") == 39).all()


@pytest.mark.parametrize(("model", "source"), APPENDIX)
def test_published_seed_means_agree_to_four_decimals(paper, model, source):
    mean = paper["pgf"].mean("seed").sel(model=model)
    assert tuple(mean["abbreviation"].values) == APPENDIX_ORDER
    row = mean.values[APPENDIX_ORDER.index(source)]
    expected = np.array(APPENDIX[model, source].split(","), float)
    np.testing.assert_allclose(row, expected, atol=0.5e-4 + 1e-9)


@pytest.mark.parametrize("model", APPENDIX_DIAGONAL)
def test_published_values_imply_the_published_diagonal(paper, model):
    words = APPENDIX_DIAGONAL[model].split()
    own = paper["accuracy"].mean("seed").sel(model=model)
    names = dict(zip(own["abbreviation"].values, own["target"].values, strict=True))
    for short, percent in zip(words[::2], words[1::2], strict=True):
        value = 100 * float(own.sel(source=names[short], target=names[short]))
        assert value == pytest.approx(float(percent), abs=0.0501)


def test_published_counts_are_whole_possible_and_give_the_values_back(paper):
    correct, total = paper["correct"].values, paper["total"].values
    assert (correct == np.round(correct)).all()
    assert ((correct >= 0) & (correct <= total)).all()
    again = pgf(paper["base_accuracy"], paper["accuracy"]).transpose(*paper["pgf"].dims)
    np.testing.assert_allclose(again.values, paper["pgf"].values, atol=1e-12)
    assert paper.attrs["notes"] == []


def test_published_values_return_exactly_from_another_ceiling(paper):
    again = apply_ceiling(apply_ceiling(paper, 0.95), 1.0)
    np.testing.assert_allclose(again["pgf"].values, paper["pgf"].values, atol=1e-12)
    np.testing.assert_array_equal(apply_ceiling(paper, 1.0)["pgf"], paper["pgf"])


# Recovering counts


def smallest(values, items=None):
    """The smallest number of errors that fits one target and seed; None if none fits."""
    limit = np.array([MOST_ERRORS if items is None else items])
    return int(smallest_errors(np.array(values)[:, None], limit)[0]) or None


@st.composite
def columns(draw):
    """Base errors, items and changes of one target and seed."""
    items = draw(st.integers(2, 400))
    errors = draw(st.integers(1, items))
    changes = st.integers(-(items - errors), errors)
    return items, errors, draw(st.lists(changes, min_size=1, max_size=14))


@given(columns(), st.booleans(), st.lists(st.floats(-1e-13, 1e-13), min_size=14, max_size=14))
def test_recovered_errors_are_the_true_ones_over_what_all_changes_share(column, known, noise):
    items, errors, changes = column
    values = np.array(changes) / errors
    values = np.where(values == 0, 0.0, values + noise[: len(changes)])
    found = smallest(values, items if known else None)
    if found is None:  # too few decimals to exclude rounding
        assert np.abs(values - np.round(values, 6)).max() < 1e-12
    else:
        assert found == errors // math.gcd(errors, *changes)
        assert errors % found == 0


@given(columns())
def test_values_rounded_to_a_few_decimals_are_not_taken_for_counts(column):
    _, errors, changes = column
    values = np.array(changes) / errors
    rounded = np.round(values, 4)
    assume(np.abs(values - rounded).max() > 1e-9)
    found = smallest(rounded)
    assert found is None or np.abs(rounded * found - np.round(rounded * found)).max() < 1e-9 * found


@pytest.mark.parametrize("decimals", [1, 2, 3, 4, 5, 6])
def test_a_rounded_matrix_gives_no_counts_and_says_so(decimals):
    rng = np.random.default_rng(decimals)
    values = np.round(rng.uniform(-0.5, 0.9, (2, 13, 3)), decimals)
    dataset = with_counts(from_pgf(long(values, "pgf", targets=["Counting", "Jigsaw", "new"])))
    assert dataset["base_errors"].isnull().all()
    assert dataset["accuracy"].isnull().all()
    assert "no exact fractions, perhaps because they were rounded" in " ".join(
        dataset.attrs["notes"]
    )


@pytest.mark.parametrize(
    ("values", "items", "expected"),
    [
        ([1 / 3, -2 / 7, np.nan], 100, 21),
        ([1 / 3, -2 / 7], 20, None),  # 21 errors in 20 questions
        ([1 / 1999, 2 / 1999], None, 1999),
        ([1 / 2003, 2 / 2003], None, None),  # over the limit where the items are not known
        ([1 / 2003, 2 / 2003], 3000, 2003),
        ([-133.0 + 1 / 3, 1 / 3], 172, 3),
        ([math.pi / 10, 1 / 7], None, None),
        ([6 / 80] * 13, 133, None),  # 0.075 may be rounded; 13 times the same is one fact
        ([6 / 80, 7 / 80, 1 / 80], 133, 80),
        ([0.51, -0.25, 0.3, -1.1, 0.7], 133, None),  # 100 fits any two decimals
        ([0.5, -0.25, 0.3, -1.1, 0.7], 133, 20),  # what two decimals rarely all do
    ],
)
def test_the_smallest_number_of_errors_that_fits_is_found(values, items, expected):
    assert smallest(values, items) == expected


def counts_matrix(errors, changes, target="Counting"):
    """The recovered matrix of one target: errors by seed, changes by seed and source."""
    values = np.array(changes, float) / np.array(errors, float)[:, None]
    return with_counts(from_pgf(long(values[:, :, None], "pgf", targets=[target])))


def test_a_seed_without_any_change_stays_unknown_even_if_all_others_agree():
    changes = [[1, 2, -5, 7], [3, -4, 8, 10], [0, 0, 0, 0]]
    found = counts_matrix([39, 39, 39], changes)
    np.testing.assert_array_equal(found["base_errors"].values[0, :, 0], [39, 39, np.nan])
    assert found["base_correct"].values[0, 0, 0] == 120 - 39
    np.testing.assert_array_equal(found["correct"].values[0, 1, :, 0], [84, 77, 89, 91])
    assert found["correct"].isnull().values[0, 2].all()
    assert found.attrs["notes"][-1] == (
        "m: the counts behind the PGF could not be recovered for 'Counting': every known value is 0"
    )


def test_a_seed_whose_errors_divide_anothers_is_not_believed_on_few_values():
    found = counts_matrix([40, 40], [[2, 6, 4, 2], [1, 3, -5, 7]])  # the first looks like 20
    np.testing.assert_array_equal(found["base_errors"].values[0, :, 0], [np.nan, 40])
    assert "multiple" in found.attrs["notes"][-1]


def test_half_the_errors_of_another_seed_are_believed_when_many_values_support_them():
    found = counts_matrix([21, 42], [list(range(-9, 10)), list(range(-9, 10))])
    np.testing.assert_array_equal(found["base_errors"].values[0, :, 0], [21, 42])


def test_two_values_do_not_settle_the_errors_unless_twice_as_many_cannot_be():
    few = counts_matrix([21], [[2, -4]])
    assert few["base_errors"].isnull().all()
    assert "too few different values" in few.attrs["notes"][-1]
    assert float(counts_matrix([67], [[2, -4]])["base_errors"][0, 0, 0]) == 67  # of 120 items


def test_counts_that_the_benchmark_cannot_hold_are_not_taken():
    found = counts_matrix([93], [[-28, 3, 7, 10]])  # 27 right before, 28 lost
    assert found["base_errors"].isnull().all()
    assert "do not fit the number of items" in found.attrs["notes"][-1]


def test_without_the_number_of_items_the_errors_alone_are_known():
    found = counts_matrix([21], [[2, -4, 5, 10]], target="mine")
    assert float(found["base_errors"][0, 0, 0]) == 21
    for name in ("accuracy", "correct", "total", "base_accuracy", "base_correct", "base_total"):
        assert found[name].isnull().all()
    assert "accuracies are unknown where the number of items is: 'mine'" in found.attrs["notes"]
