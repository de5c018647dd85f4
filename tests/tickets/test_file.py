"""A ticket's file gives back every bit of the ticket, or says in one line why not."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import sweepstake as ss
from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine.build import build_net, draw_init
from sweepstake.pieces import code_hash, hash_of
from sweepstake.run.sealed import seal_tensors
from sweepstake.tickets.names import tensors_by_name
from sweepstake.tickets.ticket import Ticket, load_ticket
from tests.helpers import make_cell

BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}


def bits_of(values: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, list[int]]]:
    """Every bit, so that NaN equals itself and -0 is not 0."""
    return {name: (value.dtype, value.contiguous().view(BITS[value.dtype]).flatten().tolist())
            for name, value in values.items()}


def lenet() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))


def masked(module: nn.Module, kept: float, seed: int = 0) -> Ticket:
    """A ticket of a module by a random mask on every matrix; its trained weights are the initial ones plus 1."""
    draw = torch.Generator().manual_seed(seed)
    values = {name: value.detach().clone() for name, value in tensors_by_name(module).items()}
    masks = {name: torch.rand(value.shape, generator=draw) < kept for name, value in values.items() if value.dim() > 1}
    for name, mask in masks.items():
        values[name][~mask] = 0
    trained = {name: torch.where(masks.get(name, torch.ones(())).bool(), value + 1, 0) for name, value in values.items()}
    return Ticket(masks, values, trained, {"round": 3, "kept_fraction": kept})


def small(dtype: torch.dtype = torch.float32) -> Ticket:
    return masked(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 5)).to(dtype), 0.3)


def draw(fields: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Tensor]]:
    """What a study's cell says of its module, on images of 28 x 28."""
    cell = msgspec.convert(fields, Cell)
    net = build_net(cell, (1, 28, 28), 10)
    net.w.copy_(draw_init(net, cell))
    return net.module, tensors_by_name(net.module)


def of_cell(kept: float = 0.5, **changes: Any) -> Ticket:
    """A ticket of LeNet-300-100 as a cell's first weights make it."""
    fields = msgspec.to_builtins(make_cell(model=("mlp", {"hidden": [300, 100]}), **changes))
    module, _ = draw(fields)
    return replace(masked(module, kept), trained=None, made={"id": "0123456789abcdef", "round": 3, "cell": fields},
                   build=lambda: draw(fields)[0])


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as refusal:
        load_ticket(path, **options)
    assert len(refusal.value.problems) == 1
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("dtype", list(BITS))
def test_a_loaded_ticket_is_the_saved_one_bit_for_bit(dtype: torch.dtype, tmp_path: Path):
    ticket = small(dtype)
    name = next(iter(ticket.masks))
    alive, dead = ticket.masks[name].flatten().nonzero()[:3, 0], (~ticket.masks["3.weight"]).flatten().nonzero()[0, 0]
    ticket.initial[name].view(-1)[alive] = torch.tensor([float("nan"), -0.0, float("inf")], dtype=dtype)
    ticket.initial["3.weight"].view(-1)[dead] = -0.0  # Not 0: kept as it is.
    loaded = load_ticket(ticket.save(tmp_path / "t.safetensors"))
    assert bits_of(loaded.initial) == bits_of(ticket.initial)
    assert bits_of(loaded.trained or {}) == bits_of(ticket.trained or {})
    assert {name: mask.tolist() for name, mask in loaded.masks.items()} == {
        name: mask.tolist() for name, mask in ticket.masks.items()}
    assert (list(loaded.masks), list(loaded.initial)) == (list(ticket.masks), list(ticket.initial))
    assert (loaded.made, loaded.build) == (ticket.made, None)


def test_a_loaded_ticket_goes_into_a_fitting_module_and_into_no_other(tmp_path: Path):
    ticket = masked(lenet(), 0.2)
    loaded = ss.load_ticket(ticket.save(tmp_path / "t.safetensors"))
    module = loaded.apply(lenet(), "initial")
    assert bits_of(tensors_by_name(module)) == bits_of(ticket.initial)
    with pytest.raises(UserError, match=r"1\.weight is not in this module"):
        loaded.apply(nn.Linear(784, 10))


def test_a_loaded_ticket_saved_again_is_the_same(tmp_path: Path):
    ticket = small()
    once = ticket.save(tmp_path / "a.safetensors")
    again = load_ticket(once).save(tmp_path / "b.safetensors")
    assert bits_of(load_ticket(again).trained or {}) == bits_of(ticket.trained or {})
    assert again.stat().st_size == once.stat().st_size


def test_the_dead_take_no_room_and_trained_weights_may_be_left_out(tmp_path: Path):
    ticket = masked(lenet(), 0.1)
    whole, bare = ticket.save(tmp_path / "a.safetensors"), ticket.save(tmp_path / "b.safetensors", trained=False)
    assert load_ticket(bare).trained is None
    alive = 4 * (ticket.kept + 410)
    assert whole.stat().st_size - bare.stat().st_size == pytest.approx(alive, abs=600)
    assert bare.stat().st_size == pytest.approx(alive + 19_000, abs=1500)


@pytest.mark.parametrize(("kept", "bytes_"), [(0.5, 36_500), (0.035, 13_000)])
def test_a_recipe_of_lenet_300_100_takes_a_bit_a_weight_and_at_three_percent_a_third_of_one(kept: float, bytes_: int, tmp_path: Path):
    ticket = of_cell(kept)
    path = ticket.save(tmp_path / "t.safetensors", draw=draw)
    assert bytes_ - 3_500 < path.stat().st_size < bytes_
    loaded = load_ticket(path, draw=draw)
    assert bits_of(loaded.initial) == bits_of(ticket.initial)
    assert bits_of(tensors_by_name(loaded.module())) == bits_of(ticket.initial)


def test_a_recipe_is_only_taken_where_it_gives_the_weights_again(tmp_path: Path):
    ticket = of_cell()
    first = next(iter(ticket.masks))
    ticket.initial[first].view(-1)[ticket.masks[first].flatten().nonzero()[7]] += 1e-6
    path = ticket.save(tmp_path / "t.safetensors", draw=draw)
    assert bits_of(load_ticket(path).initial) == bits_of(ticket.initial)
    with pytest.raises(UserError, match="not those that its cell draws"):
        ticket.save(path, weights="recipe", draw=draw)
    with pytest.raises(UserError, match="not of a study's cell"):
        small().save(path, weights="recipe", draw=draw)


def test_a_recipe_that_draws_other_weights_here_is_refused(tmp_path: Path):
    path = of_cell().save(tmp_path / "t.safetensors", draw=draw)
    assert "draws other weights here" in refused(path, draw=lambda fields: draw({**fields, "seed": 1}))
    path.write_bytes(edited(path.read_bytes(), made={}))
    assert "it has a recipe and no cell" in refused(path, draw=draw)


@pytest.mark.parametrize(("named", "hash_"), [("its code", code_hash), ("its text", hash_of)])
def test_a_plugin_of_a_recipe_is_run_only_when_given_and_only_with_its_code(tmp_path: Path, named: str, hash_: Callable[[bytes], str]):
    """Tickets from before name the text of the file."""
    plugin, ran, mine = tmp_path / "mine.py", tmp_path / "ran", f"mine_alone_{named[4:]}"
    text = ("from pathlib import Path\nfrom sweepstake import init\n"
            f"Path({str(ran)!r}).touch()\n@init\ndef {mine}(normal):\n    '''N(0, 1) (nobody, never).'''\n    return normal\n")
    plugin.write_text(text)
    fields = of_cell().made["cell"]
    fields = {**fields, "init": {"name": mine, "options": {}, "version": 1, "source": hash_(plugin.read_bytes())}}
    values = dict(of_cell().initial)
    path = replace(of_cell(), made={"cell": fields}, initial=values).save(tmp_path / "t.safetensors")
    assert load_ticket(path, draw=draw).initial.keys() == values.keys()  # Values need no plug-in.
    loaded = load_ticket(path, draw=draw)
    with pytest.raises(UserError, match=f'init = "{mine}" is from a plug-in'):
        loaded.module()
    for other, said in [("more = 1\n", "Given, but not that: "), ("def\n", "is no Python: ")]:
        plugin.write_text(text + other)
        with pytest.raises(UserError, match=said):
            load_ticket(path, plugins=[plugin], draw=draw).module()
    assert not ran.exists()
    plugin.write_text(text + "# Not to the byte, and the same code.\n" * (named == "its code"))
    assert isinstance(load_ticket(path, plugins=[plugin], draw=draw).module(), nn.Module)
    assert ran.exists()


def test_one_flipped_bit_a_lost_end_and_an_edit_are_each_refused(tmp_path: Path):
    whole = small().save(tmp_path / "whole.safetensors").read_bytes()
    path = tmp_path / "t.safetensors"
    for at in range(len(whole)):
        if at % 97 == 0 or at == len(whole) - 1:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
            assert refused(path).startswith(f"{path}: not a whole ticket (")
            path.write_bytes(whole[:at])
            assert refused(path).startswith(f"{path}: not a whole ticket (")
    path.write_bytes(whole.replace(b'\\"round\\":3', b'\\"round\\":4'))
    assert path.read_bytes() != whole
    assert "its content is not what its hash says" in refused(path)


def edited(whole: bytes, **changes: Any) -> bytes:
    """A ticket's file with another header, under a fitting seal."""
    from safetensors.torch import load

    header = json.loads(json.loads(whole[8:8 + int.from_bytes(whole[:8], "little")])["__metadata__"]["ticket"])
    return seal_tensors("ticket", "ticket", load(whole), ticket=json.dumps({**header, **changes}))


def test_a_sealed_file_that_is_no_ticket_of_this_version_is_refused(tmp_path: Path):
    whole, path = small().save(tmp_path / "whole.safetensors").read_bytes(), tmp_path / "t.safetensors"
    for content, said in [
        (edited(whole, layout=2), "a ticket of layout 2, and this version reads 1"),
        (edited(whole, layout=[]), "a ticket of layout [], and this version reads 1"),
        (edited(whole, more=1), "what it says of itself cannot be read"),
        (edited(whole, masks={"other": [3]}), "its tensors are not those that it names"),
        (edited(whole, masks={"0.weight": [40]}), "its tensors are not those that it names"),
        (edited(whole, masks={"0.weight": [10**12]}), "its tensors are not those that it names"),
        (edited(whole, initial=["nowhere"]), "its tensors are not those that it names"),
        (edited(whole, drawn="0" * 64), "it has a recipe and no cell"),
        (seal_tensors("masks", "0123", {"a": torch.zeros(1)}), "it is masks of 0123"),
        (seal_tensors("ticket", "0123", {"a": torch.zeros(1)}), "what it says of itself cannot be read"),
        (b"", "not a safetensors file"),
    ]:
        path.write_bytes(content)
        assert said in refused(path)
        assert refused(path).startswith(str(path))


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    assert "not a whole ticket (" in refused(tmp_path / "foreign.safetensors")
    assert "there is no such file" in refused(tmp_path / "none.safetensors")
    assert "which ends in .safetensors" in refused(tmp_path / "model.pt")
    (tmp_path / "folder.safetensors").mkdir()
    assert "Is a directory" in refused(tmp_path / "folder.safetensors")


def test_a_ticket_is_not_saved_where_it_could_not_be_read_again(tmp_path: Path):
    ticket = small()
    for path, said in [(tmp_path / "t.pt", 'Say "t.safetensors"'), (tmp_path / "no" / "t.safetensors", "there is no folder")]:
        with pytest.raises(UserError, match=said):
            ticket.save(path)
    with pytest.raises(UserError, match='Say "auto", "values" or "recipe"'):
        ticket.save(tmp_path / "t.safetensors", weights="all")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="mask of nowhere has no weights"):
        replace(ticket, masks={"nowhere": torch.ones(2).bool()}).save(tmp_path / "t.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_made_a_ticket_is_json_alone(tmp_path: Path):
    ticket = Ticket({"w": torch.ones(2, dtype=torch.bool)}, {"w": torch.ones(2)}, None, {"score": torch.ones(1)})
    with pytest.raises(UserError, match="what made the ticket is kept as JSON, and made is not: .*Tensor"):
        ticket.save(tmp_path / "t.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_file_opens_with_safetensors_alone(tmp_path: Path):
    path = small().save(tmp_path / "t.safetensors")
    with safe_open(path, framework="pt") as file:
        assert {"mask:0.weight", "mask:3.weight", "initial:1.running_mean", "trained:3.bias"} <= set(file.keys())
        assert json.loads(file.metadata()["ticket"])["masks"] == {"0.weight": [3, 1, 3, 3], "3.weight": [5, 108]}
