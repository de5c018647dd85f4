"""Two cores are shared by many tests: one thread each."""

import torch

torch.set_num_threads(1)
