"""What one core can do in single precision: fused multiply-adds that never leave its registers, and torch's SGEMM."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

import time
from pathlib import Path

import torch
from numba import njit

from sweepstake.engine.kernels.lanes import fill, fma, total

LANES = 16 if "avx512f" in Path("/proc/cpuinfo").read_text() else 8
CHAINS = 12
"""Sums that do not wait for each other: two units of latency four need eight."""


@njit
def chains(times, x, y):
    by, a = fill(y, LANES), fill(x, LANES)
    b, c, d, e, f = a + by, a - by, a * by, a / by, by  # All different: equal sums would be computed once.
    g, h, i, j, k, m = b + by, c - by, b + a, c - a, d * by, e + a
    for _ in range(times):
        a, b, c, d = fma(by, a, by), fma(by, b, by), fma(by, c, by), fma(by, d, by)
        e, f, g, h = fma(by, e, by), fma(by, f, by), fma(by, g, by), fma(by, h, by)
        i, j, k, m = fma(by, i, by), fma(by, j, by), fma(by, k, by), fma(by, m, by)
    return total(a) + total(b) + total(c) + total(d) + total(e) + total(f) + total(g) + total(h) + total(i) + total(j) + total(k) + total(m)


def fma_gflops(times: int = 3_000_000) -> float:
    chains(10, 1.0, 0.5)
    began = time.perf_counter()
    chains(times, 1.0, 0.5)
    return times * CHAINS * LANES * 2 / (time.perf_counter() - began) / 1e9


def sgemm_gflops(times: int = 4) -> float:
    a, b, c = (torch.ones(1024, 1024) for _ in range(3))
    torch.mm(a, b, out=c)
    began = time.perf_counter()
    for _ in range(times):
        torch.mm(a, b, out=c)
    return times * 2 * 1024**3 / (time.perf_counter() - began) / 1e9
