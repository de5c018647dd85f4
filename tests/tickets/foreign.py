"""Networks that nobody here wrote, tiny, with random weights, and whole structures of them made dead.

The classes are those of transformers, pytorchcv and torch; only their sizes are chosen here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CLASSES, WORDS, TOKENS, BATCH = 7, 61, 12, 3
Inputs = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Foreign:
    """A network of somebody else's: what it is, where it comes from, how to make it and what to give it."""

    name: str
    family: str
    package: str
    """The package and its class."""
    make: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], Inputs]

    def build(self, seed: int = 0) -> nn.Module:
        """The network in eval mode, the same each time; torch's own random state stays where it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.make().eval()
        redraw(module, torch.Generator().manual_seed(seed))
        return module

    def killed(self, seed: int = 0, share: float = 0.5) -> tuple[nn.Module, dict[str, Tensor]]:
        """The network with whole structures dead, and the masks that say which weights are alive."""
        module = self.build(seed)
        masks = kill(module, seed, share)
        settle(module, [self.example(1000 + each) for each in range(8)])
        return module, masks

    def example(self, seed: int = 0) -> Inputs:
        """Random inputs: a tensor, or tensors by keyword."""
        return self.inputs(torch.Generator().manual_seed(seed))


def redraw(module: nn.Module, generator: torch.Generator) -> None:
    """Draws every weight anew, wide enough that no part of the network is silent.

    Fresh networks have biases of 0, norms of 1 and 0, and layer scales of 1e-6: with these, a mistake would not show.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, fan_in(module, name, parameter) ** -0.5, generator=generator)
            elif name.endswith(("weight", "lambda1", "layer_scale_parameter", "gamma")):
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                parameter.normal_(0, 0.3, generator=generator)


def settle(module: nn.Module, batches: list[Inputs]) -> None:
    """Gives batch norms the statistics of these inputs, as training would: else signals fade in a deep network."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for inputs in batches:
        run(module, inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum
        norm.running_var.clamp_(min=0.05)


def fan_in(module: nn.Module, name: str, parameter: Tensor) -> int:
    owner = module.get_submodule(name.rpartition(".")[0])
    return parameter.shape[0] if type(owner).__name__ == "Conv1D" else parameter[0].numel()


def run(module: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Every floating-point tensor that a network gives."""
    with torch.no_grad():
        return list(tensors(module(**inputs) if isinstance(inputs, Mapping) else module(inputs)))


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors(one)


def difference(first: list[Tensor], second: list[Tensor]) -> float:
    """The largest difference of two networks' outputs; of outputs over 1 as a share of the largest, as rounding grows with them."""
    assert [tuple(one.shape) for one in first] == [tuple(one.shape) for one in second]
    return max(float((one - other).abs().max()) / max(1.0, float(one.abs().max())) for one, other in zip(first, second, strict=True))


# Whole structures die -----------------------------------------------------------------------------------------------

ROLES = {
    "queries": ("query", "q_proj", "q_lin", "q"),
    "keys": ("key", "k_proj", "k_lin", "k"),
    "values": ("value", "v_proj", "v_lin", "v"),
}
PACKED = ("c_attn",)
READERS = ("o_proj", "out_proj", "out_lin", "dense", "o", "c_proj")
HEAD_SIZES = ("attention_head_size", "head_dim", "dim_per_head", "key_value_proj_dim")


def kill(module: nn.Module, seed: int = 0, share: float = 0.5, loose: float = 0.2) -> dict[str, Tensor]:
    """Masks of a network in which whole structures are dead, and its weights multiplied by them.

    Dead are: that share of each layer's units (half of them the same in all layers as wide, so that residual
    channels die, too), some of the inputs that it reads, that share of attention's heads, the biases of some dead
    units, and on top `loose` of the weights one by one. Living rows keep their length, so that signals do not fade.
    """
    generator = torch.Generator().manual_seed(seed)
    draws, masks = Draws(generator, share), dict[str, Tensor]()
    for name, part in module.named_modules():
        if isinstance(part, nn.LSTM):
            kill_lstm(masks, name, part, draws)
        elif isinstance(part, nn.MultiheadAttention):
            kill_heads_of_torch(masks, name, part, draws)
        elif weight_of(part) is not None:
            kill_layer(masks, name, part, draws)
    for name, part in module.named_modules():
        kill_heads(masks, name, part, draws)
    parameters = dict(module.named_parameters())
    masks = {name: mask for name, mask in masks.items() if name in parameters}
    with torch.no_grad():
        for name, mask in masks.items():
            if mask.dim() > 1:
                mask &= torch.rand(mask.shape, generator=generator) >= loose
            lengths = parameters[name].norm()
            parameters[name].mul_(mask)
            if mask.any():
                parameters[name].mul_(lengths / parameters[name].norm())
    return masks


class Draws:
    """What dies: of each width the same units everywhere, and others in each layer."""

    def __init__(self, generator: torch.Generator, share: float):
        self.generator, self.share = generator, share
        self.common: dict[int, Tensor] = {}

    def own(self, width: int, share: float | None = None) -> Tensor:
        """Which of so many are dead, drawn for this once; at least one stays alive."""
        dead = torch.zeros(width, dtype=torch.bool)
        count = min(round(width * (self.share if share is None else share)), width - 1)
        dead[torch.randperm(width, generator=self.generator)[:count]] = True
        return dead

    def units(self, width: int) -> Tensor:
        if width not in self.common:
            self.common[width] = self.own(width, self.share / 2)
        return self.common[width] | self.own(width, self.share / 2)

    def coin(self) -> bool:
        return bool(torch.rand((), generator=self.generator) < 0.5)


def weight_of(part: nn.Module) -> Tensor | None:
    """A layer's weight as (outputs, inputs, ...); writing into it writes into the layer's own storage."""
    if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d):
        return part.weight
    return part.weight.T if type(part).__name__ == "Conv1D" else None


def mask_of(masks: dict[str, Tensor], name: str, part: nn.Module) -> Tensor:
    """The layer's mask as (outputs, inputs, ...), begun whole where there is none."""
    key = f"{name}.weight" if name else "weight"
    mask = masks.setdefault(key, torch.ones_like(part.weight, dtype=torch.bool))
    return mask.T if type(part).__name__ == "Conv1D" else mask


def kill_layer(masks: dict[str, Tensor], name: str, part: nn.Module, draws: Draws) -> None:
    mask = mask_of(masks, name, part)
    dead = draws.units(mask.shape[0])
    mask[dead] = False
    if mask.shape[1] > 1:
        mask[:, draws.own(mask.shape[1], draws.share / 2)] = False
    if part.bias is not None and draws.coin():
        masks[f"{name}.bias" if name else "bias"] = ~dead


def kill_lstm(masks: dict[str, Tensor], name: str, part: nn.LSTM, draws: Draws) -> None:
    """Units of a recurrent layer: their rows of all four gates, and the columns that read them."""
    prefix = f"{name}." if name else ""
    before = torch.zeros(part.input_size, dtype=torch.bool)
    for layer in range(part.num_layers):
        dead = draws.own(part.hidden_size)
        for side, columns in (("ih", before), ("hh", dead)):
            mask = (~dead).repeat(4)[:, None] & ~columns[None, :]
            masks[f"{prefix}weight_{side}_l{layer}"] = mask
            masks[f"{prefix}bias_{side}_l{layer}"] = (~dead).repeat(4)
        before = dead


def kill_heads_of_torch(masks: dict[str, Tensor], name: str, part: nn.MultiheadAttention, draws: Draws) -> None:
    """Heads of torch's attention, whose queries, keys and values are one matrix: the rows of their values."""
    mask = torch.ones(part.in_proj_weight.shape, dtype=torch.bool)
    mask[2 * part.embed_dim:][draws.own(part.num_heads).repeat_interleave(part.head_dim)] = False
    masks[f"{name}.in_proj_weight"] = mask


def kill_heads(masks: dict[str, Tensor], name: str, part: nn.Module, draws: Draws) -> None:
    """Whole heads of an attention found by the names of its layers: their values; of some their queries and keys, or
    what reads them."""
    layers = {child: layer for child, layer in part.named_children() if weight_of(layer) is not None}
    size = next((size for one in HEAD_SIZES if isinstance(size := getattr(part, one, None), int)), 0)
    found = {role: next((child for child in names if child in layers), None) for role, names in ROLES.items()}
    packed = next((child for child in PACKED if child in layers), None)
    if not size or (packed is None and None in found.values()):
        return
    of = {role: mask_of(masks, f"{name}.{packed or child}", layers[packed or child]) for role, child in found.items()}
    if packed:
        of = dict(zip(found, of["values"].chunk(3), strict=True))
    dead = draws.own(len(of["values"]) // size)  # Several queries may share a head's values.
    every = dead.repeat_interleave(len(of["queries"]) // len(of["values"])).repeat_interleave(size)
    of["values"][dead.repeat_interleave(size)] = False
    if draws.coin():
        of["queries"][every] = False
        of["keys"][dead.repeat_interleave(size)] = False
    reader = next((child for child in READERS if child in layers), None)
    if reader and draws.coin():
        mask_of(masks, f"{name}.{reader}", layers[reader])[:, every] = False


# The networks -------------------------------------------------------------------------------------------------------


def pixels(side: int, channels: int = 3, word: str | None = "pixel_values") -> Callable[[torch.Generator], Inputs]:
    def draw(generator: torch.Generator) -> Inputs:
        image = torch.randn(BATCH, channels, side, side, generator=generator)
        return {word: image} if word else image
    return draw


def words(generator: torch.Generator) -> Inputs:
    return {"input_ids": torch.randint(0, WORDS, (BATCH, TOKENS), generator=generator)}


def series(word: str | None, length: int, width: int) -> Callable[[torch.Generator], Inputs]:
    def draw(generator: torch.Generator) -> Inputs:
        values = torch.randn(BATCH, length, width, generator=generator)
        return {word: values} if word else values
    return draw


def transformers(name: str, kind: str, inputs, config: str | None = None, *, family: str | None = None, **sizes) -> Foreign:
    """A network of transformers from its configuration."""
    def make() -> nn.Module:
        library = importlib.import_module("transformers")
        settings = getattr(library, f"{config or name}Config")(**sizes)
        return getattr(library, kind)(settings)
    return Foreign(kind, family or name, f"transformers {kind}", make, inputs)


def pytorchcv(family: str, file: str, kind: str, side: int, **sizes) -> Foreign:
    """A network of pytorchcv of these widths."""
    def make() -> nn.Module:
        return getattr(importlib.import_module(f"pytorchcv.models.{file}"), kind)(**sizes)
    return Foreign(kind, family, f"pytorchcv {kind}", make, pixels(side, word=None))


BERT = {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "max_position_embeddings": 32, "num_labels": CLASSES}
VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32,
       "patch_size": 8, "num_labels": CLASSES}
LLAMA = {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 64, "max_position_embeddings": 32, "use_cache": False}

ZOO = [
    pytorchcv("VGG", "vgg", "VGG", 28, channels=[[8, 8], [16, 16]], in_size=(28, 28), num_classes=CLASSES, use_bn=True),
    transformers("ResNet", "ResNetForImageClassification", pixels(32), embedding_size=16, hidden_sizes=[16, 32, 48],
                 depths=[1, 2, 1], layer_type="bottleneck", num_labels=CLASSES),
    pytorchcv("DenseNet", "densenet", "DenseNet", 56, channels=[[24, 32], [24, 32]], init_block_channels=16, num_classes=CLASSES),
    transformers("MobileNetV2", "MobileNetV2ForImageClassification", pixels(32), depth_multiplier=0.25, image_size=32,
                 num_labels=CLASSES, family="MobileNet"),
    transformers("EfficientNet", "EfficientNetForImageClassification", pixels(32), image_size=32, width_coefficient=0.25,
                 depth_coefficient=0.25, hidden_dim=320, num_labels=CLASSES),
    transformers("ConvNext", "ConvNextForImageClassification", pixels(32), hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1],
                 num_labels=CLASSES, family="ConvNeXt"),
    transformers("RegNet", "RegNetForImageClassification", pixels(32), embedding_size=16, hidden_sizes=[16, 32], depths=[1, 2],
                 groups_width=8, layer_type="y", num_labels=CLASSES),
    pytorchcv("ShuffleNet", "shufflenetv2", "ShuffleNetV2", 112, channels=[[16, 16, 16], [32, 32]], init_block_channels=8,
              final_block_channels=48, num_classes=CLASSES),
    pytorchcv("Inception", "inceptionv3", "InceptionV3", 83, channels=[[256, 288]], init_block_channels=192, b_mid_channels=[],
              num_classes=CLASSES),
    transformers("PatchTSMixer", "PatchTSMixerForTimeSeriesClassification", series("past_values", 32, 3), family="MLP-Mixer",
                 context_length=32, patch_length=4, patch_stride=4, num_input_channels=3, d_model=16, num_layers=2,
                 num_targets=CLASSES),
    transformers("ViT", "ViTForImageClassification", pixels(32), **VIT),
    transformers("DeiT", "DeiTForImageClassificationWithTeacher", pixels(32), **VIT),
    transformers("Swin", "SwinForImageClassification", pixels(32), image_size=32, patch_size=4, embed_dim=16, depths=[2, 2],
                 num_heads=[2, 4], window_size=4, num_labels=CLASSES),
    transformers("Bert", "BertForSequenceClassification", words, family="BERT", **BERT),
    transformers("DistilBert", "DistilBertForSequenceClassification", words, family="DistilBERT", vocab_size=WORDS, dim=32,
                 n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=32, num_labels=CLASSES),
    transformers("GPT2", "GPT2LMHeadModel", words, family="GPT-2", vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4,
                 n_positions=32, use_cache=False, bos_token_id=1, eos_token_id=2),
    transformers("T5", "T5EncoderModel", words, family="T5's encoder", vocab_size=WORDS, d_model=32, d_kv=8, d_ff=64,
                 num_layers=2, num_heads=4, use_cache=False),
    transformers("Llama", "LlamaForCausalLM", words, family="Llama, two layers", **LLAMA),
    Foreign("LSTM", "LSTM", "torch nn.LSTM", lambda: nn.LSTM(8, 16, num_layers=2, batch_first=True), series(None, TOKENS, 8)),
    pytorchcv("U-Net", "unet", "UNet", 32, channels=[[16, 32, 32], [32, 16, 8]], init_block_channels=8, num_classes=CLASSES,
              in_size=(32, 32)),
    Foreign("TransformerEncoder", "Transformer encoder", "torch nn.TransformerEncoder",
            lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2), series(None, TOKENS, 32)),
    transformers("ConvNextV2", "ConvNextV2ForImageClassification", pixels(32), hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1],
                 num_labels=CLASSES, family="ConvNeXt V2"),
    transformers("PoolFormer", "PoolFormerForImageClassification", pixels(32), hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
                 num_labels=CLASSES),
    transformers("Segformer", "SegformerForSemanticSegmentation", pixels(64), hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
                 num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=32, num_labels=CLASSES, family="SegFormer"),
    transformers("Albert", "AlbertForSequenceClassification", words, family="ALBERT", embedding_size=16, **BERT),
    transformers("Electra", "ElectraForSequenceClassification", words, family="ELECTRA", embedding_size=16, **BERT),
    transformers("OPT", "OPTForCausalLM", words, vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                 ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=32, use_cache=False, pad_token_id=1, bos_token_id=2),
    transformers("Qwen2", "Qwen2ForCausalLM", words, **LLAMA),
    transformers("MobileViT", "MobileViTForImageClassification", pixels(64), image_size=64, hidden_sizes=[16, 24, 32],
                 neck_hidden_sizes=[8, 8, 16, 24, 32, 32, 48], num_attention_heads=4, num_labels=CLASSES),
]
