"""A stack against one cell at a time: the same numbers to rounding, whoever the neighbours are. On CUDA too, where there is one."""

import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sweepstake.base.cell import Cell
from sweepstake.base.errors import BrokenControl, UserError
from sweepstake.engine import side_by_side, stacked, stand_ins, streams
from sweepstake.engine.fast import FastTrainer
from sweepstake.engine.images import Images, prepare
from sweepstake.engine.memory import stack_limit
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import State, first_state, run_rounds
from sweepstake.engine.side_by_side import run_stack, train_in_stacks
from sweepstake.engine.stacked import StackTrainer
from sweepstake.engine.train import Start, Trained
from sweepstake.pieces import model
from tests.helpers import make_cell, masks_of_donor, tiny_images

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SMALL = ("mlp", {"hidden": [20, 12]})


class Conv(nn.Module):
    """A module as a user would write it; `norm` and `draws` for what some tests ask of it."""

    def __init__(self, classes: int, norm: bool, draws: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=not norm)
        self.norm1 = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.fc1 = nn.Linear(6 * 2 * 2, classes)
        self.draws = draws

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(torch.relu_(self.norm1(self.conv1(x))), 2)
        x = self.fc1(self.conv2(x).relu().flatten(1))
        return x + torch.rand_like(x) if self.draws else x


@pytest.fixture
def conv():
    @model
    def stack_test_conv(classes, *, norm: bool = False, draws: bool = False):
        """Two convolutions and a layer (this test)."""
        return Conv(classes, norm, draws)

    yield "stack_test_conv"
    del model.pieces["stack_test_conv"]


def start_of(trainer: StackTrainer | ReferenceTrainer, cell: Cell, density: float) -> Start:
    start = first_state(trainer, cell).start
    mask = torch.rand(start.w.shape, generator=torch.Generator().manual_seed(cell.seed)) < density
    return Start(start.w * mask, mask)


def both(cells: list[Cell], densities: list[float], device: str = "cpu") -> list[tuple[Trained, Trained, Start]]:
    """Each cell's round in a stack, and alone through `train.Trainer`."""
    images = prepare(cells[0], tiny_images(200, 50))
    stack = StackTrainer(cells, images, device)
    starts = [start_of(stack, cell, density) for cell, density in zip(cells, densities, strict=True)]
    alone = [ReferenceTrainer(cell, images).train(cell, start, 0) for cell, start in zip(cells, starts, strict=True)]
    return list(zip(stack.train(starts, 0), alone, starts, strict=True))


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


PROGRAMS = {
    "adam": [{"lr": 0.001, "init": "xavier_normal"}, {"lr": 0.01, "init": "kaiming_uniform"}, {"lr": 0.003, "weight_decay": 0.01}],
    "adamw": [{"lr": 0.001, "weight_decay": 0.1}, {"lr": 0.01, "lr_schedule": "cosine"}, {"lr": 0.01, "lr_schedule": "warmup"}],
    "sgd": [{"lr": 0.02, "momentum": 0.9, "weight_decay": 0.001}, {"lr": 0.1}, {"lr": 0.05, "momentum": 0.5}],
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("optimiser", PROGRAMS)
def test_a_stack_trains_each_cell_as_it_trains_alone(conv, optimiser, network, device):
    chosen = SMALL if network == "mlp" else conv
    cells = [make_cell(seed=seed, steps=50, validation=40, eval_every=10, model=chosen, optimiser=optimiser, **changes)
             for seed, changes in enumerate(PROGRAMS[optimiser])]

    for stack, alone, start in both(cells, [1.0, 0.4, 0.05], device):
        assert off(stack.w_final, alone.w_final) < 1e-4
        assert not stack.w_final[~start.mask].any()
        assert stack.early_step == alone.early_step
        assert off(stack.w_early, alone.w_early) < 1e-4
        assert stack.curve["step"] == alone.curve["step"] == [0, 10, 20, 30, 40, 50]
        assert stack.curve.keys() == alone.curve.keys()
        assert stack.curve["validation_loss"] == pytest.approx(alone.curve["validation_loss"], rel=1e-4)
        assert stack.curve["train_loss"][1:] == pytest.approx(alone.curve["train_loss"][1:], rel=1e-4)
        assert len(stack.moments) == len(alone.moments)
        assert all(off(a, b) < 1e-4 for a, b in zip(stack.moments, alone.moments, strict=True) if b.any())


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-6), ("bfloat16", 0.05)])
def test_the_arithmetic_is_the_precision_asked_for(precision, tolerance):
    cells = [make_cell(seed=seed, steps=20, precision=precision, model=SMALL) for seed in range(2)]

    for stack, alone, _ in both(cells, [1.0, 0.3]):
        assert stack.w_final.dtype == alone.w_final.dtype
        assert off(stack.w_final, alone.w_final) < tolerance


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 0.01), ("bfloat16", 0.03)])
@pytest.mark.parametrize("chosen", [
    ("lenet5", {"norm": "batch"}), ("lenet5", {"norm": "group"}), ("mlp", {"hidden": [20], "norm": "batch"}),
    *(pytest.param(("resnet20", {"width": 0.25, **more}), marks=pytest.mark.long) for more in ({}, {"norm": "group"}))], ids=str)
def test_networks_with_norms_train_in_a_stack_of_one_and_of_two(chosen, precision, tolerance, count, device):
    """In float32 a gradient that is all rounding, before a norm, becomes whole steps of Adam: hence a hundredth."""
    cells = [make_cell(seed=seed, steps=8, precision=precision, model=chosen) for seed in range(count)]
    images = prepare(cells[0], tiny_images(200, 50, (1, 32, 32)))
    stack = StackTrainer(cells, images, device)
    starts = [start_of(stack, cell, 0.5) for cell in cells]
    for cell, start, each in zip(cells, starts, stack.train(starts, 0), strict=True):
        alone = ReferenceTrainer(cell, images).train(cell, start, 0)
        assert off(each.w_final, alone.w_final) < tolerance
        assert each.curve["test_loss"][-1] == pytest.approx(alone.curve["test_loss"][-1], rel=tolerance)


def test_a_mapped_convolution_is_in_the_precision_asked_for():
    answered = []
    layer = stand_ins.for_stacks(nn.Sequential(nn.Conv2d(1, 2, 3)))[0]
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        torch.func.vmap(lambda x: answered.append(layer(x).dtype) or x)(torch.rand(2, 4, 1, 8, 8))
    assert answered == [torch.bfloat16] and layer(torch.rand(4, 1, 8, 8)).dtype == torch.float32


def test_a_norm_answers_in_its_inputs_precision_and_counts_in_float32():
    layer = stand_ins.for_stacks(nn.Sequential(nn.BatchNorm2d(3, affine=False)))[0]
    x = torch.rand(4, 3, 5, 5)
    assert layer(x.bfloat16()).dtype == torch.bfloat16 and layer(x).dtype == torch.float32
    assert layer.double()(x.double()).dtype == torch.float64
    assert layer.state_dict().keys() == nn.Sequential(nn.BatchNorm2d(3, affine=False)).state_dict().keys()


def test_float32_is_float32_inside_and_what_was_allowed_outside_comes_back():
    torch.set_float32_matmul_precision("high")
    try:
        with stacked._exact(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_one_order_of_the_data_is_gathered_once_for_all():
    cells = [make_cell(seed=seed, order_seed=5, steps=30, model=SMALL) for seed in range(3)]
    images = prepare(cells[0], tiny_images(200, 50))

    assert StackTrainer(cells, images).order.shape == (30, 1, 60)
    for stack, alone, _ in both(cells, [1.0, 1.0, 0.2]):
        assert off(stack.w_final, alone.w_final) < 1e-4


class Watched(TorchDispatchMode):
    """Notes what a recorded step may not do: ask for a number on the host, or meet a tensor of another device."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []  # Not raised at once: choosing an overload swallows errors.

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        devices = {each.device.type for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        if len(devices) > 1 or func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            self.seen.append(f"{func} on {devices}")
        return None if devices == {"meta"} and "_fused_" in str(func) else func(*args, **kwargs or {})  # They have no meta kernels.


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_step_stays_on_its_device_so_that_it_can_be_recorded(conv, network, optimiser, device):
    chosen = conv if network == "conv" else ("mlp", {"hidden": [20], "dropout": 0.5})
    momentum = 0.9 if optimiser == "sgd" else 0.0
    cells = [make_cell(seed=seed, steps=5, optimiser=optimiser, momentum=momentum, lr_schedule="cosine", model=chosen) for seed in range(2)]
    stack = StackTrainer(cells, prepare(cells[0], tiny_images(200, 50)), device)
    stack.prepare([start_of(stack, cell, 0.5) for cell in cells], 0)

    with Watched() as watched:
        stack._step()

    assert watched.seen == []


def test_what_rehearsals_left_is_gone_when_the_round_begins(monkeypatch):
    cells = [make_cell(seed=seed, steps=2, model=SMALL) for seed in range(2)]
    images = prepare(cells[0], tiny_images(200, 50))
    plain, rehearsed = (StackTrainer(cells, images) for _ in range(2))
    starts = [start_of(plain, cell, 0.5) for cell in cells]

    def rehearse_thrice(step, rehearse, device):
        for _ in range(3):
            rehearse()
        return step

    expected = plain.train(starts, 0)
    monkeypatch.setattr(stacked, "recorded", rehearse_thrice)

    for a, b in zip(expected, rehearsed.train(starts, 0), strict=True):
        assert torch.equal(a.w_final, b.w_final)
        assert a.curve["test_loss"] == b.curve["test_loss"]
        assert a.curve["train_loss"][1:] == b.curve["train_loss"][1:]
        assert all(torch.equal(x, y) for x, y in zip(a.moments, b.moments, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_each_cell_keeps_the_statistics_of_its_own_batch_norms(conv, device):
    cells = [make_cell(seed=seed, steps=30, model=(conv, {"norm": True})) for seed in range(3)]

    pairs = both(cells, [1.0, 0.5, 0.2], device)

    for stack, alone, _ in pairs:
        assert off(stack.w_final, alone.w_final) < 1e-4
        assert stack.curve["test_loss"] == pytest.approx(alone.curve["test_loss"], rel=1e-3)
    assert not torch.equal(pairs[0][0].w_final[-4:], pairs[1][0].w_final[-4:])  # The running variances.


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_cell_among_five_is_the_cell_alone(dropout):
    network = ("mlp", {"hidden": [20, 12], "dropout": dropout})
    cells = [make_cell(seed=seed, steps=40, lr=0.002 * (seed + 1), model=network) for seed in range(5)]
    images = prepare(cells[0], tiny_images(200, 50))
    stack = StackTrainer(cells, images)

    among = stack.train([start_of(stack, cell, 0.5) for cell in cells], 0)[3]
    alone = StackTrainer([cells[3]], images).train([start_of(stack, cells[3], 0.5)], 0)[0]

    assert off(among.w_final, alone.w_final) < 1e-5


def test_a_stack_repeats_itself_bit_for_bit():
    cells = [make_cell(seed=seed, steps=20, model=("mlp", {"hidden": [20], "dropout": 0.5})) for seed in range(3)]
    stack = StackTrainer(cells, prepare(cells[0], tiny_images(200, 50)))
    starts = [start_of(stack, cell, 0.7) for cell in cells]

    first, _, again = stack.train(starts, 0), stack.train(starts, 1), stack.train(starts, 0)

    assert all(torch.equal(a.w_final, b.w_final) for a, b in zip(first, again, strict=True))


def test_dropout_drops_its_share_anew_for_each_cell_step_layer_and_image():
    layer = stand_ins.KeyedDropout(0.3, None).train()
    draws = []
    for key in (1, 2):
        layer.calls, layer.key = 0, stand_ins.mixed(torch.tensor(key))
        draws += [layer(torch.ones(100, 200)) for _ in range(2)]

    for drawn in draws:
        assert abs(float((drawn == 0).double().mean()) - 0.3) < 0.015
        assert drawn.unique().tolist() == pytest.approx([0, 1 / 0.7])
        assert abs(float((drawn == 0).double().mean(1).std()) - (0.3 * 0.7 / 200) ** 0.5) < 0.008
    flat = torch.stack(draws).flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(4)).abs().max() < 0.03
    assert abs(float(torch.corrcoef(torch.stack([flat[0, 1:], flat[0, :-1]]))[0, 1])) < 0.03


def test_dropout_draws_anew_for_each_cell_step_and_round():
    cells = [make_cell(seed=seed, steps=5, model=("mlp", {"hidden": [200], "dropout": 0.5})) for seed in range(2)]
    images = prepare(cells[0], tiny_images(200, 50))
    stack = StackTrainer(cells, images)
    same = start_of(stack, cells[0], 1.0)
    logits = []
    for round_, step in [(0, 0), (0, 1), (1, 0), (0, 0)]:
        stack.prepare([same, same], round_)
        stack.t += step
        stack._module.train()
        logits.append(stack._forward(images.batch(images.test.x[:3], torch.float32), of_each=False).detach())

    assert torch.equal(logits[0], logits[3])
    drawn = torch.cat(logits[:3])
    assert all(not torch.equal(drawn[i], drawn[j]) for i in range(6) for j in range(i))


def test_dropout_changes_what_is_learnt_and_rests_when_measured():
    cells = [make_cell(steps=30, model=("mlp", {"hidden": [20], "dropout": p})) for p in (0.0, 0.5)]
    images = prepare(cells[0], tiny_images(200, 50))
    without, with_ = (StackTrainer([cell], images) for cell in cells)
    start = start_of(without, cells[0], 1.0)

    assert off(with_.train([start], 0)[0].w_final, without.train([start], 0)[0].w_final) > 0.01
    assert with_.measure([start.w]) == without.measure([start.w])


def test_a_neighbour_that_diverges_disturbs_nobody_and_ends_at_that_point():
    cells = [make_cell(seed=seed, steps=40, eval_every=10, optimiser="sgd", lr=lr, model=SMALL)
             for seed, lr in enumerate([0.1, 1e9, 0.1])]

    pairs = both(cells, [1.0, 1.0, 0.5])

    assert [stack.diverged for stack, _, _ in pairs] == [False, True, False]
    for stack, alone, _ in pairs:
        assert stack.curve["step"] == alone.curve["step"]
    assert pairs[1][0].curve["step"] == [0, 10]
    assert all(off(pairs[i][0].w_final, pairs[i][1].w_final) < 1e-4 for i in (0, 2))


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_kept_moments_are_gone_on_from(optimiser):
    momentum = 0.9 if optimiser == "sgd" else 0.0
    cells = [make_cell(seed=seed, steps=20, optimiser=optimiser, momentum=momentum, lr=0.01, model=SMALL) for seed in range(2)]
    images = prepare(cells[0], tiny_images(200, 50))
    stack = StackTrainer(cells, images)
    began = [start_of(stack, cell, 1.0) for cell in cells]
    half = torch.rand(began[0].w.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    starts = [Start(each.w_final * half, half, each.moments) for each in stack.train(began, 0)]

    kept = stack.train(starts, 1)
    cleared = stack.train([Start(start.w, half) for start in starts], 1)

    for cell, start, each, other in zip(cells, starts, kept, cleared, strict=True):
        assert off(each.w_final, ReferenceTrainer(cell, images).train(cell, start, 1).w_final) < 1e-4
        assert not each.w_final[~half].any()
        assert off(each.w_final, other.w_final) > 1e-3


def test_the_rewind_step_is_each_cells_own():
    cells = [make_cell(seed=seed, steps=20, reset=("rewind", {"step": step}), model=SMALL) for seed, step in enumerate([0, 7, 20])]

    pairs = both(cells, [1.0, 1.0, 0.5])

    for stack, alone, _ in pairs:
        assert off(stack.w_step, alone.w_step) < 1e-5
    assert torch.equal(pairs[0][0].w_step, pairs[0][2].w)
    assert torch.equal(pairs[2][0].w_step, pairs[2][0].w_final)


def test_no_steps_is_no_training():
    cells = [make_cell(seed=seed, steps=0, model=SMALL) for seed in range(2)]

    for stack, alone, start in both(cells, [1.0, 0.5]):
        assert torch.equal(stack.w_final, start.w)
        assert stack.moments == alone.moments == []
        assert stack.curve["test_accuracy"] == alone.curve["test_accuracy"]


@pytest.mark.parametrize("device", DEVICES)
def test_measuring_counts_every_image_once(device):
    cells = [make_cell(seed=seed, validation=30, model=SMALL) for seed in range(2)]
    images = prepare(cells[0], tiny_images(330, 270))
    stack = StackTrainer(cells, images, device)
    ws = [first_state(stack, cell).start.w for cell in cells]

    for cell, w, seen in zip(cells, ws, stack.measure(ws), strict=True):
        alone = ReferenceTrainer(cell, images).measure(w)
        for split, count in {"train": 300, "validation": 30, "test": 270}.items():
            assert seen[split]["count"] == count
            assert seen[split]["correct"] == alone[split]["correct"]
            assert seen[split]["loss"] == pytest.approx(alone[split]["loss"], rel=1e-5)


def sweep(**changes) -> tuple[list[Cell], Images]:
    fixed = {"steps": 40, "rounds": 2, "keep": 0.5, "validation": 40, "eval_every": 10, "model": SMALL, "lr": 0.005}
    cells = [make_cell(seed=seed, **fixed, **changes) for seed in range(3)]
    return cells, prepare(cells[0], tiny_images(200, 50))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("changes", [
    {}, {"allocation": "everywhere", "reset": ("rewind", {"step": 5})}, {"reset": "none", "optimiser_state": "kept"},
    {"criterion": "snip", "prune_when": "before"}, {"control": "transplant", "donor": {"seed": 9}}])
def test_a_whole_study_finds_the_masks_it_finds_one_cell_at_a_time(changes, device):
    cells, images = sweep(**changes)
    stack = StackTrainer(cells, images, device)
    states = [first_state(ReferenceTrainer(cell, images), cell) for cell in cells]
    donors = [masks_of_donor(stack, cell) for cell in cells]
    ended = run_stack(stack, cells, states, donors=donors)
    finished = {(i, record["round"]): (record, state) for i, record, state in ended}

    assert len(finished) == 9
    for i, cell in enumerate(cells):
        alone = ReferenceTrainer(cell, images)
        for record, state in run_rounds(alone, cell, first_state(alone, cell), donor_masks=donors[i]):
            same, at = finished[i, record["round"]]
            assert torch.equal(at.start.mask, state.start.mask)
            assert same["kept_by_layer"] == record["kept_by_layer"]
            assert same["early"]["step"] == record["early"]["step"]
            assert same["early"]["test"]["loss"] == pytest.approx(record["early"]["test"]["loss"], rel=1e-3)
            assert same["end"]["test"]["loss"] == pytest.approx(record["end"]["test"]["loss"], rel=1e-3)
            assert same["proofs"].keys() == record["proofs"].keys()


def test_cells_that_are_behind_catch_up_and_one_that_ends_leaves():
    cells, images = sweep()
    stack = StackTrainer(cells, images)
    states = [first_state(stack, cell) for cell in cells]
    whole = {(i, record["round"]): state for i, record, state in run_stack(stack, cells, states)}

    resumed = list(run_stack(stack, cells, [whole[0, 0], whole[1, 2], states[2]]))

    assert [(i, record["round"]) for i, record, _ in resumed] == [(2, 0), (0, 1), (2, 1), (0, 2), (2, 2)]
    for i, record, state in resumed:
        assert torch.equal(state.start.mask, whole[i, record["round"]].start.mask)


def test_a_broken_control_ends_its_cell_by_name_and_no_other(monkeypatch):
    cells, images = sweep()
    stack = StackTrainer(cells, images)
    finish = side_by_side.finish_round

    def broken(setting, *rest):
        if setting.cell.seed == 1:
            raise BrokenControl("fc1 keeps 3 where 2 were asked")
        return finish(setting, *rest)

    monkeypatch.setattr(side_by_side, "finish_round", broken)
    said = list(run_stack(stack, cells, [first_state(stack, cell) for cell in cells]))

    assert [(i, state is None) for i, _, state in said] == [(0, False), (1, True), (2, False)] + [(0, False), (2, False)] * 2
    assert str(said[1][1]) == "fc1 keeps 3 where 2 were asked"


def test_a_module_that_draws_by_itself_is_told_before_it_trains(conv):
    cells = [make_cell(model=(conv, {"draws": True}))]

    with pytest.raises(UserError, match=r'^model = "stack_test_conv": cannot be trained in a stack: .*random.*nn.Dropout in it.$'):
        StackTrainer(cells, prepare(cells[0], tiny_images(200, 50)))


# Memory

def card_of(most: int, log: list[list[int]], error: Exception | None = None):
    """A device on which `most` cells fit: a larger stack runs out in its second round."""
    def run(cells, states, names):
        log.append([cell.seed for cell in cells])
        for round_ in range(3):
            if round_ == 1 and len(cells) > most:
                raise error or torch.cuda.OutOfMemoryError("CUDA out of memory.")
            for seat, state in enumerate(states):
                if state.round == round_:
                    states[seat] = State(round_ + 1, state.start)
                    yield seat, {"round": round_, "name": names[seat]}, states[seat]
    return run


@pytest.mark.parametrize("error", [
    None, RuntimeError("CUDA error: out of memory"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")], ids=str)
def test_out_of_memory_halves_the_stack_and_goes_on_from_its_last_rounds(error):
    cells = [make_cell(seed=seed, rounds=2) for seed in range(7)]
    blank, log = State(0, Start(torch.zeros(1), torch.ones(1, dtype=torch.bool))), []

    finished = [(i, record["round"], record["name"])
                for i, record, _ in train_in_stacks(cells, [blank] * 7, list("abcdefg"), 6, card_of(2, log, error))]

    assert log == [[0, 1, 2, 3, 4, 5], [0, 1, 2], [0, 1], [2, 3], [4, 5], [6]]
    assert sorted(finished) == [(i, round_, "abcdefg"[i]) for i in range(7) for round_ in range(3)]


def test_another_error_of_a_device_is_not_taken_for_a_full_one():
    cells, start = [make_cell(rounds=2)] * 2, Start(torch.zeros(1), torch.ones(1, dtype=torch.bool))

    with pytest.raises(RuntimeError, match="illegal address"):
        list(train_in_stacks(cells, [State(0, start)] * 2, ["", ""], 4, card_of(0, [], RuntimeError("CUDA error: illegal address"))))


def test_a_cell_too_large_for_the_device_is_told():
    cells, start = [make_cell(rounds=2)], Start(torch.zeros(1), torch.ones(1, dtype=torch.bool))

    with pytest.raises(UserError, match="one cell alone does not fit on the device"):
        list(train_in_stacks(cells, [State(0, start)], [""], 4, card_of(0, [])))


def test_stacks_are_sized_to_the_memory_there_is():
    cells = [make_cell(seed=seed, model=("mlp", {"hidden": [300, 100]})) for seed in range(88)]
    images = prepare(cells[0], tiny_images(200, 50))
    limits = [stack_limit(cells, images, budget=budget) for budget in (0, 20_000_000, 40_000_000, 10**10)]

    assert limits[0] == 1 < limits[1] < limits[2] < limits[3] == 88
    assert limits[2] in (2 * limits[1], 2 * limits[1] + 1)
    assert stack_limit(cells, images) == 88


# The bench

@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("bench_gpu", Path(__file__).parents[2] / "bench" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bench_runs_the_shipped_study(bench, capsys):
    assert bench.main(["--device", "cpu", "--cells", "2", "--steps", "2", "--repeats", "1", "--images", "120"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["cells"], said["steps_a_cell"], said["extrapolated_from_steps"]) == (2, 20 * 10, 2)
    assert said["off_cpu_after_50_steps"] < 1e-4
    assert said["card"].startswith("none")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_bench_says_so_where_there_is_no_gpu(bench, capsys):
    assert bench.main([]) == 0
    assert capsys.readouterr().out == "bench/gpu.py: no CUDA device on this machine, so nothing was measured.\n"


class Rewound:
    """Round 1 from step 7 of 20 by torch.optim and nothing of the engine's loops."""

    def __init__(self, cell: Cell, images: Images, start: Start):
        trainer = ReferenceTrainer(cell, images)
        net = trainer.net
        weights = [slot.of(start.w).clone().requires_grad_() for slot in net.slots]
        alive = [slot.of(start.mask) for slot in net.slots]
        optimiser = torch.optim.Adam(weights, lr=cell.lr)
        if start.moments:
            first, second, done = start.moments
            for slot, weight, live in zip(net.slots, weights, alive, strict=True):
                optimiser.state[weight] = {"step": done.clone(), "exp_avg": slot.of(first) * live, "exp_avg_sq": slot.of(second) * live}
        order = streams.batch_order(len(images.train.y), 60, 20, cell.seed, 1)
        for step in range(7, 20):
            optimiser.param_groups[0]["lr"] = cell.lr * 0.5 * (1 + math.cos(math.pi * step / 20))
            chosen = order[step].long()
            named = dict(zip((slot.name for slot in net.slots), weights, strict=True))
            logits = torch.func.functional_call(net.module, named, (images.batch(images.train.x[chosen], torch.float32),))
            optimiser.zero_grad()
            nn.functional.cross_entropy(logits, images.train.y[chosen]).backward()
            for weight, live in zip(weights, alive, strict=True):
                weight.grad *= live
            optimiser.step()
        self.w = torch.cat([weight.detach().flatten() for weight in weights])


@pytest.mark.parametrize(("state", "done"), [("cleared", 13), ("kept", 33)])
def test_rewound_to_step_7_of_20_every_engine_takes_the_13_steps_from_there_at_their_rates(state, done):
    cell = make_cell(seed=1, steps=20, eval_every=5, lr=0.005, lr_schedule="cosine", reset=("rewind", {"step": 7}), model=SMALL,
                     optimiser_state=state)
    images = prepare(cell, tiny_images(200, 50))
    start = start_of(ReferenceTrainer(cell, images), cell, 0.6)
    if state == "kept":
        start.moments = ReferenceTrainer(cell, images).train(cell, start, 0).moments
        assert float(start.moments[2]) == 20
    expected = Rewound(cell, images, start).w
    trained = {"reference": ReferenceTrainer(cell, images).train(cell, start, 1), "fast": FastTrainer(cell, images).train(cell, start, 1),
               "stacked": StackTrainer([cell], images).train([start], 1)[0]}

    for name, each in trained.items():
        assert each.curve["step"] == [7, 10, 15, 20], name
        assert [math.isnan(loss) for loss in each.curve["train_loss"]] == [True, False, False, False], name
        assert off(each.w_final, expected) < 1e-4, name
        assert float(each.moments[2]) == done, name
    for name in ("fast", "stacked"):
        assert trained[name].curve["train_loss"][1:] == pytest.approx(trained["reference"].curve["train_loss"][1:], rel=1e-4)


def test_rewound_to_step_7_a_dropout_draws_in_the_fast_trainer_what_it_draws_in_the_reference():
    cell = make_cell(seed=1, steps=20, reset=("rewind", {"step": 7}), model=("mlp", {"hidden": [20, 12], "dropout": 0.3}))
    images = prepare(cell, tiny_images(200, 50))
    start = start_of(ReferenceTrainer(cell, images), cell, 0.6)
    assert off(FastTrainer(cell, images).train(cell, start, 1).w_final, ReferenceTrainer(cell, images).train(cell, start, 1).w_final) < 1e-4


@pytest.mark.parametrize("name", ["reference", "fast", "stacked"])
def test_every_round_has_a_dropout_draw_of_its_own(monkeypatch, name):
    """The order of the images is taken out: without dropout the two rounds are one."""
    honest = streams.batch_order
    monkeypatch.setattr(streams, "batch_order", lambda n, batch, steps, seed, round_: honest(n, batch, steps, seed, 0))
    for p in (0.0, 0.3):
        cell = make_cell(steps=5, model=("mlp", {"hidden": [20, 12], "dropout": p}))
        images = prepare(cell, tiny_images(200, 50))
        start = start_of(ReferenceTrainer(cell, images), cell, 0.6)
        if name == "stacked":
            ends = [StackTrainer([cell], images).train([start], round_)[0].w_final for round_ in (0, 1)]
        else:
            trainer = (ReferenceTrainer if name == "reference" else FastTrainer)(cell, images)
            ends = [trainer.train(cell, start, round_).w_final for round_ in (0, 1)]
        assert torch.equal(*ends) == (p == 0.0)
