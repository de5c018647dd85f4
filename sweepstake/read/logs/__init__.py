"""A study's runs in the loggers that people watch them in: TensorBoard, Trackio, Weights & Biases.

A logger gets a copy of what the store holds, and nothing is ever read back from one. `contract.py` says what one has
to offer, `contents.py` what it gets of a cell, `logger.py` when. Each other file is one of them.
"""
