"""A network without its dead units gives the same outputs, or says which module stands in the way."""

import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sweepstake.base.errors import UserError
from sweepstake.pieces.models import conv2, mlp, resnet20
from sweepstake.tickets.thin import thin
from sweepstake.tickets.thinning import depgraph, kirigami, libraries, rounds
from sweepstake.tickets.thinning.inputs import Inputs, floats


def drawn(module, seed=0):
    """The module in eval mode with every parameter and statistic drawn, so that no bias is 0 and no norm idle."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            wide = (2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * wide)
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.copy_(torch.randn(part.running_mean.shape, generator=generator))
                part.running_var.copy_(torch.rand(part.running_var.shape, generator=generator) + 0.5)
    return module.eval()


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(module):
    return {name: torch.ones_like(value, dtype=torch.bool) for name, value in module.named_parameters() if value.dim() > 1}


def under(module, masks, inputs):
    """What the module gives with its dead weights at 0, and what it was before is put back."""
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name in masks:
                value.mul_(masks[name])
        out = floats(Inputs.of(inputs).run(module))
    module.load_state_dict(before)
    return out


def apart(module, masks, small, inputs):
    """The largest difference of the outputs, relative to the largest output."""
    with torch.no_grad():
        found = floats(Inputs.of(inputs).run(small))
    wanted = under(module, masks, inputs)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(wanted, found, strict=True))


def equal(module, masks, result, *inputs):
    return max(apart(module, masks, result.module, each) for each in inputs) < 1e-5


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.inner, self.outer = nn.Conv2d(8, 6, 3, padding=1, bias=False), nn.Conv2d(6, 8, 1)
        self.head = nn.Linear(8 * 16, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = x + self.outer(F.relu(self.inner(x)))
        return self.head(F.max_pool2d(x, 2).flatten(1))


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 5, 3)
        self.c = nn.Conv2d(11, 4, 1, bias=False)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = torch.cat([F.gelu(self.a(x)), torch.tanh(self.b(x))], 1)
        return self.head(self.c(x).mean((2, 3)))


class Gated(nn.Module):
    """Squeeze and excite: each channel times a number that all channels make."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.last(x * gate).mean((2, 3))


class Tall(nn.Module):
    """A chain through a depthwise convolution."""

    def __init__(self, padding=0):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 8, 3, padding=padding, groups=8)
        self.three = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        return self.three(F.relu(self.two(F.relu(self.one(x)))))


@pytest.mark.parametrize("way", ["random", "magnitude"])
def test_lenet_300_100_at_3_5_percent_loses_most_of_its_units_and_says_the_same(way):
    module = drawn(mlp((1, 28, 28), 10))
    generator = torch.Generator().manual_seed(3)
    masks = {}
    for name, value in module.named_parameters():
        if value.dim() > 1:
            score = value.abs() if way == "magnitude" else torch.rand(value.shape, generator=generator)
            masks[name] = score > score.flatten().kthvalue(round(0.965 * value.numel())).values
    masks["fc1.weight"][:200] = False
    masks["fc2.weight"][:, 150:250] = False
    dead = ~masks["fc1.weight"].any(1) | ~masks["fc2.weight"].any(0)
    result = thin(module, masks, noise(4, 1, 28, 28))
    assert result.removed["fc1"][0] >= int(dead.sum()) >= 250
    assert equal(module, masks, result, noise(7, 1, 28, 28, seed=5))
    assert result.parameters_after < 0.2 * result.parameters_before
    assert all(not bool(value[~result.masks[name]].any())
               for name, value in result.module.named_parameters() if name in result.masks)
    assert sum(int(mask.sum()) for mask in result.masks.values()) <= sum(int(mask.sum()) for mask in masks.values())


def test_a_constant_unit_is_folded_into_the_bias_of_its_reader_and_one_that_nobody_reads_is_left_out():
    module = drawn(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3, bias=False)))
    masks = whole(module)
    masks["0.weight"][1] = False
    masks["2.weight"][:, 4] = False
    result = thin(module, masks, noise(5, 4))
    assert result.removed == {"0": (2, 6)}
    assert result.module[2].bias.tolist() == pytest.approx((torch.tanh(module[0].bias[1]) * module[2].weight[:, 1]).tolist())
    assert equal(module, masks, result, noise(9, 4, seed=2))


def test_units_that_die_because_others_did_are_removed_too():
    module = drawn(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)))
    masks = whole(module)
    masks["0.weight"][2] = False
    masks["2.weight"][1] = False
    masks["2.weight"][1, 2] = True
    assert thin(module, masks, noise(5, 4)).removed == {"0": (1, 6), "2": (1, 6)}


@pytest.mark.parametrize("padding, norm_bias, gone", [(0, 2.0, 1), (1, 2.0, 0), (1, -2.0, 1)])
def test_a_constant_channel_goes_through_its_norm_and_stays_where_a_padded_convolution_would_show_it(padding, norm_bias, gone):
    module = drawn(nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=padding)))
    with torch.no_grad():
        module[1].running_mean[2], module[1].bias[2] = 0, norm_bias
    masks = whole(module)
    masks["0.weight"][2] = False
    masks["3.weight"][:, 5] = False
    result = thin(module, masks, noise(2, 3, 8, 8))
    assert result.removed == {"0": (gone + 1, 6)}
    assert ("3" in result.kept_back) == (gone == 0)
    assert equal(module, masks, result, noise(3, 3, 9, 9, seed=2))


def test_a_residual_channel_goes_only_where_all_that_add_to_it_are_dead():
    module, masks = drawn(Residual()), {}
    masks = whole(module)
    masks["stem.weight"][:3] = False
    masks["outer.weight"][1:4] = False
    masks["inner.weight"][4] = False
    with torch.no_grad():
        module.norm.running_mean[:3], module.norm.bias[:3] = 0, -1.0
    result = thin(module, masks, noise(2, 3, 8, 8))
    assert result.removed == {"stem": (2, 8), "outer": (2, 8), "inner": (1, 6)}
    assert equal(module, masks, result, noise(2, 3, 8, 8, seed=9))


def test_channels_of_both_sides_of_a_concatenation_go_and_a_reader_without_a_bias_gets_one():
    module = drawn(Concat())
    masks = whole(module)
    masks["a.weight"][1] = False
    masks["c.weight"][:, 9] = False
    result = thin(module, masks, noise(2, 3, 8, 8))
    assert result.removed == {"a": (1, 6), "b": (1, 5)}
    assert module.c.bias is None
    assert equal(module, masks, result, noise(2, 3, 8, 8, seed=9))


@pytest.mark.parametrize("bias, gone", [(-1.0, 1), (1.0, 0)])
def test_a_gated_channel_goes_only_where_it_is_0(bias, gone):
    module = drawn(Gated())
    with torch.no_grad():
        module.norm.running_mean[2], module.norm.bias[2] = 0, bias
    masks = whole(module)
    masks["stem.weight"][2] = False
    masks["squeeze.weight"][3] = False
    result = thin(module, masks, noise(2, 3, 8, 8))
    assert result.removed.get("stem", (0, 8)) == (gone, 8)
    assert result.removed["squeeze"] == (1, 4)
    assert equal(module, masks, result, noise(2, 3, 8, 8, seed=9))


def test_a_depthwise_convolution_loses_channels_with_the_layer_before_it():
    module = drawn(Tall())
    masks = whole(module)
    masks["one.weight"][:3] = False
    result = thin(module, masks, noise(2, 3, 8, 8))
    assert result.removed == {"one": (3, 8), "two": (3, 8)}
    assert (result.module.two.groups, result.module.two.in_channels) == (5, 5)
    assert equal(module, masks, result, noise(2, 3, 8, 8, seed=9))


def test_a_norm_over_channels_holds_them_in_place_and_is_named_where_nothing_else_can_go():
    module = drawn(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)))
    masks = whole(module)
    masks["2.weight"][:, 1] = False
    with pytest.raises(UserError, match=r"thin: 2 has dead units that cannot be removed: a LayerNorm computes with it"):
        thin(module, masks, noise(5, 4))


def test_the_channels_of_a_group_norm_stay():
    module = drawn(nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1)))
    masks = whole(module)
    masks["3.weight"][:, 1] = False
    masks["5.weight"][:, 1] = False
    result = thin(module, masks, noise(2, 3, 8, 8))
    assert result.removed == {"3": (1, 6)}
    assert result.kept_back == {"3": "a GroupNorm computes with it"}
    assert equal(module, masks, result, noise(2, 3, 8, 8, seed=9))


@pytest.mark.parametrize("make", [conv2, resnet20])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_our_own_convolutional_networks_are_thinned(make, norm):
    module = drawn(make((3, 16, 16), 10, norm=norm, width=0.25))
    masks = whole(module)
    generator = torch.Generator().manual_seed(0)
    for mask in masks.values():
        if len(mask) > 10:
            mask[torch.randperm(len(mask), generator=generator)[:len(mask) // 2]] = False
        elif mask.dim() == 4:
            mask[::2] = False
    for name, value in module.named_parameters():
        if name.endswith("bias") and len(value) != 10:
            value.data.fill_(-0.5)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.fill_(0)
    result = thin(module, masks, noise(2, 3, 16, 16))
    assert result.parameters_after < 0.75 * result.parameters_before
    assert equal(module, masks, result, noise(3, 3, 16, 16, seed=4))


def test_the_network_given_is_left_bit_for_bit_as_it_was():
    module = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 3)).train()
    module[0].weight.requires_grad_(False)
    module[3].weight.grad = torch.ones_like(module[3].weight)
    seen = []
    module[2].register_forward_hook(lambda *_: seen.append(1))
    masks = whole(module)
    masks["0.weight"][2] = False
    before, state = {name: value.clone() for name, value in module.state_dict().items()}, torch.random.get_rng_state()
    result = thin(module, masks, noise(5, 4))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert module.training and result.module.training and result.module[1].training
    assert not result.module[0].weight.requires_grad and module[3].weight.grad.sum() == 18
    assert len(module[2]._forward_hooks) == 1


def test_a_wrong_removal_is_caught_put_back_and_named_and_the_rest_is_removed_all_the_same(monkeypatch):
    module = drawn(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)))
    masks = whole(module)
    masks["0.weight"][2] = False
    true = rounds.Thinning.free
    monkeypatch.setattr(rounds.Thinning, "free", lambda self, reads: {
        reader: found | ({3} if reader.weight == "4.weight" else set()) for reader, found in true(self, reads).items()})
    result = thin(module, masks, noise(5, 4))
    assert result.removed == {"0": (1, 6)}
    assert result.kept_back["4"].startswith("its outputs would differ by ")
    assert equal(module, masks, result, noise(9, 4, seed=2))


def test_a_unit_that_happens_to_be_silent_is_not_dead():
    module = drawn(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    with torch.no_grad():
        module[0].bias[1] = -50
    masks = whole(module)
    masks["0.weight"][2] = False
    assert thin(module, masks, noise(5, 4)).removed == {"0": (1, 6)}


def test_a_layer_keeps_one_unit_where_all_are_dead():
    module = drawn(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))
    masks = whole(module)
    masks["0.weight"][:] = False
    result = thin(module, masks, noise(5, 4))
    assert result.removed == {"0": (5, 6)}
    assert equal(module, masks, result, noise(9, 4, seed=2))


def test_a_network_with_nothing_dead_comes_back_as_it_was():
    module = drawn(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))
    result = thin(module, whole(module), noise(5, 4))
    assert (result.removed, result.kept_back, result.parameters_after) == ({}, {}, result.parameters_before)
    assert "51 parameters became 51 (100.0%)" in str(result)


@pytest.mark.parametrize("masks, message", [
    ({"0.wait": torch.ones(6, 4, dtype=torch.bool)}, "thin: 0.wait is not a parameter of this module."),
    ({"0.weight": torch.ones(4, 6, dtype=torch.bool)}, r"thin: the mask of 0.weight has shape \(4, 6\), and the parameter \(6, 4\)."),
    ({"0.weight": torch.ones(6, 4)}, "thin: the mask of 0.weight is of torch.float32. A mask is boolean"),
])
def test_a_mask_that_does_not_fit_is_refused(masks, message):
    with pytest.raises(UserError, match=message):
        thin(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)), masks, noise(5, 4))


def test_a_recurrent_layer_with_dead_units_is_named():
    module = drawn(nn.LSTM(4, 6, batch_first=True))
    masks = {"weight_hh_l0": torch.ones(24, 6, dtype=torch.bool)}
    masks["weight_hh_l0"][:, 2] = False
    with pytest.raises(UserError, match="LSTM"):
        thin(module, masks, noise(2, 5, 4))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["none", "batch"]), st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid]),
       st.lists(st.integers(2, 7), min_size=1, max_size=3), st.floats(0.1, 0.9))
def test_any_chain_under_any_mask_says_the_same_thinned(seed, norm, active, widths, density):
    generator = torch.Generator().manual_seed(seed)
    layers, before = [], 3
    for width in widths:
        layers += [nn.Conv2d(before, width, 3, padding=seed % 2), *([nn.BatchNorm2d(width)] if norm == "batch" else []), active()]
        before = width
    module = drawn(
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 4)), seed)
    masks = {name: torch.rand(mask.shape, generator=generator) < density for name, mask in whole(module).items()}
    for mask in masks.values():
        mask[torch.rand(len(mask), generator=generator) < 0.3] = False
    try:
        result = thin(module, masks, noise(2, 3, 12, 12))
    except UserError as refused:
        assert "padded convolution" in str(refused)
        return
    assert equal(module, masks, result, noise(3, 3, 12, 12, seed=seed + 1))


def dead_head(mask, head, size):
    mask[head * size:(head + 1) * size] = False


def test_a_transformer_layer_of_torch_loses_hidden_units():
    module = drawn(nn.TransformerEncoderLayer(16, 4, 24, batch_first=True))
    masks = {"linear1.weight": torch.ones(24, 16, dtype=torch.bool)}
    masks["linear1.weight"][:7] = False
    result = thin(module, masks, noise(2, 5, 16))
    assert result.removed == {"linear1": (7, 24)}
    assert equal(module, masks, result, noise(3, 6, 16, seed=2))


SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 24}


def hugging_face():
    import transformers as hf

    words = {"input_ids": torch.arange(10).reshape(2, 5)}
    return {
        "ViT": (lambda: hf.ViTForImageClassification(hf.ViTConfig(image_size=16, patch_size=8, **SIZES)),
                {"pixel_values": noise(2, 3, 16, 16)}),
        "BERT": (lambda: hf.BertForSequenceClassification(hf.BertConfig(vocab_size=20, **SIZES)), words),
        "GPT-2": (lambda: hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=4, n_inner=24,
                                                           use_cache=False, bos_token_id=1, eos_token_id=1)), words),
    }


@pytest.mark.parametrize("name, values, hidden, reads", [
    ("ViT", "v_proj", "fc1", "o_proj"), ("BERT", "value", "intermediate.dense", "output.dense"),
    ("GPT-2", "attn.c_attn", "mlp.c_fc", "attn.c_proj")])
def test_a_dead_head_and_dead_hidden_units_of_a_transformer_go(name, values, hidden, reads):
    make, inputs = hugging_face()[name]
    module = drawn(make())
    masks = whole(module)
    value = next(each for each in masks if each.endswith(f"{values}.weight"))
    units = next(each for each in masks if each.endswith(f"{hidden}.weight"))
    turned = name == "GPT-2"
    dead_head(masks[value].T[32:] if turned else masks[value], 2, 4)
    (masks[units].T if turned else masks[units])[:5] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = thin(module, masks, inputs)
    assert result.removed[value.removesuffix(".weight")] == ((12, 48) if turned else (4, 16))
    assert result.removed[units.removesuffix(".weight")] == (5, 24)
    assert equal(module, masks, result, inputs)


@pytest.mark.parametrize("way", [kirigami.traced, kirigami.compiled, depgraph.traced])
def test_each_library_alone_removes_the_same_channels(way, monkeypatch):
    monkeypatch.setattr(libraries, "WAYS", [way])
    module = drawn(Residual())
    masks = whole(module)
    masks["inner.weight"][4] = False
    masks["outer.weight"][:, 1] = False
    result = thin(module, masks, noise(2, 3, 8, 8))
    assert result.removed == {"inner": (2, 6)}
    assert equal(module, masks, result, noise(2, 3, 8, 8, seed=9))


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_kirigami", None)
    with pytest.raises(UserError, match=r'pip install "sweepstake\[thin\]"'):
        thin(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)), {}, noise(5, 4))


def test_heads_that_share_a_position_bias_go_where_they_are_dead_in_every_layer():
    import transformers as hf

    module = drawn(hf.T5EncoderModel(hf.T5Config(vocab_size=20, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, use_cache=False)))
    masks = whole(module)
    for layer, heads in enumerate([(0, 3), (1, 3)]):
        for head in heads:
            dead_head(masks[f"encoder.block.{layer}.layer.0.SelfAttention.v.weight"], head, 4)
    inputs = {"input_ids": torch.arange(10).reshape(2, 5)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = thin(module, masks, inputs)
    assert result.removed == {f"encoder.block.{layer}.layer.0.SelfAttention.{part}": (4, 16) for layer in (0, 1) for part in "qkv"}
    assert equal(module, masks, result, inputs)
