"""What survives, told of tickets: against closed forms and counts that a reader can do by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from sweepstake.base.errors import UserError
from sweepstake.tickets.analysis import barrier, between, common_signs, errors_along, kept_signs, overlap, surviving_pixels
from sweepstake.tickets.analysis.chance import Chance, alike, in_both, summed
from sweepstake.tickets.analysis.connectivity import ALPHAS, one_ticket
from sweepstake.tickets.analysis.overlap import counts_in_both
from sweepstake.tickets.ticket import Ticket


def masked(**masks: list) -> Ticket:
    alive = {f"{name}.weight": torch.tensor(mask, dtype=torch.bool) for name, mask in masks.items()}
    alive = {name: mask if mask.dim() > 1 else mask.view(1, -1) for name, mask in alive.items()}
    return Ticket(alive, {name: mask.float() for name, mask in alive.items()})


def random_ticket(seed: int, kept: int, size: int = 2000) -> Ticket:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[torch.from_numpy(np.random.default_rng(seed).permutation(size)[:kept])] = True
    return Ticket({"fc1.weight": mask.view(20, -1)}, {"fc1.weight": mask.float().view(20, -1)})


def weighed(initial: list[float], trained: list[float], mask: list[int] | None = None) -> Ticket:
    alive = torch.tensor([mask or [1] * len(initial)], dtype=torch.bool)
    return Ticket({"fc1.weight": alive}, {"fc1.weight": torch.tensor([initial]) * alive}, {"fc1.weight": torch.tensor([trained]) * alive})


# Chance

@pytest.mark.parametrize(("size", "a", "b"), [(10, 3, 4), (266_200, 9_300, 9_300), (1000, 35, 200), (100, 99, 1)])
def test_chance_is_the_hypergeometric_mean_and_standard_deviation(size: int, a: int, b: int):
    chance, exact = in_both(size, a, b), hypergeom(size, a, b)
    assert (chance.mean, chance.std) == (pytest.approx(exact.mean()), pytest.approx(exact.std(), abs=1e-12))


def test_chance_of_signs_is_that_of_both_positive_or_both_not():
    chance, values = alike(10, 6, 3), np.arange(0, 4)
    agree, weights = 10 - 6 - 3 + 2 * values, hypergeom(10, 6, 3).pmf(values)
    mean = float(agree @ weights)
    assert (chance.mean, chance.std) == (pytest.approx(mean), pytest.approx(float(np.sqrt((agree - mean) ** 2 @ weights))))


def test_independent_counts_add_their_means_and_variances():
    assert summed([Chance(1.0, 3.0), Chance(2.0, 4.0)]) == Chance(3.0, 5.0)


def test_without_a_choice_there_is_no_z():
    assert (in_both(7, 7, 3), in_both(5, 0, 2), in_both(1, 1, 1)) == (Chance(3, 0), Chance(0, 0), Chance(1, 0))
    assert in_both(7, 7, 3).z(3) is None
    assert in_both(10, 3, 4).z(1.2) == pytest.approx(0.0)
    assert in_both(10, 5, 5).z(5) == pytest.approx(2.5 / hypergeom(10, 5, 5).std())


# Overlap

def test_overlap_is_the_share_of_ones_survivors_that_the_other_keeps():
    a, b = masked(fc1=[[1, 1, 1, 1], [0, 0, 0, 0]], fc2=[1, 0]), masked(fc1=[[1, 1, 0, 0], [1, 1, 1, 1]], fc2=[1, 1])
    fc1, fc2, whole = overlap(a, b)
    assert [row["layer"] for row in (fc1, fc2, whole)] == ["fc1", "fc2", "all"]
    assert (fc1["size"], fc1["kept_a"], fc1["kept_b"], fc1["both"]) == (8, 4, 6, 2)
    assert (fc1["overlap"], fc1["overlap_b"], fc1["jaccard"], fc1["chance"]) == (0.5, 2 / 6, 2 / 8, 0.75)
    assert (fc2["overlap"], fc2["z"]) == (1.0, None)
    assert (whole["kept_a"], whole["both"], whole["overlap"]) == (5, 3, 0.6)
    assert whole["chance"] == pytest.approx((4 * 6 / 8 + 1) / 5)
    assert whole["z"] == pytest.approx((3 - 4) / hypergeom(8, 4, 6).std())


def test_a_ticket_overlaps_itself_whole_and_its_complement_not_at_all():
    a = random_ticket(0, 70)
    other = Ticket({name: ~mask for name, mask in a.masks.items()}, a.initial)
    assert (overlap(a, a)[0]["overlap"], overlap(a, a)[0]["jaccard"]) == (1.0, 1.0)
    assert overlap(a, a)[0]["z"] > 40
    assert (overlap(a, other)[0]["overlap"], overlap(a, other)[0]["jaccard"]) == (0.0, 0.0)


def test_independent_random_masks_are_at_chance():
    zs = [overlap(random_ticket(2 * seed, 200), random_ticket(2 * seed + 1, 300))[0]["z"] for seed in range(100)]
    assert max(map(abs, zs)) < 4
    assert np.mean(zs) == pytest.approx(0, abs=0.3)
    assert np.std(zs) == pytest.approx(1, abs=0.25)


def test_a_layer_without_survivors_has_no_overlap():
    row = overlap(masked(fc1=[0, 0]), masked(fc1=[1, 0]))[0]
    assert (row["overlap"], row["overlap_b"], row["chance"]) == (None, 0.0, None)


def test_biases_and_norms_are_not_counted_as_weights():
    a = masked(fc1=[1, 0])
    with_bias = Ticket({**a.masks, "fc1.bias": torch.tensor([False])}, a.initial)
    assert overlap(with_bias, a) == overlap(a, a)


def test_counts_of_many_masks_are_exact_beyond_one_product():
    masks = [random_ticket(seed, 60_000, size=200_000).masks["fc1.weight"] for seed in range(3)]
    found = counts_in_both(masks)
    assert found.tolist() == [[int((a & b).sum()) for b in masks] for a in masks]
    assert found.diagonal().tolist() == [60_000] * 3


def test_tickets_of_other_shapes_are_not_compared():
    with pytest.raises(UserError, match=r"tickets: .* these differ in fc1\."):
        overlap(masked(fc1=[1, 0]), masked(fc1=[1, 0, 0]))


# Pixels

def test_pixels_are_read_by_the_live_weights_of_the_first_layer_over_all_channels():
    ticket = masked(fc1=[[1, 0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 1, 0, 0, 0]], fc2=[[1]])
    assert surviving_pixels(ticket, (1, 2, 4)).tolist() == [[2, 0, 0, 1], [1, 0, 0, 0]]
    assert surviving_pixels(ticket, (2, 2, 2)).tolist() == [[3, 0], [0, 1]]


@pytest.mark.parametrize(("mask", "shape"), [(torch.ones(4, 1, 3, 3), (1, 8, 8)), (torch.ones(5, 10), (1, 3, 3)), (torch.ones(5, 9), (9,))])
def test_a_first_layer_that_reads_no_pixels_is_refused(mask: torch.Tensor, shape: tuple[int, ...]):
    with pytest.raises(UserError, match=r"pixels: the first layer \(first\.weight, of shape .* That needs a linear first layer"):
        surviving_pixels(Ticket({"first.weight": mask.bool()}, {}), shape)


# Signs

def test_kept_signs_are_of_survivors_alone_and_0_is_not_positive():
    ticket = weighed([1.0, -1.0, 2.0, 3.0, -4.0], [0.5, 0.5, 0.0, 9.0, -1.0], [1, 1, 1, 0, 1])
    row, whole = kept_signs(ticket)
    assert (row["layer"], row["compared"], row["agree"], row["agreement"]) == ("fc1", 4, 2, 0.5)
    assert row["chance"] == pytest.approx(alike(4, 2, 2).mean / 4)
    assert {**whole, "layer": "fc1"} == row


def test_common_signs_are_compared_where_both_survive():
    a = weighed([1.0] * 4, [1.0, -1.0, 2.0, 3.0], [1, 1, 1, 0])
    b = weighed([1.0] * 4, [2.0, 1.0, -2.0, 1.0], [1, 1, 0, 1])
    row = common_signs(a, b)[0]
    assert (row["compared"], row["agree"], row["agreement"]) == (2, 1, 0.5)


def test_independent_signs_are_at_chance_and_equal_ones_far_above():
    draw = torch.Generator().manual_seed(3)
    a, b = (weighed([0.0] * 4000, torch.randn(4000, generator=draw).add(0.5).tolist()) for _ in range(2))
    assert abs(common_signs(a, b)[0]["z"]) < 4
    assert common_signs(a, b)[0]["chance"] == pytest.approx(0.69**2 + 0.31**2, abs=0.02)
    assert common_signs(a, a)[0]["agreement"] == 1.0
    assert common_signs(a, a)[0]["z"] > 50


def test_signs_need_trained_weights():
    with pytest.raises(UserError, match="save_weights"):
        kept_signs(masked(fc1=[1, 0]))


# Lines

def two_minima(weights: object) -> float:
    """An error of 0.1 at w = 0 and 0.2 at w = 1, and a hill of 0.6 halfway."""
    w = float(weights["fc1.weight"])  # pyright: ignore[reportIndexIssue]
    return 0.1 + 0.1 * w + 0.45 * (1 - abs(2 * w - 1))


def test_the_barrier_is_the_highest_error_less_the_mean_of_the_ends():
    errors = errors_along(weighed([0.5], [0.0]), weighed([0.5], [1.0]), two_minima)
    assert len(errors) == 11
    assert (errors[0], errors[5], errors[10]) == (pytest.approx(0.1), pytest.approx(0.6), pytest.approx(0.2))
    assert barrier(errors) == pytest.approx(0.6 - 0.15)


def test_equal_weights_have_no_barrier_and_unequal_ends_without_a_hill_half_their_difference():
    ticket = weighed([0.5], [0.3])
    assert barrier(errors_along(ticket, ticket, two_minima)) == 0
    assert barrier([0.1, 0.2, 0.3]) == pytest.approx(0.1)


def test_the_ends_of_the_line_are_the_trained_weights_to_the_bit_and_the_dead_stay_dead():
    a, b = weighed([0.1, 0.2, 0.3], [0.7, -1e-8, 5.0], [1, 1, 0]), weighed([0.1, 0.2, 0.3], [0.1, 3e7, 6.0], [1, 1, 0])
    assert torch.equal(between(a, b, 0)["fc1.weight"], a.trained["fc1.weight"])
    assert torch.equal(between(a, b, 1.0)["fc1.weight"], b.trained["fc1.weight"])
    assert [float(between(a, b, alpha)["fc1.weight"][0, 2]) for alpha in ALPHAS] == [0.0] * 11


def test_two_trainings_are_of_one_ticket_where_masks_and_starts_are_the_same():
    a = weighed([1.0, 2.0], [0.0, 0.0])
    assert one_ticket(a, weighed([1.0, 2.0], [3.0, 4.0])) == (True, True)
    assert one_ticket(a, weighed([1.0, 3.0], [0.0, 0.0])) == (True, False)
    assert one_ticket(a, weighed([1.0, 2.0], [0.0, 0.0], [1, 0])) == (False, False)


def test_two_errors_are_no_line():
    with pytest.raises(UserError, match="barrier: 2 errors are no line"):
        barrier([0.1, 0.2])
