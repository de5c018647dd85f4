"""Inits: what a million draws of each look like, and that a cell begins and restarts from the one it names."""

from math import prod, sqrt

import pytest
import torch

from sweepstake.base.errors import UserError
from sweepstake.engine import streams
from sweepstake.engine.build import build_net, draw_init
from sweepstake.engine.images import prepare
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.pieces import init
from tests.helpers import make_cell, run_cell, tiny_images

SHAPE = (800, 1250)
OUT, IN = SHAPE


def draw(name, shape=SHAPE, seed=0, **options):
    fan_in, fan_out = prod(shape[1:]), shape[0] * prod(shape[2:])
    return init.get(name)({
        "normal": lambda: streams.normal(shape, seed, "normal"), "uniform": lambda: streams.uniform(shape, seed, "uniform"),
        "shape": lambda: shape, "fan_in": lambda: fan_in, "fan_out": lambda: fan_out}, init.resolve(name, options, "init"))


def oracle(function, *arguments, **options):
    """The same number of draws by torch.nn.init."""
    made = torch.empty(SHAPE)
    return getattr(torch.nn.init, function)(made, *arguments, generator=torch.Generator().manual_seed(0), **options)


def cut_std(cut):
    """The std of N(0, 1) without what lies beyond `cut`, by its formula."""
    normal = torch.distributions.Normal(0.0, 1.0)
    inside = float(normal.cdf(torch.tensor(cut)) * 2 - 1)
    return sqrt(1 - 2 * cut * float(normal.log_prob(torch.tensor(cut)).exp()) / inside)


@pytest.mark.parametrize(("name", "options", "std", "bound", "reference"), [
    ("xavier_uniform", {}, sqrt(2 / (IN + OUT)), sqrt(6 / (IN + OUT)), ("xavier_uniform_",)),
    ("xavier_uniform", {"scale": 0.5}, 0.5 * sqrt(2 / (IN + OUT)), 0.5 * sqrt(6 / (IN + OUT)), ("xavier_uniform_", 0.5)),
    ("xavier_normal", {}, sqrt(2 / (IN + OUT)), None, ("xavier_normal_",)),
    ("kaiming_uniform", {"gain": sqrt(2)}, sqrt(2 / IN), sqrt(6 / IN), ("kaiming_uniform_",)),
    ("kaiming_uniform", {}, sqrt(1 / IN), sqrt(3 / IN), None),
    ("kaiming_normal", {"gain": sqrt(2)}, sqrt(2 / IN), None, ("kaiming_normal_",)),
    ("kaiming_normal", {}, sqrt(1 / IN), None, None),
    ("normal", {"std": 0.1}, 0.1, None, ("normal_", 0.0, 0.1)),
    ("uniform", {"a": 0.3}, 0.3 / sqrt(3), 0.3, ("uniform_", -0.3, 0.3)),
    ("truncated_normal", {"std": 0.5}, 0.5 * cut_std(2.0), 1.0, ("trunc_normal_", 0.0, 0.5, -1.0, 1.0)),
    ("truncated_normal", {"std": 1.0, "cut": 1.0}, cut_std(1.0), 1.0, ("trunc_normal_", 0.0, 1.0, -1.0, 1.0)),
    ("signed_constant", {}, sqrt(1 / IN), sqrt(1 / IN), None),
    ("framework_default", {}, 1 / sqrt(3 * IN), 1 / sqrt(IN), ("kaiming_uniform_", sqrt(5))),
    ("orthogonal", {}, sqrt(1 / IN), None, ("orthogonal_",)),
    ("zeros", {}, 0.0, 0.0, None),
])
def test_a_million_draws_have_the_moments_and_bounds_of_the_formula(name, options, std, bound, reference):
    drawn = draw(name, **options).double()
    assert drawn.numel() == 1_000_000
    assert abs(float(drawn.mean())) <= 5 * std / 1000
    assert float(drawn.std()) == pytest.approx(std, rel=0.005)
    if bound is not None:
        assert float(drawn.abs().max()) <= bound * (1 + 1e-6)
        assert float(drawn.abs().max()) >= bound * 0.999
    if reference:
        theirs = oracle(*reference).double()
        assert float(drawn.std()) == pytest.approx(float(theirs.std()), rel=0.005)
        kurtosis = [float((each ** 4).mean() / each.var() ** 2) for each in (drawn, theirs)]
        assert kurtosis[0] == pytest.approx(kurtosis[1], rel=0.03)


def test_every_registered_init_is_in_the_table_of_moments():
    table = next(mark for mark in test_a_million_draws_have_the_moments_and_bounds_of_the_formula.pytestmark if mark.name == "parametrize")
    ours = {name for name, piece in init.pieces.items() if piece.function.__module__.startswith("sweepstake.")}
    assert {row[0] for row in table.args[1]} == ours


def test_signed_constant_has_one_magnitude_and_both_signs_alike():
    drawn = draw("signed_constant", scale=2.0)
    assert drawn.abs().unique().tolist() == pytest.approx([2 / sqrt(IN)])
    assert abs(int((drawn > 0).sum()) - 500_000) < 3_000
    assert not (drawn == 0).any()


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (8, 3, 3, 3)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape):
    rows = draw("orthogonal", shape, gain=2.0).flatten(1).double()
    gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    assert torch.allclose(gram, 4 * torch.eye(len(gram), dtype=torch.float64), atol=1e-5)


def test_orthogonal_refuses_a_bias_in_one_line():
    with pytest.raises(UserError, match='needs a matrix, and a bias is a vector.*bias_init, as "zeros"'):
        draw("orthogonal", (7,))


def net_of(cell):
    return build_net(cell, (1, 8, 8), 10)


def test_a_table_scales_the_layers_it_names_and_leaves_the_others_at_the_default():
    plain, scaled = make_cell(), make_cell(init=("xavier_normal", {"scale": {"fc1": 0.5, "fc2": 1.2}}))
    w, w_scaled = draw_init(net_of(plain), plain, "init"), draw_init(net_of(scaled), scaled, "init")
    ratios = [float((slot.of(w_scaled) / slot.of(w)).mean()) for slot in net_of(plain).weights]
    assert ratios == pytest.approx([0.5, 1.2, 1.0], rel=1e-5)


def test_a_table_that_names_a_layer_the_network_lacks_is_one_clear_line():
    cell = make_cell(init=("xavier_normal", {"scale": {"fc9": 0.5}}))
    with pytest.raises(UserError, match=r"init: scale = \{fc9 = ...\}: no layer of that name(.|\n)*Known: fc1, fc2, fc3"):
        run_cell(cell, tiny_images())


@pytest.mark.parametrize("name", sorted(init.pieces))
def test_round_1_starts_from_the_mask_times_the_cells_own_init(name):
    cell = make_cell(init=name, model=("mlp", {"hidden": [30, 20]}), steps=3, rounds=1)
    trainer = ReferenceTrainer(cell, prepare(cell, tiny_images()))
    w_init = draw_init(trainer.net, cell, "init")
    _, state = next(run_rounds(trainer, cell, first_state(trainer, cell)))
    assert torch.equal(state.start.w, w_init * state.start.mask)
    assert int(state.start.mask.sum()) < len(w_init)


def test_same_seed_same_bytes_other_seed_other_bytes():
    one, again, other = (draw_init(net_of(cell), cell, "init") for cell in (make_cell(seed=1), make_cell(seed=1), make_cell(seed=2)))
    assert torch.equal(one, again)
    assert float((one == other).float().mean()) < 0.02


def test_drawing_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    draw_init(net_of(make_cell()), make_cell(), "init")
    assert torch.equal(before, torch.random.get_rng_state())
