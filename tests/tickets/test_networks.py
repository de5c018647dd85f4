"""Networks that nobody here wrote, thinned: the small network says the same, or a module is named that stands in the way."""

import re

import pytest
import torch

from sweepstake.base.errors import UserError
from sweepstake.tickets.thin import thin
from tests.tickets.foreign import ZOO, difference, run

WANTED = {"VGG", "ResNet", "DenseNet", "MobileNet", "EfficientNet", "ConvNeXt", "RegNet", "ShuffleNet", "Inception", "MLP-Mixer",
          "ViT", "DeiT", "Swin", "BERT", "DistilBERT", "GPT-2", "T5's encoder", "Llama, two layers", "LSTM", "U-Net"}
QUICK = {"U-Net", "DenseNet", "ConvNeXt", "ViT", "DistilBERT", "Albert", "PoolFormer", "Transformer encoder", "LSTM"}
"""Families whose structure is followed in seconds: convolutions and attention, forks and joins, and a refusal. `make foreign` thins all."""
EACH = pytest.mark.parametrize("foreign", [
    pytest.param(each, id=each.name, marks=[] if each.family in QUICK else [pytest.mark.long]) for each in ZOO])


def test_the_zoo_has_at_least_twenty_networks_of_the_twenty_families():
    assert sorted(WANTED - {foreign.family for foreign in ZOO}) == []
    assert len({foreign.package for foreign in ZOO}) == len(ZOO) >= 20


@EACH
def test_a_thinned_network_equals_the_whole_one_on_inputs_it_has_not_seen_or_a_module_is_named(foreign):
    module, masks = foreign.killed(seed=1)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    names = [name or type(part).__name__ for name, part in module.named_modules()]
    try:
        thinned = thin(module, masks, foreign.example(seed=1))
    except UserError as refused:
        assert any(re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.]*\w)", str(refused)) for name in names)
    else:
        for seed in (2, 3):
            inputs = foreign.example(seed)
            assert difference(run(thinned.module, inputs), run(module, inputs)) <= 1e-5
        assert thinned.parameters_after == sum(parameter.numel() for parameter in thinned.module.parameters())
        assert thinned.parameters_after <= thinned.parameters_before == sum(tensor.numel() for tensor in module.parameters())
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not module.training


@EACH
def test_one_living_weight_lost_in_a_killed_network_shows_in_what_it_says_for_two_layers_of_five(foreign):
    module, masks = foreign.killed(seed=1)
    parameters, inputs = dict(module.named_parameters()), foreign.example(seed=2)
    whole, matrices = run(module, inputs), [name for name, mask in masks.items() if mask.dim() > 1]
    assert all(bool((parameters[name][~mask] == 0).all()) for name, mask in masks.items())
    layers = matrices[:: -(-len(matrices) // 10)]

    shown = [difference(without_its_largest_weight(module, parameters[name], inputs), whole) > 1e-5 for name in layers]

    assert sum(shown) >= 0.4 * len(layers)  # Nothing reads what the others make: their readers are dead.


def without_its_largest_weight(module, parameter, inputs):
    kept = parameter.detach().clone()
    with torch.no_grad():
        parameter.view(-1)[parameter.abs().argmax()] = 0
        said = run(module, inputs)
        parameter.copy_(kept)
    return said


def test_a_network_is_built_the_same_each_time_and_leaves_torchs_random_state_alone():
    state = torch.random.get_rng_state()
    for foreign in ZOO[1:4]:
        first, again = foreign.killed(seed=5)[0].state_dict(), foreign.killed(seed=5)[0].state_dict()
        assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("kind, hidden, values, heads", [
    ("ViTForImageClassification", "mlp.fc1", "attention.v_proj", 4), ("LlamaForCausalLM", "mlp.up_proj", "self_attn.v_proj", 2),
    ("DistilBertForSequenceClassification", "ffn.lin1", "attention.v_lin", 4), ("GPT2LMHeadModel", "mlp.c_fc", "attn.c_attn", 4)])
def test_hidden_units_and_half_of_the_heads_are_among_the_dead(kind, hidden, values, heads):
    _, masks = next(one for one in ZOO if one.name == kind).killed(seed=0)

    def dead(layer):
        mask = next(mask for name, mask in masks.items() if name.endswith(f"{layer}.weight"))
        return ~(mask.T if kind == "GPT2LMHeadModel" else mask).any(dim=1)
    assert 0.3 <= dead(hidden).float().mean() <= 0.6
    assert dead(values)[-8 * heads:].reshape(heads, 8).all(dim=1).sum() >= heads // 2
