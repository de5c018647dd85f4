"""Every network of the papers: its weights counted, its shapes checked, a round of each survived; and a user's own."""

import pytest
import torch
from torch import nn

from sweepstake.base.errors import UserError
from sweepstake.engine.build import build_net
from sweepstake.engine.images import prepare
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state
from sweepstake.pieces import cell_id, load_plugin, model, neutral_options
from sweepstake.pieces.networks import Dropout
from tests.helpers import make_cell, run_cell, tiny_images

CIFAR, MNIST, DIGITS = (3, 32, 32), (1, 28, 28), (1, 8, 8)
CONVOLUTIONAL = ["lenet5", "conv2", "conv4", "conv6", "vgg11", "vgg13", "vgg16", "vgg19", "resnet20", "resnet32", "resnet56", "resnet18"]
BUILT_IN = ["mlp", *CONVOLUTIONAL]
ON_DIGITS = ["mlp", "conv2", "conv4", "conv6", "resnet20", "resnet32", "resnet56", "resnet18"]


def net_of(name, inputs=CIFAR, classes=10, **options):
    return build_net(make_cell(model=(name, options)), inputs, classes)


def counts(net):
    """Weights of linear and convolutional layers; all parameters."""
    return sum(slot.size for slot in net.weights), sum(parameter.numel() for parameter in net.module.parameters())


@pytest.mark.parametrize(("name", "options", "inputs", "weights", "parameters"), [
    ("mlp", {}, MNIST, 266_200, 266_610),
    ("mlp", {"hidden": [3010, 1010]}, MNIST, 5_410_040, 5_414_070),
    ("lenet5", {}, MNIST, 61_470, 61_706),
    ("conv2", {}, CIFAR, 4_300_992, 4_301_642),
    ("conv4", {}, CIFAR, 2_425_024, 2_425_930),
    ("conv6", {}, CIFAR, 2_261_184, 2_262_602),
    ("vgg11", {}, CIFAR, 9_222_848, 9_228_362),
    ("vgg13", {}, CIFAR, 9_407_168, 9_413_066),
    ("vgg16", {}, CIFAR, 14_715_584, 14_724_042),
    ("vgg19", {}, CIFAR, 20_024_000, 20_035_018),
    ("resnet20", {}, CIFAR, 270_896, 272_474),
    ("resnet20", {"shortcut": "pad"}, CIFAR, 268_336, 269_722),
    ("resnet32", {}, CIFAR, 464_432, 466_906),
    ("resnet56", {}, CIFAR, 851_504, 855_770),
    ("resnet18", {}, CIFAR, 11_164_352, 11_173_962),
])
def test_the_published_networks_have_their_published_weights(name, options, inputs, weights, parameters):
    assert counts(net_of(name, inputs, **options)) == (weights, parameters)


@pytest.mark.parametrize("inputs", [CIFAR, MNIST])
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_model_gives_a_number_for_each_class(name, inputs):
    net = net_of(name, inputs, classes=100, width=0.1)
    assert net.module.eval()(torch.zeros(3, *inputs)).shape == (3, 100)


@pytest.mark.parametrize("name", ON_DIGITS)
def test_every_model_that_fits_takes_8_by_8_digits(name):
    assert net_of(name, DIGITS, width=0.1).module.eval()(torch.zeros(3, *DIGITS)).shape == (3, 10)


@pytest.mark.parametrize(("name", "inputs", "least"), [
    ("lenet5", (1, 8, 8), "(1, 12, 12)"), ("conv6", (3, 4, 4), "(3, 8, 8)"), ("conv2", (1, 1, 9), "(1, 2, 2)"),
    ("vgg19", (1, 8, 8), "(1, 16, 16)"), ("resnet18", (1, 4, 4), "(1, 8, 8)")])
def test_a_model_that_does_not_fit_says_both_shapes(name, inputs, least):
    with pytest.raises(UserError) as error:
        net_of(name, inputs)
    assert least in str(error.value) and str(inputs) in str(error.value) and f'"{name}"' in str(error.value)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_smallest_image_a_message_promises_is_taken(name):
    side = {"lenet5": 12, "conv2": 2, "conv4": 4, "conv6": 8, "resnet18": 8}.get(name, 16 if name.startswith("vgg") else 4)
    net_of(name, (1, side, side), width=0.1)
    with pytest.raises(UserError, match="takes images of at least"):
        net_of(name, (1, side - 1, side), width=0.1)


@pytest.mark.parametrize("name", BUILT_IN)
def test_options_at_the_published_network_rename_nothing(name):
    norm = "batch" if name.startswith(("vgg", "resnet")) else "none"
    assert neutral_options("model", name) == {"width": 1.0, "norm": norm, "activation": "relu", "slope": 0.01, "dropout": 0.0}
    said = cell_id(make_cell(model=(name, {"width": 1.0, "norm": norm, "dropout": 0.0})))
    assert said == cell_id(make_cell(model=name))
    assert said != cell_id(make_cell(model=(name, {"width": 0.5})))


def test_width_norm_activation_and_dropout_reach_the_network():
    net = net_of("conv2", width=0.5, norm="group", activation="leaky_relu", slope=0.2, dropout=0.3)
    assert [slot.shape for slot in net.weights] == [(32, 3, 3, 3), (32, 32, 3, 3), (128, 8192), (128, 128), (10, 128)]
    kinds = [type(module) for module in net.module.modules()]
    assert kinds.count(nn.GroupNorm) == 2 and kinds.count(Dropout) == 2 and nn.ReLU not in kinds
    assert {module.negative_slope for module in net.module.modules() if isinstance(module, nn.LeakyReLU)} == {0.2}
    assert net_of("mlp", hidden=[7], norm="batch").module.get_submodule("fc1_norm").num_features == 7


def test_a_layer_before_a_norm_has_no_bias_and_one_without_has():
    assert not any(slot.role == "bias" for slot in net_of("vgg11", width=0.1).slots if slot.layer.startswith("conv"))
    assert any(slot.name == "conv1.bias" for slot in net_of("vgg11", width=0.1, norm="none").slots)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize("name", ["mlp", "conv2", "resnet20"])
def test_every_norm_trains_in_every_precision(name, norm, precision):
    cell = make_cell(model=(name, {"width": 0.1, "norm": norm}), steps=2, rounds=0, batch_size=8, precision=precision)
    record, = run_cell(cell, tiny_images(16, 8))
    assert not record["diverged"] and record["end"]["test"]["loss"] < 100


@pytest.mark.parametrize("granularity", ["weight", "unit"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_model_survives_a_round_of_pruning_and_is_the_same_twice(name, granularity):
    width = 0.25 if name == "lenet5" else 0.06
    cell = make_cell(model=(name, {"width": width, "dropout": 0.2}), steps=3, rounds=1, keep=0.5, batch_size=8, lr=0.01, granularity=granularity,
                     criterion="magnitude" if granularity == "weight" else "unit_l2")
    data = tiny_images(24, 8, (3, 16, 16))
    first, again = run_cell(cell, data), run_cell(cell, data)
    assert len(first) == 2 and first[1]["kept_fraction"] < 0.75 and not first[1]["diverged"]
    for record in first + again:
        del record["seconds"]
    assert repr(first) == repr(again)  # In words: the first train_loss is nan, which equals nothing.


@pytest.mark.parametrize("name", ["lenet5", "conv4", "vgg11", "resnet20"])
def test_convolutional_networks_learn(name):
    cell = make_cell(model=(name, {"width": 0.25}), steps=40, rounds=0, batch_size=16, lr=0.01, eval_every=10)
    curve = run_cell(cell, tiny_images(64, 16, (1, 16, 16), classes=2))[0]["curve"]["train_loss"]
    assert curve[-1] < 0.7 * curve[1]


PLUGIN = '''
import torch
from torch import nn
from torch.nn.functional import dropout
from sweepstake.pieces import model

class Own(nn.Module):
    def __init__(self, classes, p):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Dropout(p)
        self.scale = nn.Parameter(torch.rand(6, 1, 1))
        self.out = nn.Linear(6, classes)
    def forward(self, x):
        return self.out(dropout(self.drop(self.norm(self.conv(x)) * self.scale).mean((2, 3)), 0.1))

@model
def own_PLACE(inputs, classes, *, p: float = 0.5):
    """A network of mine."""
    return Own(classes, p)

@model
def too_many_PLACE(inputs, classes):
    """Forgets how many classes there are."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes + 1))

@model
def no_module_PLACE(inputs, classes):
    """Gives the class, not a network."""
    return nn.Linear

@model
def raises_PLACE(inputs, classes):
    """Cannot be built."""
    raise ValueError("no such depth")

@model
def wrong_input_PLACE(inputs, classes):
    """Takes other images."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, classes))

@model
def tuple_PLACE(inputs, classes):
    """Gives more than logits."""
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, classes)
        def forward(self, x):
            return self.fc(x.flatten(1)), x
    return Pair()

@model
def replaces_PLACE(inputs, classes):
    """Puts a new tensor where its statistic was."""
    class Replaces(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, classes)
            self.register_buffer("seen", torch.zeros(()))
        def forward(self, x):
            self.seen = self.seen + 1.0
            return self.fc(x.flatten(1))
    return Replaces()

@model
def averages_PLACE(inputs, classes):
    """A norm whose statistics count their batches."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8, momentum=None), nn.Linear(8, classes))
'''


@pytest.fixture(autouse=True, scope="module")
def plugin(tmp_path_factory):
    """A user's file, its models named `..._here`; gone again when these tests are done."""
    before = dict(model.pieces)
    path = tmp_path_factory.mktemp("plugin") / "networks_of_mine.py"
    path.write_text(PLUGIN.replace("PLACE", "here"))
    load_plugin(path)
    yield
    model.pieces.clear()
    model.pieces.update(before)


def own_cell(**changes):
    return make_cell(**{"model": "own_here", "steps": 5, "rounds": 1, "keep": 0.5, "batch_size": 8, "lr": 0.01, **changes})


def trained(cell):
    trainer = ReferenceTrainer(cell, prepare(cell, tiny_images(32, 16)))
    return trainer.train(cell, first_state(trainer, cell).start, 0).w_final


def test_a_plug_in_with_dropout_and_norm_depends_on_its_seed_alone():
    before = torch.get_rng_state()
    first = trained(own_cell(seed=3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(17)
    assert torch.equal(trained(own_cell(seed=3)), first)
    assert not torch.equal(trained(own_cell(seed=4)), first)
    torch.set_rng_state(before)


def test_a_plug_ins_dropout_is_in_what_it_trains():
    assert not torch.equal(trained(own_cell()), trained(own_cell(model=("own_here", {"p": 0.0}))))


def test_a_plug_in_survives_pruning_with_norm_and_parameters_of_its_own():
    records = run_cell(own_cell(reset=("rewind", {"step": 2})), tiny_images(32, 16))
    assert [record["kept_by_layer"] for record in records] == [{"conv": 54, "out": 60}, {"conv": 27, "out": 30}]


def test_measuring_a_module_that_draws_moves_no_generator():
    cell = own_cell()
    trainer = ReferenceTrainer(cell, prepare(cell, tiny_images(32, 16)))
    before, w = torch.get_rng_state(), first_state(trainer, cell).start.w
    assert trainer.measure(w) == trainer.measure(w)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "says"), [
    ("too_many_here", r"gave shape \(2, 11\) for a batch of shape \(2, 1, 8, 8\), expected \(batch, classes\) = \(2, 10\)"),
    ("no_module_here", r"gave a type, expected a torch.nn.Module"),
    ("raises_here", r"\(.*:[0-9]+\) raised ValueError: no such depth"),
    ("wrong_input_here", r"raised RuntimeError on a batch of shape \(2, 1, 8, 8\)"),
    ("tuple_here", r"gave a tuple for a batch"),
    ("replaces_here", r"puts a new tensor in place of seen .* seen.copy_\(...\)"),
    ("averages_here", r"2 averages its statistics over all batches"),
])
def test_a_plug_in_that_gives_something_else_is_told_what_was_expected(name, says):
    with pytest.raises(UserError, match=says):
        net_of(name, DIGITS)
