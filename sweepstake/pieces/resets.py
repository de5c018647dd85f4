"""What happens to the survivors: (a parameter at its init, its rewind step, ...) -> it when the next round begins.

A reset is called once for every parameter of the network, biases and norms too. The engine sets dead weights to 0
afterwards. Each round checks that the weights are what the trait `source` says (engine/proofs.py). With the trait
`lr = "last"` training goes on at the schedule's last rate.
"""

from typing import Annotated

from msgspec import Meta

from sweepstake.base.registry import Registry

reset = Registry("reset", by_layer=True, offers={
    "w_init": "the parameter at the very beginning",
    "w_step": "the parameter at step `step` of round 0 (an option of the piece)",
    "w_final": "the parameter at the end of the round",
    "redraw": "the cell's own init, drawn anew for this round",
    "default_draw": "the framework's default init, drawn for this round",
    "shuffled": "w_init with its surviving values moved to other surviving places, drawn for this round",
    "resampled": "w_init's own values drawn with replacement, for this round",
})


@reset(source="w_step", neutral={"step": 0})
def rewind(w_step, *, step: Annotated[int, Meta(ge=0)] = 0):
    """Back to init, or to the weights at step k of round 0 (Frankle & Carbin 2019; Frankle et al. 2020)."""
    return w_step


@reset(source="w_final")
def rewind_lr(w_final):
    """Keep the trained weights and play the learning-rate schedule again (Renda et al. 2020)."""
    return w_final


@reset(source="w_final", lr="last")
def none(w_final):
    """Keep going from the trained weights at the schedule's last rate: fine-tuning (Han et al. 2015)."""
    return w_final


@reset(source="fresh")
def fresh(redraw):
    """A new draw from the cell's own init: the paper's random reinitialisation (Frankle & Carbin 2019)."""
    return redraw


@reset(source="fresh")
def framework_default(default_draw):
    """A new draw from the framework's default init, whatever the cell's own is (what many codes do unawares)."""
    return default_draw


@reset(source="shuffled")
def shuffled(shuffled):
    """The survivors' initial values in each other's places: the distribution is kept (Zhou et al. 2019)."""
    return shuffled


@reset(source="resampled")
def empirical(resampled):
    """A new draw from the layer's own initial values, with replacement (Zhou et al. 2019)."""
    return resampled


@reset(source="same_signs")
def same_signs(w_init, redraw):
    """A new draw of the magnitudes under the old signs (Zhou et al. 2019)."""
    return redraw.abs().copysign(w_init)


@reset(source="constant_signed")
def constant_signed(w_init):
    """One magnitude a layer, its init's root mean square, under the old signs (Zhou et al. 2019)."""
    return w_init.square().mean().sqrt() * w_init.sign()
