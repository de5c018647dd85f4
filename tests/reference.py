"""The readable twin: iterative magnitude pruning of one LeNet in plain PyTorch. Newcomers read this first.

Imports nothing from the engine; the engine must agree with it. The draws follow one rule, (seed, purpose, where),
written out again here so that neither side can hide a mistake of the other.
"""

import hashlib
import itertools

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy


def draw(seed, purpose, *where):
    key = hashlib.blake2b(repr((seed, purpose, *where)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def build(sizes):
    layers = []
    for number, (width_in, width_out) in enumerate(itertools.pairwise(sizes), 1):
        layers += [(f"fc{number}", nn.Linear(width_in, width_out)), (f"relu{number}", nn.ReLU())]
    net = nn.Sequential()
    for name, layer in layers[:-1]:
        net.add_module(name, layer)
    return net


def xavier_normal(net, seed):
    """N(0, 2 / (in + out)) for weights, 0 for biases; a dict of fresh tensors, aliased by nothing."""
    begin = {}
    for name, parameter in net.named_parameters():
        if name.endswith("weight"):
            out, into = parameter.shape
            normal = draw(seed, "normal", "init", name).standard_normal(tuple(parameter.shape), dtype=np.float32)
            begin[name] = torch.from_numpy(normal) * (2 / (into + out)) ** 0.5
        else:
            begin[name] = torch.zeros_like(parameter)
    return begin


def train(net, mask, x, y, *, steps, batch, lr, weight_decay, seed, round_):
    """Plain Adam on the survivors: dead weights see no gradient and are held at 0."""
    optimiser = torch.optim.Adam(net.parameters(), lr=lr, weight_decay=weight_decay)
    passes = -(-steps * batch // len(y))
    order = np.concatenate([draw(seed, "order", round_, p).permutation(len(y)) for p in range(passes)])
    for step in range(steps):
        chosen = order[step * batch:(step + 1) * batch]
        optimiser.zero_grad()
        cross_entropy(net(x[chosen]), y[chosen]).backward()
        for name, parameter in net.named_parameters():
            parameter.grad *= mask[name]
        optimiser.step()
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter *= mask[name]


def prune_smallest(net, mask, keep, done):
    """Leave keep^done of each layer: rank the living by magnitude, keep exactly so many (the total rounded once)."""
    weights = {name: p.detach() for name, p in net.named_parameters() if name.endswith("weight")}
    wanted = {name: w.numel() * keep ** done for name, w in weights.items()}
    count = {name: int(w) for name, w in wanted.items()}
    total = round(sum(wanted.values()))
    scale = total / sum(wanted.values())
    for name in sorted(wanted, key=lambda n: int(wanted[n] * scale) - wanted[n] * scale)[:total - sum(int(w * scale) for w in wanted.values())]:
        count[name] = int(wanted[name] * scale) + 1
    new = dict(mask)
    for name, w in weights.items():
        score = torch.where(mask[name].bool(), w.abs(), torch.full_like(w, -1.0)).flatten()
        new[name] = torch.zeros_like(score).index_fill(0, score.argsort(descending=True)[:count[name]], 1.0).view_as(w)
    return new


def accuracy(net, x, y):
    """Images classified rightly over images: counted, not a mean of batch means."""
    with torch.no_grad():
        return int((net(x).argmax(1) == y).sum()) / len(y)


def run(x, y, test_x, test_y, *, sizes, rounds, keep, steps, batch, lr, seed, weight_decay=0.0):
    """Round 0 trains the whole network; each later round prunes, rewinds the survivors to their init, trains again."""
    net = build(sizes)
    begin = xavier_normal(net, seed)
    mask = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    found = []
    for round_ in range(rounds + 1):
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(begin[name] * mask[name])
        train(net, mask, x, y, steps=steps, batch=batch, lr=lr, weight_decay=weight_decay, seed=seed, round_=round_)
        found.append({
            "mask": torch.cat([mask[name].flatten() for name, _ in net.named_parameters()]).bool(),
            "w_final": torch.cat([p.detach().flatten() for p in net.parameters()]),
            "test_accuracy": accuracy(net, test_x, test_y),
        })
        mask = prune_smallest(net, mask, keep, round_ + 1)
    return found
