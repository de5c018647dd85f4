"""A study as slides to talk about: one idea a slide, charts that can be edited, and the whole text in the notes."""

from sweepstake.read.slides.talk import write_slides as write_slides
