"""A study file becomes cells; every mistake of a file is told at once."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweepstake.base.cell import NEUTRAL, Scaling
from sweepstake.base.errors import UserError
from sweepstake.base.specs import ClaimSpec, FigureSpec
from sweepstake.base.synonyms import OPPOSITES, SYNONYMS
from sweepstake.pieces import REGISTRIES, cell_id
from sweepstake.study.keys import CELL_KEYS, KEYS, OWN, cell_reference
from sweepstake.study.plan import stack_cells
from sweepstake.study.study import Machine, Study, load_study, read_study, shipped_studies

MINIMAL = {"steps": 10}


def study(overrides: Any = (), quick: bool = False, **table: Any) -> Study:
    return read_study({**MINIMAL, **table}, name="s", path="s.toml", overrides=list(overrides), quick=quick)


def told(overrides: Any = (), quick: bool = False, **table: Any) -> str:
    with pytest.raises(UserError) as caught:
        study(overrides, quick, **table)
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


def write(folder: Path, text: str | bytes, name: str = "s.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# What varies

def test_axes_multiply_and_keep_the_order_of_the_file():
    made = study(init=["xavier_normal", "zeros"], lr=[0.1, 0.2, 0.3], seeds=4)
    assert len(made.cells) == 24
    assert made.axes == {"init": ["xavier_normal", "zeros"], "lr": ["0.1", "0.2", "0.3"]}
    assert [(p.labels["init"], p.labels["lr"], p.cell.seed) for p in made.planned[:5]] == [
        ("xavier_normal", "0.1", 0), ("xavier_normal", "0.1", 1), ("xavier_normal", "0.1", 2), ("xavier_normal", "0.1", 3),
        ("xavier_normal", "0.2", 0)]


def test_a_list_of_one_is_an_axis_of_one():
    assert study(lr=[0.1]).axes == {"lr": ["0.1"]}
    assert study(lr=0.1).axes == {}


def test_a_list_inside_the_options_is_an_axis():
    made = study(init={"name": "xavier_normal", "scale": [0.5, 1, 2]})
    assert made.axes == {"init": ["xavier_normal(scale=0.5)", "xavier_normal(scale=1)", "xavier_normal(scale=2)"]}
    assert [cell.init.options["scale"] for cell in made.cells] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("said", [{"allocation": "global"}, {"allocation": {"name": "global"}}, {"overrides": ["allocation=global"]}])
def test_global_is_another_name_of_the_allocation_everywhere(said: dict[str, Any]):
    cell = study(allocation="everywhere").cells[0]
    assert [(each.id, each.cell) for each in study(**said).planned] == [(cell_id(cell), cell)]


def test_an_alias_is_shown_as_it_was_written_and_makes_no_second_cell():
    assert study(allocation=["per_layer", "global"]).axes == {"allocation": ["per_layer", "global"]}
    assert told(allocation=["everywhere", "global"]) == (
        "s.toml: allocation = everywhere and allocation = global are the same cell (seed 0). Take one out.")


def test_an_alias_names_a_donors_piece_too():
    ours, theirs = (study(control="transplant", donor={"allocation": name}).planned[0] for name in ("global", "everywhere"))
    assert ours == theirs


def test_where_an_option_is_a_list_a_list_of_lists_is_the_axis():
    assert study(model={"name": "mlp", "hidden": [300, 100]}).axes == {}
    assert study(model={"name": "mlp", "hidden": [[300, 100], [100]]}).axes == {"model": ["mlp(hidden=300+100)", "mlp(hidden=100)"]}


def test_prune_layers_is_a_list_and_a_list_of_lists_its_axis():
    assert study(prune_layers=["fc1", "fc2"]).cells[0].prune_layers == ["fc1", "fc2"]
    assert study(prune_layers=[["fc1"], ["fc1", "fc2"]]).axes == {"prune_layers": ["fc1", "fc1+fc2"]}


def test_labels_name_values_and_stand_before_the_options_that_vary():
    made = study(init=[{"name": "xavier_normal", "label": "x"}, {"name": "zeros", "label": "z"}])
    assert made.axes == {"init": ["x", "z"]}
    assert study(init={"name": "xavier_normal", "label": "x", "scale": [1, 2]}).axes == {"init": ["x(scale=1)", "x(scale=2)"]}


def test_a_label_never_reaches_an_id():
    assert study(init={"name": "zeros", "label": "z"}).planned[0].id == study(init="zeros").planned[0].id


def test_booleans_are_labelled_as_the_file_writes_them():
    assert study(prune_biases=[False, True]).axes == {"prune_biases": ["false", "true"]}


def test_cases_fix_several_keys_together_and_multiply_with_axes():
    made = study(lr=[0.1, 0.2], case=[{"label": "ticket", "reset": "rewind"}, {"label": "random", "reset": "fresh", "control": "shuffle"}])
    assert made.axes == {"lr": ["0.1", "0.2"], "case": ["ticket", "random"]}
    assert [(p.labels["case"], p.cell.reset.name, p.cell.control) for p in made.planned] == 2 * [
        ("ticket", "rewind", "none"), ("random", "fresh", "shuffle")]


def test_keep_target_is_spread_over_the_rounds():
    assert study(keep_target=0.25, rounds=2).cells[0].keep == 0.5
    assert study(keep_target=0.1, rounds=1).cells[0].keep == 0.1
    assert [cell.keep for cell in study(keep_target=[0.25, 0.0625], rounds=2).cells] == [0.5, 0.25]
    assert study(keep_target=0.5, rounds=10).cells[0].keep ** 10 == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize(("seeds", "are"), [(1, [0]), (3, [0, 1, 2]), ([42], [42]), ([43, 42], [42, 43]), ([2**63 - 1], [2**63 - 1])])
def test_seeds_are_how_many_or_which(seeds, are):
    assert study(seeds=seeds).seeds == are


def test_whole_numbers_and_decimals_are_one_value():
    assert study(lr=1, keep=1).planned[0].id == study(lr=1.0, keep=1.0).planned[0].id


def test_two_studies_that_share_cells_share_ids():
    one, two = study(init=["zeros", "normal"]), study(init=["normal", "xavier_normal"])
    assert len({p.id for p in one.planned} & {p.id for p in two.planned}) == 1


def test_the_machine_never_reaches_an_id():
    assert study(machine={"workers": 3, "store": "x", "data": "y", "timeout_minutes": 2}).planned[0].id == study().planned[0].id
    assert study(machine={"workers": 3}).machine.workers == 3


def test_spelled_out_defaults_do_not_rename_a_cell():
    plain = study().planned[0].id
    for key in CELL_KEYS:
        if key not in ("steps", "epochs") and (default := getattr(study().cells[0], key)) is not None:
            value = default.name if hasattr(default, "name") else default
            assert study(**{key: value}).planned[0].id == plain, key


# Smaller and other

def test_quick_is_the_study_with_its_own_smaller_values():
    made = read_study({**MINIMAL, "seeds": 5, "rounds": 9, "quick": {"seeds": 2, "epochs": 1.0}}, name="s", quick=True)
    assert (len(made.cells), made.cells[0].rounds, made.cells[0].epochs, made.cells[0].steps, made.quick) == (2, 9, 1.0, None, True)
    assert len(read_study({**MINIMAL, "seeds": 5, "quick": {"seeds": 2}}, name="s").cells) == 5


@pytest.mark.parametrize(("said", "field", "value"), [
    ("rounds=3", "rounds", 3),
    (" lr = 0.5 ", "lr", 0.5),
    ("optimiser=sgd", "optimiser", "sgd"),
    ('optimiser="sgd"', "optimiser", "sgd"),
    ("prune_biases=true", "prune_biases", True),
    ('prune_layers=["fc1"]', "prune_layers", ["fc1"]),
    ("keep={fc1 = 0.5}", "keep", {"fc1": 0.5}),
    ("keep.fc1=0.5", "keep", {"fc1": 0.5}),
    ("epochs=2", "epochs", 2.0),
    ("normalise={mean=[0.5], std=[0.5]}", "normalise", Scaling([0.5], [0.5])),
])
def test_set_overrides_one_key(said, field, value):
    assert getattr(study([said]).cells[0], field) == value


def test_set_epochs_takes_the_place_of_steps_and_keep_target_of_keep():
    assert study(["epochs=2"]).cells[0].steps is None
    assert study(["keep_target=0.25", "rounds=2"], keep=0.9).cells[0].keep == 0.5
    assert study(["keep=0.9"], keep_target=0.1).cells[0].keep == 0.9


def test_set_reaches_one_option_of_a_piece_or_of_every_value_of_its_axis():
    assert study(["model.hidden=[20]"]).cells[0].model.options["hidden"] == [20]
    assert study(["model.dropout=0.5"], model={"name": "mlp", "hidden": [7]}).cells[0].model.options["hidden"] == [7]
    made = study(["init.scale=0.5"], init=["xavier_normal", {"name": "xavier_uniform", "label": "u"}])
    assert made.axes == {"init": ["xavier_normal(scale=0.5)", "u"]}
    assert [cell.init.options["scale"] for cell in made.cells] == [0.5, 0.5]
    assert study(['init={name="normal", std=0.2}'], init=["zeros"]).cells[0].init.name == "normal"


def test_set_makes_an_axis_and_the_last_one_wins():
    assert len(study(["init=['zeros', 'normal']"]).cells) == 2
    assert study(["rounds=3", "rounds=4"]).cells[0].rounds == 4


def test_an_override_is_part_of_the_study_so_of_the_ids():
    assert study(["lr=0.5"]).planned[0].id != study().planned[0].id
    assert study(["lr=0.5"]).planned[0].id == study(lr=0.5).planned[0].id
    assert study(["lr=0.5"]).overrides == ("lr=0.5",)


@pytest.mark.parametrize(("said", "fragment"), [
    ("rounds", "--set rounds: say key=value"), ("=3", "say key=value"), ("", "say key=value"), (".=3", "say key=value"), ("a..b=3", "say key=value"),
    ("runds=3", 'runds: no study key of that name.\n  Did you mean "rounds"?'),
    ("rounds=many", 's.toml: rounds = "many": expected a whole number at least 0, at most 10,000.'),
    ("rounds=", 'rounds = "": expected a whole number'),
    ("rounds.x=1", "rounds = {x = 1}: expected a whole number"),
    ("model.hiden=[1]", 'hiden: no option of mlp of that name.\n  Did you mean "hidden"?'),
    ("machine.workers=0", "workers = 0: expected a whole number at least 1"),
    ("quick=3", "quick: no study key"),
])
def test_a_bad_override_is_told(said, fragment):
    assert fragment in told([said])


# Bad input: one clear line each

@pytest.mark.parametrize(("table", "fragment"), [
    ({"runds": 3}, 's.toml: runds: no study key of that name.\n  Did you mean "rounds"?'),
    ({"seed": 3}, 'Did you mean "seeds"?'),
    ({"criterion": "magnitud"}, 's.toml: criterion = "magnitud": no criterion of that name.\n  Did you mean "magnitude"?'),
    ({"criterion": "magnitud"}, "`sweepstake pieces criterion`"),
    ({"optimiser": "adamm"}, 's.toml: optimiser = "adamm": expected "adam", "adamw" or "sgd".'),
    ({"lr": "0.1"}, 's.toml: lr = "0.1": expected a number more than 0.'),
    ({"lr": 0}, "s.toml: lr = 0: expected a number more than 0."),
    ({"lr": float("inf")}, "s.toml: lr = inf: inf is not a number to compute with."),
    ({"lr": float("nan")}, "nan is not a number to compute with."),
    ({"keep": 0}, "s.toml: keep = 0: expected a number more than 0, at most 1 or a table"),
    ({"keep": 1.5}, "s.toml: keep = 1.5: expected a number more than 0, at most 1"),
    ({"keep": {"fc1": 2}}, "s.toml: keep = {fc1 = 2}: expected"),
    ({"keep_target": 0}, "keep_target = 0: expected a number more than 0, at most 1"),
    ({"keep_target": 0.1, "keep": 0.5}, "keep and keep_target: say one."),
    ({"keep_target": 0.1, "rounds": 0}, "nothing is ever pruned"),
    ({"rounds": 1e9}, "rounds = 1000000000.0: expected a whole number"),
    ({"rounds": -1}, "rounds = -1: expected a whole number at least 0, at most 10,000."),
    ({"rounds": 10**9}, "rounds = 1000000000: expected a whole number at least 0, at most 10,000."),
    ({"steps": 10**9}, "steps = 1000000000: expected a whole number at least 0, at most 100,000,000."),
    ({"epochs": 1e300}, "epochs = 1e+300: expected a number more than 0, at most 1,000,000."),
    ({"rounds": True}, "rounds = true: expected a whole number"),
    ({"steps": 10**30}, "is not a number to compute with"),
    ({"batch_size": 0}, "batch_size = 0: expected a whole number at least 1, at most 1,000,000."),
    ({"init": []}, "s.toml: init = []: an axis with no values."),
    ({"lr": []}, "s.toml: lr = []: an axis with no values."),
    ({"prune_layers": []}, "prune_layers = []: expected a list that is not empty, each text in quotes."),
    ({"init": {"name": "xavier_normal", "scale": []}}, "an option with an empty list"),
    ({"init": 3}, 's.toml: init = 3: say a name ("xavier_normal") or a table {name = "...", option = ...}.'),
    ({"init": {"scale": 2}}, "init = {scale = 2}: say a name"),
    ({"init": {"name": "xavier_normal", "scale": -1}}, "s.toml: init: scale = -1: expected a number more than 0."),
    ({"init": {"name": "zeros", "label": 3}}, "label = 3: expected some text in quotes"),
    ({"init": [["zeros"]]}, 'init = ["zeros"]: say a name'),
    ({"init": ["zeros", "zeros"]}, "s.toml: init: zeros stands twice on this axis."),
    ({"lr": [1, 1.0]}, "lr = 1 and lr = 1.0 are the same cell (seed 0)."),
    ({"seeds": 0}, "s.toml: seeds = 0: say how many (`seeds = 5`"),
    ({"seeds": -1}, "seeds = -1: say how many"),
    ({"seeds": True}, "seeds = true: say how many"),
    ({"seeds": "5"}, 'seeds = "5": say how many'),
    ({"seeds": [1, 1]}, "s.toml: seeds: 1 stands twice; a replicate is one seed once."),
    ({"seeds": [1, -1]}, "seeds = [1, -1]: say how many"),
    ({"seeds": [1, 2.0]}, "seeds = [1, 2.0]: say how many"),
    ({"seeds": 10**9}, "seeds = 1000000000: say how many (`seeds = 5`, at most 100,000)"),
    ({"seeds": 50_000, "lr": [0.1, 0.2, 0.3]}, "that is 150,000 cells; a study holds at most 100,000."),
    ({"quick": 3}, "quick = 3: expected a table"),
    ({"quick": {"runds": 3}}, 's.toml: [quick] runds: no study key of that name.\n  Did you mean "rounds"?'),
    ({"quick": {"quick": {}}}, "[quick] quick: no study key"),
    ({"machine": []}, "s.toml: [machine] = []: expected a table of workers, store, data, timeout_minutes, device, stack, engine, save_weights, on, "
                      "card or slurm."),
    ({"machine": {"wokers": 2}}, '[machine]: wokers: no key of that name.\n  Did you mean "workers"?'),
    ({"machine": {"workers": 0}}, "[machine]: workers = 0: expected a whole number at least 1."),
    ({"case": "x"}, "s.toml: [[case]]: write the brackets twice"),
    ({"case": ["x"]}, "s.toml: [[case]]: write the brackets twice"),
    ({"case": []}, "[[case]]: write the brackets twice"),
    ({"case": [{"lr": 1}]}, "[[case]] 1: needs a label"),
    ({"case": [{"label": "a", "lrr": 1}]}, 'lrr: no cell key of that name.\n  Did you mean "lr"?'),
    ({"case": [{"label": "a", "lr": [1, 2]}]}, "lr is a list; a case holds one value a key."),
    ({"case": [{"label": "a"}, {"label": "a", "lr": 1}]}, 'label "a" stands twice'),
    ({"case": [{"label": "a", "lr": 1}], "lr": [1, 2]}, "lr is an axis and also in [[case]] a."),
    ({"figure": 1}, "[[figure]]: write the brackets twice"),
    ({"figure": {"kind": "accuracy_by_kept"}}, "[[figure]]: write the brackets twice"),
    ({"figure": [{"kind": "pie"}]}, '[[figure]] 1: kind = "pie": expected "accuracy_by_kept", '),
    ({"figure": [{"knid": "x"}]}, 'knid: no key of that name.\n  Did you mean "kind"?'),
    ({"figure": [{"by": "init"}]}, 'by = "init": no axis of that name.'),
    ({"claim": [{"test": "better"}]}, "[[claim]] 1: needs says: some text in quotes."),
    ({"claim": [{"says": "x", "test": "better"}]}, "compares two groups"),
    ({"title": 3}, "s.toml: title = 3: expected text in quotes."),
    ({"plugins": "mine.py"}, 'plugins = "mine.py": expected a list, each text in quotes.'),
    ({"steps": None}, "say how long a round trains: epochs = 5 or steps = 5000, one of the two."),
    ({"epochs": 5}, "say how long a round trains: epochs = 5 or steps = 5000, not both."),
    ({"momentum": 0.9}, 'momentum = 0.9 does nothing under adam. Take it out, or say optimiser = "sgd".'),
    ({"granularity": "unit"}, 'criterion = "magnitude" scores weights, and granularity = "unit".'),
    ({"validation": 1437}, "validation = 1437 and subset = 0: digits has 1,437 training images."),
    ({"normalise": "zscore"}, 'normalise = "zscore": expected "none", "standard" or "unit" or a table of mean or std.'),
    ({"normalise": {"mean": [0.5], "std": [0]}}, "normalise = {mean = [0.5], std = [0]}: expected"),
])
def test_bad_input_is_one_clear_message(table: dict[str, Any], fragment: str):
    whole = {key: value for key, value in {**MINIMAL, **table}.items() if value is not None}
    with pytest.raises(UserError) as caught:
        read_study(whole, name="s", path="s.toml")
    said = str(caught.value)
    assert fragment in said
    for pythonism in ("None", "True", "False", "object", "Ref(", "msgspec", "<class", "Expected `"):
        assert pythonism not in said


def test_all_mistakes_of_a_file_are_told_at_once():
    with pytest.raises(UserError) as caught:
        read_study({"runds": 1, "lr": -1, "criterion": "x", "init": {"name": "zeros", "k": 1, "label": "z"}, "seeds": [1, 1], "machine": {"x": 1},
                    "case": 3, "figure": [{"z": 1, "every": 0}], "claim": [{"test": "bettr"}], "title": 1, "quick": {"y": 1}}, name="s.toml")
    said = str(caught.value)
    for start in ("runds: no", "lr = -1:", 'criterion = "x": no', "init: k: no option", "1 stands twice", "[machine]: x: no key", "[[case]]: write",
                  "[[figure]] 1: z: no key", "[[figure]] 1: every = 0:", '[[claim]] 1: test = "bettr"', "[[claim]] 1: needs says", "title = 1:",
                  "[quick] y: no"):
        assert start in said
    assert len(caught.value.problems) == 13
    assert all(problem.startswith("s.toml: ") for problem in caught.value.problems)


def test_no_quick_table_means_no_quick():
    assert "has no [quick] table" in told(quick=True)


# Files

def test_the_shipped_studies_are_found_by_name():
    assert {"demo", "prune-ready"} <= set(shipped_studies())
    assert (len(load_study("demo").cells), len(load_study("prune-ready").cells)) == (20, 88)
    assert load_study("demo").title.startswith("Making networks prune-ready")


def test_an_unknown_study_names_the_shipped_ones():
    with pytest.raises(UserError, match=r'study "dem": no study file, and no shipped study of that name.\n  Did you mean "demo"\?') as caught:
        load_study("dem")
    assert "prune-ready" in str(caught.value)


@pytest.mark.parametrize(("text", "fragment"), [
    (b"rounds = \xff", "byte 9 is not UTF-8"),
    (b"rounds = 3\nrounds = 4", "not TOML"),
    (b"rounds = adam", "not TOML"),
    (b"rounds = 3\n[machine]\n[machine]", "not TOML"),
    (b"rounds = " + b"9" * 5000, "not TOML"),
    (b"a = " + b"[" * 5000, "not TOML"),
    (b"\x00", "not TOML"),
    (b"", "say how long a round trains"),
    (b"steps = 1979-05-27", "steps = 1979-05-27: expected a whole number"),
])
def test_a_file_that_is_no_study_is_told_apart(tmp_path: Path, text: bytes, fragment: str):
    with pytest.raises(UserError) as caught:
        load_study(write(tmp_path, text))
    assert fragment in str(caught.value)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path):
    assert len(load_study(write(tmp_path, b"\xef\xbb\xbfsteps = 3")).cells) == 1


def test_a_folder_and_an_impossible_name_are_no_study(tmp_path: Path):
    for source, fragment in ((tmp_path, "is a folder"), ("a\0b", "no shipped study"), ("x" * 5000, "no shipped study"), ("", "study")):
        with pytest.raises(UserError) as caught:
            load_study(source)
        assert fragment in str(caught.value)


# Plug-in files

def plugin_told(folder: Path, code: str | bytes) -> str:
    write(folder, code, "mine.py")
    with pytest.raises(UserError) as caught:
        load_study(write(folder, 'steps = 3\nplugins = ["mine.py"]'))
    return str(caught.value)


GOOD = '''
import sweepstake as ss

@ss.criterion(version=2)
def plugged_in(w_final, *, power: float = 2.0):
    """|w|^power."""
    return w_final.abs() ** power
'''


def test_a_plugin_file_adds_pieces_and_a_changed_one_is_read_again(tmp_path: Path):
    write(tmp_path, GOOD, "mine.py")
    path = write(tmp_path, 'steps = 3\ncriterion = {name = "plugged_in", power = 3}\nplugins = ["mine.py"]')
    cell = load_study(path).cells[0]
    assert (cell.criterion.name, cell.criterion.options, cell.criterion.version) == ("plugged_in", {"power": 3.0}, 2)
    assert load_study(path).planned[0].id == load_study(path).planned[0].id
    write(tmp_path, GOOD.replace("version=2", "version=3"), "mine.py")
    assert load_study(path).cells[0].criterion.version == 3


@pytest.mark.parametrize(("code", "fragment"), [
    ("x = 1\nraise ValueError('no')", "mine.py:2 raised ValueError: no. Mend the file, or take it out of plugins."),
    ("x = 1\ny = 1 +\n", "mine.py:2 raised SyntaxError: invalid syntax."),
    (b"\xff\xfe\x00", "mine.py"),
    ("import sys\nsys.exit(3)", "mine.py:2 raised SystemExit: 3."),
    ("import no_such_module_at_all", "mine.py:1 raised ModuleNotFoundError"),
    ("import sweepstake as ss\n@ss.init\ndef zeros(shape):\n    'Mine.'\n",
     "init zeros: that name is taken by sweepstake.pieces.inits. Choose another."),
    ("import sweepstake as ss\n@ss.init\ndef mine(weights):\n    'Mine.'\n", "takes weights: no offer to a init of that name."),
    ("import sweepstake as ss\n@ss.criterian\ndef mine(weights):\n    'Mine.'\n", "has no attribute 'criterian'"),
])
def test_a_broken_plugin_is_told_with_its_line(tmp_path: Path, code: str | bytes, fragment: str):
    said = plugin_told(tmp_path, code)
    assert fragment in said
    assert said.count("plugins:") == 1


def test_a_broken_plugin_leaves_nothing_behind(tmp_path: Path):
    plugin_told(tmp_path, GOOD.replace("plugged_in", "half_done") + "\nraise ValueError")
    write(tmp_path, GOOD.replace("plugged_in", "half_done"), "mine.py")
    assert load_study(tmp_path / "s.toml").plugins == (str(tmp_path / "mine.py"),)


def test_a_missing_plugin_is_told(tmp_path: Path):
    with pytest.raises(UserError, match=r'no file ".*mine.py". Paths are relative to the study file.'):
        load_study(write(tmp_path, 'steps = 3\nplugins = ["mine.py"]'))


# Stacks

def test_cells_of_one_program_share_a_stack():
    made = study(init=["zeros", "normal"], lr=[0.1, 0.2], batch_size=[10, 20], seeds=3)
    assert [len(stack) for stack in stack_cells(made.planned)] == [12, 12]
    assert sum(len(stack) for stack in stack_cells(made.planned)) == len(made.cells)


# The reference

def test_every_key_has_a_description():
    rows = list(cell_reference())
    assert [name for name, _, _ in rows] == list(CELL_KEYS)
    assert all(len(described) > 10 for _, _, described in rows)
    assert set(OWN).isdisjoint(CELL_KEYS)
    assert set(NEUTRAL) <= set(CELL_KEYS)


# Anything at all

SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**40), st.dates(),
                    st.sampled_from(["zeros", "mlp", "adam", "rewind", "all", "digits", "name", "label"]))
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["name", "label", "scale", "hidden", "says", "test", "where", "by", "kept", "mean", "fc1", *CELL_KEYS[:4]]), inner,
    max_size=3), max_leaves=6)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=4), st.booleans(),
       st.lists(st.builds("{}={}".format, st.sampled_from([*KEYS, "model.hidden", "keep.fc1", "init.name"]), ANYTHING), max_size=2))
def test_any_table_is_a_study_or_a_user_error(table, quick, overrides):
    try:
        made = read_study({"steps": 3, **table}, name="s", overrides=overrides, quick=quick)
    except UserError as error:
        assert error.problems
        assert all(error.problems)
    else:
        assert len({p.id for p in made.planned}) == len(made.planned) > 0
        msgspec.json.encode(made.cells)


def test_cells_rewound_to_other_steps_are_other_stacks():
    made = study(reset=["fresh", {"name": "rewind", "step": [0, 5]}], steps=10)
    assert [[p.cell.reset.options.get("step", 0) for p in stack] for stack in stack_cells(made.planned)] == [[0, 0], [5]]


# Words of other libraries

def test_every_synonym_stands_for_a_name_that_a_study_can_say_and_is_none_itself():
    tables = (ClaimSpec, FigureSpec, Machine)
    keys = {*KEYS, "device", *(field.name for table in tables for field in msgspec.structs.fields(table))}
    pieces = {name: piece for registry in REGISTRIES.values() for name, piece in registry.pieces.items()}
    options = {option for piece in pieces.values() for option in piece.options}
    assert {ours for ours in (SYNONYMS | OPPOSITES).values() if ours not in keys | set(pieces) | options} == set()
    assert {theirs for theirs in SYNONYMS | OPPOSITES if theirs in KEYS or theirs in pieces} == set()
    assert {theirs for theirs in SYNONYMS | OPPOSITES if theirs != theirs.lower() or "-" in theirs or " " in theirs} == set()
    assert set(SYNONYMS).isdisjoint(OPPOSITES)


def test_an_unknown_study_key_is_told_in_two_lines_with_its_likely_name_first():
    with pytest.raises(UserError) as caught:
        study(learning_rate=0.1)
    assert str(caught.value) == ('s.toml: learning_rate: no study key of that name.\n'
                                 f'  Did you mean "lr"?  `sweepstake pieces study` lists all {len(KEYS)}.')
