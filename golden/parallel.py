"""Training by several processes (``torchrun``): the same sums as one process makes of the whole batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def start() -> tuple[int, int]:
    """Rank and number of processes; joins the others if ``torchrun`` started this one."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()


def stop() -> None:
    """Leave the others."""
    if dist.is_initialized():
        dist.destroy_process_group()


class Mean(torch.autograd.Function):
    """Mean over the processes, through which gradients pass."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        """Everyone gets it."""
        x = x.clone()
        dist.all_reduce(x)
        return x / dist.get_world_size()

    @staticmethod
    def backward(ctx, grad):
        """Everyone's part of it."""
        return Mean.apply(grad)


@contextmanager
def whole_batches() -> Iterator[None]:
    """Within it, batch norms see the batch of all processes; torch's own that do (SyncBatchNorm) are for GPUs only.

    Under ``torchrun`` one process does its sums here, too: torch's batch norm rounds otherwise, and a spike more or less makes
    another network.
    """

    def batch_norm(x: Tensor, running_mean: Tensor, running_var: Tensor, weight: Tensor | None = None,
                   bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
        if not training:
            return alone(x, running_mean, running_var, weight, bias, training, momentum, eps)
        axes, shape = [i for i in range(x.dim()) if i != 1], [1, -1] + [1] * (x.dim() - 2)
        z = x.float()
        middle = Mean.apply(z.mean(dim=axes))
        z = z - middle.view(shape)
        variance = Mean.apply(z.square().mean(dim=axes))
        count = x.numel() // x.shape[1] * dist.get_world_size()
        with torch.no_grad():
            running_mean.lerp_(middle, momentum)
            running_var.lerp_(variance * (count / (count - 1)), momentum)
        z = z * torch.rsqrt(variance + eps).view(shape)
        if weight is not None:
            z = z * weight.view(shape)
        return (z if bias is None else z + bias.view(shape)).to(x.dtype)

    alone = F.batch_norm
    if dist.is_initialized():
        F.batch_norm = batch_norm  # type: ignore[assignment]
    try:
        yield
    finally:
        F.batch_norm = alone
