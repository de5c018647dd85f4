"""A comparison becomes studies: the same cells from the command line as from the files that it writes."""

from pathlib import Path

import pytest

from sweepstake.base.errors import UserError
from sweepstake.pieces import criterion
from sweepstake.read.compare.write import write_studies
from sweepstake.study import compare
from sweepstake.study.study import load_study

MINE = '''
from sweepstake import criterion

@criterion(granularity="weight")
def squared_for_compare(w_final):
    """w^2 (nobody, never)."""
    return w_final**2

@criterion(granularity="unit")
def units_for_compare(w_final):
    """A unit's size (nobody, never)."""
    return w_final.flatten(1).norm(dim=1)
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file of criteria, whose names the test's end takes back."""
    monkeypatch.setattr(criterion, "pieces", dict(criterion.pieces))
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def asked(*criteria, **changes):
    given = {"allocation": "global", "when": "after", "schedule": "one-shot", "seeds": 2, **changes}
    return compare.comparison(criteria, **given)


def one(name="digits/mlp", folder=Path(), **changes):
    return compare.study_of(name, compare.PAIRS[name], asked("wanda", **changes), folder)


def test_every_method_has_every_size_and_seed_and_all_else_alike():
    study = one()
    assert study.axes["keep"] == ["0.5", "0.25", "0.125", "0.0625", "0.03125"]
    assert study.axes["case"] == ["wanda", "magnitude, global", "magnitude, per layer", "random", "random, at init", "SNIP", "GraSP", "SynFlow"]
    assert len(study.cells) == 5 * 8 * 2
    for field in ("dataset", "model", "init", "bias_init", "optimiser", "lr", "batch_size", "epochs", "order_seed", "validation"):
        assert len({str(getattr(cell, field)) for cell in study.cells}) == 1, field


def test_what_is_made_for_init_prunes_before_the_only_training_and_the_rest_once_after_it():
    how = {planned.labels["case"]: (planned.cell.prune_when, planned.cell.rounds, planned.cell.reset.name) for planned in one().planned}
    assert how["SNIP"] == how["GraSP"] == how["SynFlow"] == how["random, at init"] == ("before", 0, "rewind")
    assert how["wanda"] == how["magnitude, global"] == how["magnitude, per layer"] == how["random"] == ("after", 1, "none")


def test_a_criterion_that_prunes_before_is_compared_before():
    planned = one(when="before").planned[0]
    assert (planned.labels["case"], planned.cell.prune_when, planned.cell.rounds) == ("wanda", "before", 0)


def test_the_iterative_schedule_halves_five_times_in_one_cell():
    study = one(schedule="iterative")
    assert list(study.axes) == ["case"] and {cell.keep for cell in study.cells} == {0.5}
    assert {planned.cell.rounds for planned in study.planned if planned.labels["case"] == "wanda"} == {5}
    assert {planned.cell.rounds for planned in study.planned if planned.labels["case"] == "SNIP"} == {4}


def test_each_difference_is_a_claim_of_a_family_of_five_sizes():
    study = one()
    assert len(study.claims) == 7 * 5
    assert [claim.kept for claim in study.claims[:5]] == [0.5, 0.25, 0.125, 0.0625, 0.03125]
    assert {claim.family for claim in study.claims[:5]} == {"wanda against magnitude, global"}
    assert list(zip(*compare.claims_between(asked("wanda")), strict=True))[2][:6] == (2, 4, 8, 16, 32, 2)


def test_the_file_beside_the_report_has_the_cells_that_ran(mine, tmp_path):
    folder = tmp_path / "report"
    both = asked(f"{mine}:squared_for_compare", "wanda")
    study = compare.study_of("digits/mlp", compare.PAIRS["digits/mlp"], both, folder)
    write_studies(both, [study], folder)
    mine.write_text("raise SystemExit")  # The file is not needed any more: its copy is.
    for name in ("squared_for_compare", "units_for_compare"):
        del criterion.pieces[name]
    again = load_study(folder / "compare-digits-mlp.toml")
    assert [planned.id for planned in again.planned] == [planned.id for planned in study.planned]
    assert (folder / "mine.py").read_text() == MINE


@pytest.mark.parametrize("name", compare.PAIRS)
def test_every_pair_is_a_study(name):
    smaller = f" (reduced: {compare.PAIRS[name].reduced})" if compare.PAIRS[name].reduced else ""
    assert one(name).title == f"wanda against known criteria on {name}{smaller}"


def test_a_pair_that_is_shorter_than_usual_says_so_in_its_title_and_no_other_does():
    assert {name: compare.reduced(name) for name in compare.FULL} == {
        "mnist/lenet-300-100": "", "fashion_mnist/lenet-5": "2 epochs of 20,000 images",
        "cifar10/conv-2": "a quarter of the width, 2 epochs of 10,000 images"}
    assert one("cifar10/conv-2").title.endswith("(reduced: a quarter of the width, 2 epochs of 10,000 images)")
    cell = one("fashion_mnist/lenet-5").cells[0]
    assert (cell.epochs, cell.subset, compare.reduced("kmnist/resnet20")) == (2, 20_000, "")


def test_any_data_set_and_network_of_ours_is_a_pair():
    pair = compare.pairs(["kmnist/resnet20"], False)["kmnist/resnet20"]
    assert (pair.dataset, pair.model, pair.training["epochs"]) == ("kmnist", {"name": "resnet20"}, 3)
    assert list(compare.pairs([], True)) == ["digits/mlp", "digits/deep", "digits/conv"]
    with pytest.raises(UserError, match=r"--on digits/mpl: no pair of that name"):
        compare.pairs(["digits/mpl"], False)


@pytest.mark.parametrize(("given", "says"), [
    ("mine.py:squared", "--criterion mine.py:squared: has no criterion squared. mine.py has squared_for_compare, units_for_compare: "
                        "--criterion mine.py:squared_for_compare."),
    ("mine.py", "--criterion mine.py: say which of its criteria. mine.py has squared_for_compare, units_for_compare: "
                "--criterion mine.py:squared_for_compare."),
    ("mine.py:units_for_compare", "--criterion mine.py:units_for_compare: scores units, and a comparison prunes single weights. "
                                  "Name a criterion of weights."),
    ("unit_l2", "--criterion unit_l2: scores units, and a comparison prunes single weights. Name a criterion of weights."),
    ("other.py:mine", '--criterion other.py:mine: no file "other.py".'),
    ("empty.py:mine", "--criterion empty.py:mine: empty.py has no criterion. Write @criterion above a function of it; CONTRIBUTING.md shows one."),
    ("broken.py:mine", "--criterion broken.py:mine: {}/broken.py:1 raised ZeroDivisionError: division by zero. "
                       "Mend the file, or take it out of plugins."),
    ("magnitude", '--criterion magnitude: is the baseline "magnitude, global" already. Name another criterion, '
                  "or another --allocation or --when."),
    ("random", "--criterion random: a baseline has that name. Name another criterion."),
])
def test_a_criterion_that_cannot_be_compared_is_one_line(given, says, mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UserError) as error:
        asked(given)
    assert str(error.value) == says.format(tmp_path)
