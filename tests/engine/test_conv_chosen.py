"""Which cells the trainer of convolutions takes, and that whoever takes a cell gives the reference's numbers."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from sweepstake.engine.build import draw_init
from sweepstake.engine.choose import trainer_for
from sweepstake.engine.images import prepare
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.train import Start
from sweepstake.pieces import model
from sweepstake.pieces.datasets import digits
from sweepstake.pieces.networks import Dropout, Flatten
from tests.helpers import is_near, make_cell, tiny_images


def chosen(shape=(3, 16, 16), **changes):
    cell = make_cell(**changes)
    return trainer_for(cell, prepare(cell, tiny_images(20, 10, shape))).name


@pytest.mark.parametrize("net", [
    ("lenet5", {}), ("lenet5", {"dropout": 0.2, "width": 0.5}), ("lenet5", {"activation": "leaky_relu", "slope": 0.1}),
    ("lenet5", {"activation": "leaky_relu", "slope": 0.0}), ("conv2", {"width": 0.1}), ("conv4", {"width": 0.1}), ("conv6", {"width": 0.1}),
    *((f"vgg{depth}", {"width": 0.1, "norm": "none"}) for depth in (11, 13, 16, 19)), ("vgg11", {"width": 0.1, "norm": "none", "dropout": 0.5}),
], ids=str)
def test_a_plain_chain_of_convolutions_is_trained_by_its_kernels(net):
    assert chosen(model=net) == "conv"


@pytest.mark.parametrize(("changes", "name"), [
    ({"model": ("conv2", {"width": 0.1, "norm": "batch"})}, "thin"), ({"model": ("lenet5", {"norm": "group"})}, "thin"),
    ({"model": ("vgg11", {"width": 0.1})}, "thin"), ({"model": ("lenet5", {"activation": "tanh"})}, "thin"),
    ({"model": ("lenet5", {"activation": "gelu"})}, "thin"), ({"model": ("lenet5", {"activation": "sigmoid"})}, "reference"),
    ({"model": ("lenet5", {"activation": "leaky_relu", "slope": -0.1})}, "thin"), ({"model": ("resnet20", {"width": 0.25})}, "reference"),
    ({"model": ("resnet20", {"width": 0.25, "norm": "none", "shortcut": "pad"})}, "reference"),
    ({"model": ("lenet5", {}), "precision": "float64"}, "thin"), ({"model": ("lenet5", {}), "precision": "bfloat16"}, "thin"),
    ({"model": ("mlp", {})}, "fast"), ({"model": ("mlp", {"norm": "batch"})}, "thin"),
], ids=str)
def test_what_is_no_plain_chain_of_convolutions_in_float32_is_left_to_others(changes, name):
    assert chosen(**changes) == name


def test_a_convolution_of_more_than_a_million_weights_is_left_to_pytorch():
    said = [chosen(model=("vgg11", {"width": width, "norm": "none"})) for width in (0.5, 1.0)]
    assert said == ["conv", "thin"]


def test_the_reference_is_trained_where_it_is_asked_for():
    cell = make_cell(model=("lenet5", {}))
    assert type(trainer_for(cell, prepare(cell, tiny_images(20, 10, (1, 12, 12))), engine="reference")) is ReferenceTrainer


# Networks of one's own, for images of 3 x 8 x 8 and 10 classes

def tail(places, *before):
    """What stands behind the convolutions: places of 4 channels, read by 10 classes."""
    return [*before, Flatten(), nn.Linear(4 * places, 10)]


class Skips(nn.Sequential):
    """Adds its input to what its second convolution gives, which its layers do not say."""

    def forward(self, input: Tensor) -> Tensor:
        layers = list(self)
        first = layers[1](layers[0](input))
        for layer in [lambda x: layers[3](layers[2](x)) + x, *layers[4:]]:
            first = layer(first)
        return first


class Doubled(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


def shared() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1),
                        nn.ReLU(), *tail(64))
    net[4].weight = net[2].weight
    return net


def twice() -> nn.Module:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), conv, nn.ReLU(), conv, nn.ReLU(), *tail(64))


def one_relu() -> nn.Module:
    relu = nn.ReLU()
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), relu, nn.Conv2d(4, 4, 3, padding=1), relu, *tail(64))


def frozen() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), *tail(16))
    net[0].weight.requires_grad_(False)
    return net


def hooked() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *tail(36))
    net[0].register_forward_hook(lambda _, __, output: output * 0.5)
    return net


def layers(*each: nn.Module) -> Callable[[], nn.Module]:
    """A chain of copies of these layers."""
    return lambda: deepcopy(nn.Sequential(*each))


def first(conv, places):
    return layers(conv, nn.ReLU(), *tail(places))


def pooled(pool, places):
    return layers(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, *tail(places))


NO_CHAIN: dict[str, Callable[[], nn.Module]] = {
    "strided": first(nn.Conv2d(3, 4, 3, stride=2), 9), "strided one way": first(nn.Conv2d(3, 4, 3, stride=(1, 2)), 18),
    "grouped": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), *tail(16)),
    "dilated": first(nn.Conv2d(3, 4, 3, dilation=2), 16), "oblong kernels": first(nn.Conv2d(3, 4, (3, 5)), 24),
    "kernels of 2": first(nn.Conv2d(3, 4, 2), 49), "kernels of 7": first(nn.Conv2d(3, 4, 7), 4),
    "padded by the kernel": first(nn.Conv2d(3, 4, 3, padding=3), 144),
    "padded by reflection": first(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), 64),
    "padded around": first(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), 64),
    "padded by the edge": first(nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate"), 64),
    "max of 3": pooled(nn.MaxPool2d(3), 4), "max at every place": pooled(nn.MaxPool2d(2, stride=1), 25),
    "max, padded": pooled(nn.MaxPool2d(2, padding=1), 16), "max, dilated": pooled(nn.MaxPool2d(2, dilation=2), 4),
    "max of what is over": layers(nn.Conv2d(3, 4, 4), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True), *tail(9)),
    "max of what is over, kernels of 3": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=2), nn.ReLU(),
                                                nn.Conv2d(4, 4, 1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), *tail(16)),
    "average of 3": pooled(nn.AvgPool2d(3), 4), "average at every place": pooled(nn.AvgPool2d(2, stride=1), 25),
    "average, padded": pooled(nn.AvgPool2d(2, padding=1), 16), "average by another number": pooled(nn.AvgPool2d(2, divisor_override=3), 9),
    "average of four places": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), *tail(4)),
    "the largest of all": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), *tail(1)),
    "pooled first": layers(nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), *tail(4)),
    "pooled before its activation": layers(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.LeakyReLU(0.3), *tail(9)),
    "pooled twice": layers(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2), *tail(4)),
    "no activation": layers(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(), *tail(16)),
    "two activations": layers(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.1), nn.LeakyReLU(0.1), *tail(36)),
    "no activation between linear layers": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), Flatten(), nn.Linear(144, 7), nn.Linear(7, 10)),
    "an activation at the end": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), *tail(36), nn.ReLU()),
    "no linear layer": layers(nn.Conv2d(3, 10, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), Flatten()),
    "ReLU6": layers(nn.Conv2d(3, 4, 3), nn.ReLU6(), *tail(36)), "PReLU": layers(nn.Conv2d(3, 4, 3), nn.PReLU(), *tail(36)),
    "a negative slope": layers(nn.Conv2d(3, 4, 3), nn.LeakyReLU(-0.1), *tail(36)),
    "dropout between convolutions": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), Dropout(0.3), nn.Conv2d(4, 4, 3), nn.ReLU(), *tail(16)),
    "torch's own dropout": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), Flatten(), nn.Dropout(0.3), nn.Linear(144, 10)),
    "dropout of channels": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout2d(0.3), *tail(36)),
    "a norm at the end": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), Flatten(), nn.LayerNorm(144), nn.Linear(144, 10)),
    "a residual": lambda: Skips(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), *tail(36)),
    "a convolution of one's own": first(Doubled(3, 4, 3), 36), "shared weights": shared, "a layer twice": twice,
    "weights by norm and direction": lambda: nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), *tail(36)),
    "a hook": hooked,
}
"""Each differs from a plain chain in one thing that changes numbers."""
MAYBE: dict[str, Callable[[], nn.Module]] = {
    "one activation for all": one_relu, "ReLU in place": layers(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), *tail(36)),
    "slopes that differ": layers(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.3), nn.Conv2d(4, 4, 3), nn.LeakyReLU(0.1), *tail(16)),
    "ReLU and a leaky one": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.LeakyReLU(0.1), *tail(16)),
    "a slope above 1": layers(nn.Conv2d(3, 4, 3), nn.LeakyReLU(1.5), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(), *tail(1)),
    "torch's own flatten": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)),
    "padding of two numbers": first(nn.Conv2d(3, 4, 3, padding=(0, 2)), 60), "padding by its word": first(nn.Conv2d(3, 4, 5, padding="same"), 64),
    "no padding by its word": first(nn.Conv2d(3, 4, 5, padding="valid"), 16),
    "pools of two numbers": pooled(nn.MaxPool2d((2, 2), (2, 2)), 9),
    "an average that counts no padding": pooled(nn.AvgPool2d(2, count_include_pad=False), 9),
    "an average pool that would take what is over": pooled(nn.AvgPool2d(2, ceil_mode=True), 9),
    "no bias": layers(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), Flatten(), nn.Linear(144, 10, bias=False)),
    "no bias in the second": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, bias=False), nn.ReLU(), *tail(16)),
    "a layer that does nothing": layers(nn.Conv2d(3, 4, 3), nn.Identity(), nn.ReLU(), *tail(36)),
    "dropout of nothing": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), Flatten(), Dropout(0.0), nn.Linear(144, 10)),
    "dropouts that differ": layers(nn.Conv2d(3, 4, 3), nn.ReLU(), Flatten(), Dropout(0.2), nn.Linear(144, 7), nn.ReLU(), Dropout(0.5),
                                   nn.Linear(7, 10)),
    "a chain in a chain": lambda: nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Sequential(*tail(36))),
    "frozen weights": frozen, "a layer and no convolution": layers(Flatten(), nn.Linear(192, 7), nn.ReLU(), nn.Linear(7, 10)),
}
"""What may be taken or left, as long as the numbers are right."""
OWN = {**NO_CHAIN, **MAYBE}


@pytest.fixture(scope="module", autouse=True)
def own():
    """A model for these tests; gone again when they are done."""
    @model
    def conv_test_own(*, which: str):
        """A network by its name (this test)."""
        return OWN[which]()

    yield
    del model.pieces["conv_test_own"]


@pytest.mark.parametrize("which", NO_CHAIN)
def test_a_chain_with_another_layer_in_it_is_left_to_others(which):
    assert chosen((3, 8, 8), model=("conv_test_own", {"which": which})) in ("thin", "reference")


@pytest.mark.parametrize("which", OWN)
def test_whoever_takes_a_network_gives_the_references_numbers(which):
    def apart(seed):
        cell = make_cell(model=("conv_test_own", {"which": which}), steps=8, batch_size=19, optimiser="sgd", lr=0.05, momentum=0.9,
                         weight_decay=0.01, seed=seed, bias_init=("normal", {"std": 0.1}))
        images = prepare(cell, tiny_images(60, 20, (3, 8, 8)))
        reference, trainer = ReferenceTrainer(cell, images), trainer_for(cell, images)
        w = draw_init(reference.net, cell, "init")
        mask = torch.rand(w.shape, generator=torch.Generator().manual_seed(seed)) < (1 if seed == 0 else 0.5)
        ends = [each.train(cell, Start(w * mask, mask), 0) for each in (reference, trainer)]
        a, b = (end.w_final for end in ends)
        assert not bool(b[~mask].any())
        assert trainer.measure(a)["test"]["loss"] == pytest.approx(reference.measure(a)["test"]["loss"], rel=1e-5)
        return float((a - b).abs().max() / a.abs().max())

    assert is_near(apart, below=1e-4)


@pytest.mark.parametrize("changes", [
    {}, {"granularity": "unit", "criterion": "unit_l2"}, {"criterion": "snip", "prune_when": "before"}, {"reset": "none", "optimiser_state": "kept"},
], ids=str)
def test_a_whole_cell_on_the_digits_has_the_numerics_of_its_trainer_and_the_references_counts_and_losses(changes):
    def off(seed):
        cell = make_cell(**{"model": ("conv2", {"width": 0.125}), "steps": 20, "rounds": 2, "keep": 0.5, "batch_size": 37, "lr": 3e-4, "subset": 400,
                            "validation": 100, "eval_every": 5, "reset": ("rewind", {"step": 3}), "seed": seed, **changes})
        images = prepare(cell, digits())
        trainer, plain = trainer_for(cell, images), trainer_for(cell, images, engine="reference")
        ours, theirs = ([record for record, _ in run_rounds(each, cell, first_state(each, cell))] for each in (trainer, plain))
        assert [record["numerics"] for record in ours] == ["conv 1"] * 3
        assert [record["numerics"] for record in theirs] == ["reference 1"] * 3
        assert [record["kept_by_layer"] for record in ours] == [record["kept_by_layer"] for record in theirs]
        assert [record.keys() for record in ours] == [record.keys() for record in theirs]
        assert all(a["proofs"].keys() == b["proofs"].keys() for a, b in zip(ours, theirs, strict=True))
        return max(abs(a["end"][split]["loss"] / b["end"][split]["loss"] - 1) for a, b in zip(ours, theirs, strict=True)
                   for split in ("train", "validation", "test"))

    assert is_near(off, below=1e-4)
