"""Scores: (one layer's weights and what was seen of them) -> a score a weight, or a unit. Low scores die.

A weight criterion returns the shape of the layer's weights; a unit criterion (granularity = "unit") one number for each
unit. A `joint` criterion is called once, with the units of all prunable layers end to end.

The engine reads these options:
- `images`: gradients, activations and losses are taken over so many training images, drawn for this cell and round
  (0, or more than there are: all).
- `iterations`: a round's pruning is done in so many smaller ones, each scored anew.
- `temperature`: logits are divided by it.
- `once`: every round scores the whole network as it was drawn, with the first round's draws. Round r is then a one-shot
  pruning to its size.
"""

from typing import Annotated, Literal

from msgspec import Meta

from sweepstake.base.registry import Registry

Images = Annotated[int, Meta(ge=0)]
Times = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]

criterion = Registry("criterion", by_layer=True, offers={
    "w_init": "the layer's weights at the very beginning",
    "w_start": "the layer's weights when the round began",
    "w_final": "the layer's weights at the end of the round (before training: as they are), the dead at 0",
    "alive": "which of them are still alive; to a joint criterion, which units",
    "uniform": "U(-1, 1), one a weight (or a unit), drawn for this cell and round",
    "grad": "the gradient of the training loss at w_final, over `images` training images",
    "hessian_grad": "the Hessian of that loss times its gradient, that of the weights of linear and conv layers alone",
    "flow_grad": "the gradient of the network's summed output with all weights |w_final| and an image of ones",
    "activation": "each unit's mean absolute output, as the next layer sees it, over `images` training images",
    "input_norm": "for each weight, the L2 norm of the input it multiplies (of a convolution, of the channel over all "
                  "places), over `images` training images",
    "noise": "a function of a shape: U(-1, 1), drawn for this cell and round",
    "loss_of": "a function of unit masks, (masks, units): the training loss under each, over `images` training images",
})


def unfit(place: str, name: str, granularity: str) -> str:
    """What is wrong with a criterion for this granularity; empty where it fits."""
    made_for = {each.name: each.traits.get("granularity", "any") for each in criterion.pieces.values()}
    scores = made_for[criterion.get(name, f'{place} = "{name}"').name]
    if scores in ("any", granularity):
        return ""
    fit = sorted(each for each, kind in made_for.items() if kind in ("any", granularity))
    return (f'{place} = "{name}" scores {scores}s, and granularity = "{granularity}".\n'
            f'  For {granularity}s: {", ".join(fit)}. Or say granularity = "{scores}".')


@criterion(granularity="weight")
def magnitude(w_final):
    """|w_final|: keep what ended large (Han et al. 2015; Frankle & Carbin 2019)."""
    return w_final.abs()


@criterion(granularity="weight")
def small_final(w_final):
    """-|w_final|: keep what ended small (Zhou et al. 2019)."""
    return -w_final.abs()


@criterion(granularity="weight")
def large_init(w_init):
    """|w_init|: keep what began large (Zhou et al. 2019)."""
    return w_init.abs()


@criterion(granularity="weight")
def movement(w_init, w_final):
    """|w_final - w_init|: keep what moved most (Zhou et al. 2019)."""
    return (w_final - w_init).abs()


@criterion(granularity="weight")
def magnitude_increase(w_init, w_final, *, weight: float = 1.0):
    """|w_final| - weight |w_init|: keep what grew (Zhou et al. 2019)."""
    return w_final.abs() - weight * w_init.abs()


@criterion(granularity="any")
def random(uniform):
    """A fresh draw: the control every criterion has to beat (Frankle & Carbin 2019)."""
    return uniform


@criterion(granularity="weight")
def gradient_magnitude(grad, *, images: Images = 1000):
    """|gradient|: keep what the loss pulls at (Blalock et al. 2020)."""
    return grad.abs()


@criterion(granularity="weight")
def snip(w_final, grad, *, images: Images = 100, iterations: Times = 1):
    """|w gradient|: keep what the loss would miss (Lee et al. 2019); in many iterations de Jorge et al. (2021)."""
    return (w_final * grad).abs()


@criterion(granularity="weight", version=2)
def grasp(w_final, hessian_grad, *, images: Images = 100, temperature: Positive = 200.0):
    """w (Hessian gradient): drop what holds back the gradient's flow; logits over `temperature` (Wang et al. 2020)."""
    return w_final * hessian_grad


@criterion(granularity="weight")
def synflow(w_final, flow_grad, *, iterations: Times = 100):
    """|w| d flow / d |w|: keep what carries the flow, in many small prunings, without data (Tanaka et al. 2020)."""
    return w_final.abs() * flow_grad


@criterion(granularity="weight")
def wanda(w_final, input_norm, *, images: Images = 128, per_output: bool = True):
    """|w| times the L2 norm of the input it multiplies, ranked within each output unit (Sun et al. 2024).

    `per_output`, as published: a weight's score is minus the share of its unit's weights that score higher, so that
    every unit keeps the same share, to one weight and but for ties. Under one ranking over all layers every layer then
    keeps the same share, too. Without it the products themselves are ranked.
    """
    score = w_final.abs() * input_norm
    return _rank_in_row(score) if per_output else score


def _rank_in_row(score):
    """Minus the share of its row that is larger; equal scores have equal ranks, for the engine's draw to break."""
    from torch import searchsorted

    rows = score.reshape(score.shape[0], -1)
    smaller_or_equal = searchsorted(rows.sort(1).values, rows, right=True)
    return ((smaller_or_equal - rows.shape[1]) / rows.shape[1]).view(score.shape)


@criterion(granularity="unit")
def unit_l2(w_final):
    """The L2 norm of a unit's incoming weights (Sandor 2020)."""
    return w_final.flatten(1).norm(dim=1)


@criterion(granularity="unit")
def unit_l1(w_final):
    """The L1 norm of a unit's incoming weights (Li et al. 2017)."""
    return w_final.flatten(1).abs().sum(1)


@criterion(granularity="unit")
def activation_mean(activation, *, images: Images = 1000):
    """A unit's mean activation: keep what fires (Molchanov et al. 2017)."""
    return activation


@criterion(granularity="unit", joint=True, neutral={"once": False})
def lfe(alive, noise, loss_of, *, masks: Times = 1000, share: Annotated[float, Meta(gt=0, lt=1)] = 0.5,
        images: Images = 2000, score: Literal["negative_loss", "likelihood"] = "negative_loss",
        intercept: bool = True, ridge: Annotated[float, Meta(ge=0)] = 0.0, once: bool = False):
    """theta of Z theta = s, Z random unit masks, s = -loss: linear filter ensembles (Sandor et al. 2020).

    Solved by least squares. `share` of the units is on in a mask. score = "likelihood" takes s = exp -loss. `intercept`
    fits a constant beside theta: without it, how many units are on hides which. `ridge` is added to Z'Z, and is needed
    where there are fewer masks than units.
    """
    on = (noise((masks, len(alive))) < 2 * share - 1) & alive
    s = -loss_of(on).double()
    s = s.exp() if score == "likelihood" else s
    z = on[:, alive].double()
    if intercept:
        z, s = z - z.mean(0), s - s.mean()
    theta = s.new_zeros(len(alive))
    theta[alive] = least_squares(z, s, ridge)
    return theta


def least_squares(z, s, ridge):
    """argmin |z theta - s|^2 + ridge |theta|^2, the shortest of several, by the smaller of z'z and zz'."""
    from torch.linalg import pinv, solve

    tall = z.shape[0] >= z.shape[1]
    gram = z.T @ z if tall else z @ z.T
    gram.diagonal().add_(ridge)

    def solved(b):
        return solve(gram, b) if ridge else pinv(gram, hermitian=True) @ b

    return solved(z.T @ s) if tall else z.T @ solved(s)
