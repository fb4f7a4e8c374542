"""Muon in float32 for matrices, AdamW for the rest, both on one linear schedule."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

MUON_RATE, ADAM_RATE, PATCH_RATE = 0.02, 2e-3, 3e-4


def orthogonalize(x: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Return nearly the closest orthogonal matrix, by Newton-Schulz. x: [batch, rows, columns]."""
    flip = x.shape[1] > x.shape[2]
    x = x.mT if flip else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if flip else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; equal shapes go through one batched product.

    torch.optim.Muon computes in bfloat16, which is very slow on CPUs without AMX or AVX-512.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update the parameters."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[nn.Parameter, torch.Tensor]]] = {}
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                momentum = state.setdefault("momentum", torch.zeros_like(param))
                momentum.lerp_(param.grad, 1 - group["momentum"])
                look = param.grad.lerp(momentum, group["momentum"])
                by_shape.setdefault(param.shape, []).append((param, look))
            for shape, pairs in by_shape.items():
                blocks = 3 if shape[0] == 3 * shape[1] else 1
                stack = torch.stack([look for _, look in pairs])
                stack = stack.view(len(pairs) * blocks, shape[0] // blocks, shape[1])
                scale = max(1.0, stack.shape[1] / stack.shape[2]) ** 0.5
                moves = orthogonalize(stack).reshape(len(pairs), *shape)
                for (param, _), move in zip(pairs, moves, strict=True):
                    param.mul_(1 - 0.01 * group["lr"]).add_(move, alpha=-group["lr"] * scale)


class Optimizers:
    """Both optimizers of a set of named parameters.

    `scale` multiplies all rates, `patch_scale` that of a patch embedding besides.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        scale: float = 1.0,
        patch_scale: float = 1.0,
    ) -> None:
        matrices, rest, patch = [], [], []
        for name, param in named:
            if param.requires_grad:
                matrix = param.ndim == 2 and "embed" not in name and "aux" not in name
                (patch if "patch_embed" in name else matrices if matrix else rest).append(param)
        self.params = matrices + rest + patch
        self.muon = Muon(matrices, lr=MUON_RATE * scale)
        patch_rate = PATCH_RATE * patch_scale
        groups = [{"params": rest, "base": ADAM_RATE}, {"params": patch, "base": patch_rate}]
        self.adam = torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.98),
                                      weight_decay=0)  # fmt: skip
        self.scale = scale

    def step(self, progress: float, clip: float = 1.0) -> float:
        """Update once; return the gradient norm.

        Args:
            progress: 0 to 1; the rate falls linearly with it.
            clip: the largest norm of the gradient.
        """
        fall = self.scale * max(0.03, 1 - progress)
        for group in (*self.muon.param_groups, *self.adam.param_groups):
            group["lr"] = group.get("base", MUON_RATE) * fall
        norm = nn.utils.clip_grad_norm_(self.params, clip)
        self.muon.step()
        self.adam.step()
        self.muon.zero_grad()
        self.adam.zero_grad()
        return float(norm)

    def state_dict(self) -> dict[str, object]:
        """Return the state of both."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Load the state of both."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
