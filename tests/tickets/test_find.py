"""A ticket is found in a module of one's own, resumes after a kill, and leaves the module as it was when it fails."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.search import shadow
from sweepstake.tickets.search.find import find_ticket

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(64, 8, generator=GENERATOR)
Y = (X[:, 0] > 0).long() + 2 * (X[:, 1] > 0).long()
DATA = [(X[:32], Y[:32]), (X[32:], Y[32:])]


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 4))


def train(model, steps=12):
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.01)
    for step in range(steps):
        x, y = DATA[step % 2]
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()


@torch.no_grad()
def evaluate(model):
    model.eval()
    return float((model(X).argmax(1) == Y).float().mean())


def found(model=None, **how):
    return find_ticket(network() if model is None else model, how.pop("train", train), how.pop("evaluate", evaluate),
                       **{"rounds": 3, "keep": 0.5, "progress": False, **how})


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_each_round_keeps_half_and_the_module_holds_the_last_ticket():
    model = network()
    ticket = found(model)
    size = 8 * 24 + 24 * 12 + 12 * 4
    assert [each["kept_fraction"] for each in ticket.made["rounds"]] == [1.0, 0.5, 0.25, round(size / 8) / size]
    assert ticket.kept == size // 8
    assert same(dict(ticket.trained), {k: v for k, v in state(model).items() if v.is_floating_point()})
    assert all(not bool(ticket.trained[name][~mask].any()) for name, mask in ticket.masks.items())
    assert ticket.made["rounds"][3]["score"] == evaluate(model)


def test_survivors_begin_where_the_module_began():
    first = state(network())
    ticket = found()
    for name, mask in ticket.masks.items():
        assert torch.equal(ticket.initial[name], torch.where(mask, first[name], 0.0))
    assert torch.equal(ticket.initial["1.running_mean"], torch.zeros(24))


def test_counters_are_rewound_with_the_statistics():
    model = network()
    found(model)
    assert int(model[1].num_batches_tracked) == 12


@pytest.mark.parametrize("reset", ["rewind", "rewind_lr", "none", "fresh", "framework_default", "shuffled", "empirical",
                                   "same_signs", "constant_signed", {"name": "rewind", "step": 3}])
def test_every_reset_works(reset):
    assert found(reset=reset).kept == 66


@pytest.mark.parametrize("criterion", ["magnitude", "random", "movement", "large_init", "magnitude_increase", "snip", "grasp",
                                       "gradient_magnitude", {"name": "synflow", "iterations": 5}])
@pytest.mark.parametrize("allocation", ["global", "per_layer", "erk"])
def test_every_criterion_and_allocation_works(criterion, allocation):
    assert found(criterion=criterion, allocation=allocation, data=DATA, rounds=1).kept == 264


@pytest.mark.parametrize("criterion", ["unit_l2", "activation_mean", {"name": "lfe", "masks": 40}])
def test_whole_units_can_be_pruned(criterion):
    ticket = found(criterion=criterion, granularity="unit", data=DATA, rounds=1)
    assert sum(int(ticket.masks[name].any(1).sum()) for name in ("0.weight", "3.weight")) == 18
    dead = ~ticket.masks["0.weight"].any(1)
    assert not bool(ticket.masks["1.weight"][dead].any()), "a norm dies with its unit"
    assert not bool(ticket.masks["3.weight"][:, dead].any())


def test_a_rewind_to_a_step_goes_back_to_the_weights_at_that_step():
    seen = []

    def noting(model):
        train(model, 3)
        seen.append(state(model))
        train(model, 3)

    ticket = found(train=noting, reset={"name": "rewind", "step": 3}, rounds=2)
    assert torch.equal(ticket.initial["0.weight"], torch.where(ticket.masks["0.weight"], seen[0]["0.weight"], 0.0))


def test_train_is_given_what_it_names():
    seen = []

    def naming(model, *, round_, masks, first_step):
        seen.append((round_, first_step, sum(int(mask.sum()) for mask in masks.alive.values())))
        train(model)

    found(train=naming, reset={"name": "rewind", "step": 2}, rounds=2)
    assert seen == [(0, 0, 528), (1, 2, 264), (2, 2, 132)]


def test_every_round_begins_in_the_modes_that_the_module_had():
    seen = []

    def careless(model):
        seen.append((model.training, model[3].weight.requires_grad, model[0].weight.grad is None))
        nn.functional.cross_entropy(model(X), Y).backward()
        model[3].weight.requires_grad_(False)

    found(train=careless, rounds=2)
    assert seen == [(True, True, True)] * 3, "evaluate calls eval(), and train froze a layer and left gradients"


def test_evaluate_is_checked_by_one_copy_of_the_weights_and_not_one_a_tensor(monkeypatch):
    copies = []
    flat_of = shadow.flat_of
    monkeypatch.setattr(shadow, "flat_of", lambda *given: (copies.append(1), flat_of(*given))[1])
    found(rounds=0, evaluate=lambda model: copies.clear() or 1.0)
    assert len(copies) == 1


def test_within_gives_the_smallest_network_that_scores_nearly_as_well():
    scores = iter([0.9, 0.89, 0.7, 0.6])
    ticket = found(evaluate=lambda model: next(scores), within=0.02)
    assert (ticket.made["round"], ticket.kept) == (1, 264)
    assert ticket.made["rounds"][1]["score"] == 0.89


def test_scores_keep_their_names_and_order_whatever_they_are_called():
    ticket = found(evaluate=lambda model: {"top5": 0.9, "loss": torch.tensor(0.25)}, rounds=1, within=0.0)
    assert ticket.made["rounds"][1] == {"round": 1, "kept_fraction": 0.5, "top5": 0.9, "loss": 0.25}


def test_one_kind_of_layer_may_be_named_without_a_list():
    assert found(rounds=1, layers="linear").kept == 264
    assert set(found(rounds=1, layers="3").masks) >= {"3.weight"}


class Killed(BaseException):
    """Not an Exception, as a KeyboardInterrupt is none."""


@pytest.mark.parametrize("reset", ["rewind", "rewind_lr", {"name": "rewind", "step": 3}])
@pytest.mark.parametrize("killed_in", [0, 1, 3])
def test_a_killed_search_goes_on_and_finds_the_same_ticket(tmp_path, reset, killed_in):
    trainings = []

    def counting(model):
        trainings.append(1)
        train(model, 5)
        if len(trainings) == killed_in + 1:
            raise Killed
        train(model, 5)

    with pytest.raises(Killed):
        found(train=counting, store=tmp_path / "s", name="mine", reset=reset)
    resumed = found(train=counting, store=tmp_path / "s", name="mine", reset=reset)
    assert len(trainings) == 5, "the round that was killed is trained again, and no other"
    undisturbed = found(train=lambda model: (train(model, 5), train(model, 5)), reset=reset)
    again = found(train=counting, store=tmp_path / "s", name="mine", reset=reset)
    assert len(trainings) == 5, "a finished search is read back"
    for ticket in (resumed, again):
        for part in ("masks", "initial", "trained"):
            assert same(dict(getattr(ticket, part)), dict(getattr(undisturbed, part)))
        assert ticket.made["rounds"] == undisturbed.made["rounds"]


def test_a_search_goes_on_from_its_own_start_and_says_so(tmp_path):
    first = found(store=tmp_path / "s", name="mine")
    with pytest.warns(UserWarning, match='the search "mine" in .* began from other weights'):
        again = found(network(7), store=tmp_path / "s", name="mine")
    assert same(dict(first.initial), dict(again.initial))


def test_a_damaged_state_is_told_and_the_search_begins_again(tmp_path):
    trainings = []

    def third_is_killed(model):
        train(model)
        trainings.append(1)
        if len(trainings) == 3:
            raise Killed

    with pytest.raises(Killed):
        found(train=third_is_killed, store=tmp_path / "s", name="mine")
    state_file = next((tmp_path / "s").rglob("state.safetensors"))
    state_file.write_bytes(state_file.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r'state\.safetensors is damaged, and not read\. The search "mine" goes on at round 0'):
        again = found(train=third_is_killed, store=tmp_path / "s", name="mine")
    assert len(trainings) == 3 + 4
    assert same(dict(again.trained), dict(found().trained))


def test_a_search_of_another_network_under_the_same_name_is_refused(tmp_path):
    found(store=tmp_path / "s", name="mine", rounds=0)
    with pytest.raises(UserError, match=r'"mine" in .* is of another network: 0\.weight has the shape \(24, 8\) there, and \(9, 8\)'):
        found(nn.Sequential(nn.Linear(8, 9), nn.Linear(9, 4)), store=tmp_path / "s", name="mine", rounds=0)


@pytest.mark.parametrize("wrap", [nn.DataParallel, partial(torch.compile, backend="eager")])
def test_a_wrapped_module_is_called_wrapped_and_its_ticket_has_the_modules_own_names(wrap, tmp_path):
    model, called = network(), []

    def noting(model):
        called.append(type(model))
        train(model)

    ticket = found(wrap(model), train=noting)
    plain = found()
    assert set(called) == {type(wrap(model))}
    for part in ("masks", "initial", "trained"):
        assert same(dict(getattr(ticket, part)), dict(getattr(plain, part)))
    assert same(dict(ticket.trained), {k: v for k, v in state(model).items() if v.is_floating_point()})


def test_a_store_needs_a_name(tmp_path):
    with pytest.raises(UserError, match='Say name = "my-network"'):
        found(store=tmp_path / "s")


def nan(model):
    return float("nan")


def diverging(model):
    with torch.no_grad():
        model[3].weight.fill_(float("inf"))


def replacing(model):
    model[3] = nn.Linear(24, 12)


def reassigning(model):
    model[3].weight = nn.Parameter(torch.ones(12, 24))


def breaking(model):
    with torch.no_grad():
        model[3].weight += 1


def moving(model):
    with torch.no_grad():
        model[0].bias += 1
    return 0.5


@pytest.mark.parametrize(("how", "says"), [
    ({"evaluate": nan}, "evaluate gave NaN as score"),
    ({"evaluate": lambda model: None}, "evaluate gave a NoneType. Return a number"),
    ({"evaluate": 0.5, "train": "train"}, "find_ticket: train is no function.*\n.*evaluate is no function"),
    ({"evaluate": lambda model: {"round": 3}}, 'a score of the name "round"'),
    ({"train": lambda model: copy.deepcopy(model)}, "train gave another module than the one it was given"),
    ({"evaluate": moving}, r"evaluate changed 0\.bias"),
    ({"train": diverging}, r"3\.weight is not finite after train in round 0: it diverged"),
    ({"train": replacing}, r"train put another tensor in place of 3\.weight in round 0"),
    ({"train": reassigning}, r"3\.weight"),
    ({"train": breaking}, r"masks: 3: .* dead of its weight \(3\.weight\) are not 0"),
    ({"criterion": "snip"}, 'criterion = "snip": needs training data, and there is none here. Give it as data'),
    ({"criterion": "magnitud"}, 'Did you mean "magnitude"'),
    ({"keep": 0.1, "rounds": 9}, r"round 4 of 9 would keep no weight at all\. Keep more a round, or say rounds = 3"),
    ({"keep": 1.5}, "find_ticket: keep = 1.5: expected"),
    ({"layers": ["conv"]}, 'prune_layers = "conv"'),
    ({"lerning_rate": 1}, "find_ticket: lerning_rate: no argument of that name"),
    ({"reset": {"name": "rewind", "step": 99}}, "goes back to step 99, and train made 12 steps"),
    ({"control": "transplant"}, "takes the masks of a cell of a study"),
    ({"data": [], "criterion": "snip"}, "there is no batch in it"),
    ({"data": [], "criterion": "synflow"}, "there is no batch in it"),
    ({"data": iter(DATA), "criterion": "snip"}, "data: a list_iterator cannot be gone through more than once"),
    ({"data": (X, Y), "criterion": "snip"}, r"a batch is a Tensor.* data=\[\(inputs, labels\)\]"),
    ({"data": DATA, "criterion": "snip", "loss": lambda output, labels: 3}, "loss: gave a int. Give one number"),
    ({"data": DATA, "criterion": "snip", "loss": nn.CrossEntropyLoss(reduction="none")}, r"loss: gave the shape \(32,\)"),
])
def test_a_mistake_is_one_clear_line_and_the_module_is_as_it_was(how, says):
    model = network()
    first, parameters = state(model), dict(model.named_parameters())
    with pytest.raises(UserError, match=says):
        found(model, **how)
    assert same(state(model), first)
    assert all(now is parameters[name] for name, now in model.named_parameters())
    assert all(each.training for each in model.modules())


def scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(8, 4)))


def pruned_by_torch():
    model = network()
    torch.nn.utils.prune.l1_unstructured(model[3], "weight", amount=0.5)
    return model


def on_meta():
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(8, 4))


@pytest.mark.parametrize(("make", "says"), [
    (lambda: [1], "find_ticket: a list was given. Give a module"),
    (lambda: nn.Sequential(nn.LazyLinear(4)), r"0\.weight is not a plain tensor .* Put one batch through"),
    (on_meta, r"0\.weight is not a plain tensor"),
    (pruned_by_torch, r"torch\.nn\.utils\.prune is at work in Sequential"),
])
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(make, says):
    with pytest.raises(UserError, match=says):
        found(make())


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
def test_a_module_of_torchscript_is_refused():
    with pytest.raises(UserError, match="Give the module that it was made of"):
        found(scripted())


def test_cross_entropy_of_one_number_is_refused_because_it_has_no_gradient():
    model, data = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 1)), [(X, X[:, :1])]
    how = {"criterion": "snip", "data": data, "evaluate": lambda model: 1.0, "train": lambda model: None, "rounds": 1}
    with pytest.raises(UserError, match=r"loss: the network gives the shape \(64, 1\), and cross-entropy takes .*MSELoss"):
        found(model, **how)
    assert found(model, **how, loss=nn.MSELoss()).kept == 18


class Growing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.register_buffer("seen", torch.zeros(8))

    def forward(self, x):
        self.seen = torch.cat([self.seen, x.mean(0)])
        return self.layer(x)


def test_a_buffer_that_grows_is_refused_by_name_and_shrinks_again():
    model = Growing()
    with pytest.raises(UserError, match=r"Growing: seen had the shape \(8,\) at first"):
        found(model)
    assert model.seen.shape == (8,)


def test_weights_that_were_trained_already_are_where_it_begins():
    model = network()
    train(model, 40)
    trained = state(model)
    ticket = found(model, train=lambda model: None, rounds=1)
    mask = ticket.masks["0.weight"]
    assert torch.equal(ticket.trained["0.weight"], torch.where(mask, trained["0.weight"], 0.0))


def test_a_module_of_half_precision_keeps_its_type():
    model = network().bfloat16()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ticket = found(model, train=lambda model: None, evaluate=lambda model: 1.0, rounds=1)
    assert {value.dtype for value in ticket.trained.values()} == {torch.bfloat16}
    assert model[0].weight.dtype == torch.bfloat16


class Called(nn.Module):
    """A network called by name, which gives an object with its loss, as those of transformers do."""

    def __init__(self):
        super().__init__()
        self.embed, self.attend, self.out = nn.Embedding(11, 8), nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 11)
        self.out.weight = self.embed.weight

    def forward(self, input_ids, labels=None):
        x = self.embed(input_ids)
        logits = self.out(x + self.attend(x, x, x, need_weights=False)[0])
        loss = None if labels is None else nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return type("Output", (), {"loss": loss, "logits": logits})()


def test_attention_and_shared_embeddings_are_pruned_by_gradients_of_the_networks_own_loss():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Called()
    tokens = torch.arange(40).view(4, 10) % 11
    batch = {"input_ids": tokens, "labels": tokens}

    def fit(model):
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimiser.zero_grad()
            model(**batch).loss.backward()
            optimiser.step()

    ticket = find_ticket(model, fit, lambda model: -model(**batch).loss, criterion="snip", data=[batch], rounds=2,
                         keep=0.5, progress=False)
    assert set(ticket.masks) == {"embed.weight", "attend.in_proj_weight", "attend.out_proj.weight"}
    assert ticket.kept == (88 + 192 + 64) // 4
    with pytest.raises(UserError, match="reads whole numbers"):
        find_ticket(model, fit, lambda model: 0.0, criterion="synflow", data=[batch], rounds=1, progress=False)


def test_the_progress_says_what_is_not_pruned(capsys):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.read, self.out = nn.LSTM(8, 6), nn.Linear(6, 4)

        def forward(self, x):
            return self.out(self.read(x)[0])

    found(Reads(), rounds=0, progress=True)
    assert capsys.readouterr().err.splitlines()[0] == "not pruned: read.weight_ih_l0 (LSTM), read.weight_hh_l0 (LSTM)"


def test_the_progress_says_where_a_layer_is_empty_and_where_training_did_nothing(capsys):
    model = network()
    with torch.no_grad():
        model[5].weight.mul_(1e-3)
    found(model, train=lambda model: None, rounds=1, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert "no weight left" not in lines[0]
    assert lines[0].endswith("  train changed no weight")
    assert lines[1].endswith("  no weight left in 5  train changed no weight")


def test_a_round_without_a_weight_is_refused_where_it_could_not_be_told_before():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
    with pytest.raises(UserError, match=r"round 2 has no weight left.*allocation = .per_layer."):
        found(model, granularity="unit", criterion="unit_l2", data=DATA, rounds=2, train=lambda model: None)


def test_a_ticket_goes_into_a_wrapped_module():
    model = network(3)
    ticket = found()
    ticket.apply(nn.DataParallel(model))
    assert same(dict(ticket.trained), {k: v for k, v in state(model).items() if v.is_floating_point()})


def test_progress_is_a_line_a_round(capsys):
    found(rounds=1, progress=True)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[1].startswith("round 1 of 1: 50.0% kept, score 0.")
