"""Muon for the hidden matrices of a network and AdamW for the rest, as one optimizer.

`torch.optim.Muon` (PyTorch 2.9 and newer) takes the matrices. Our own part serves what it does not do: the kernels of convolutions,
which count as matrices (out, in x height x width), older versions of PyTorch, and CUDA graphs on a GPU. It makes the same steps.
"""

import torch

from genre_nbs.fast.cuda_graphs import CUDAGraphed, run_on_streams


def newton_schulz(
    update: torch.Tensor,  # (rows, columns)
) -> torch.Tensor:  # the same shape and dtype, with singular values of about 1; computed in bfloat16, as PyTorch's `Muon` does
    "Orthogonalises a matrix by five steps of the Newton-Schulz iteration with Jordan's coefficients (2024)."
    tall = len(update) > update.shape[1]
    x = update.bfloat16()
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        a = x @ x.T
        x = torch.addmm(x, torch.addmm(a, a, a, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.T if tall else x).to(update.dtype)


class MuonWithAdamW(torch.optim.Optimizer):
    "Muon for the hidden weight matrices and kernels of a network; AdamW for its first and last one, and for biases and normalisation."

    def __init__(
        self,
        params,  # the network's parameters, in the order of its layers
        lr: float = 1e-3,  # for both; Muon's steps are scaled to the size of AdamW's (Liu and others 2025, "match_rms_adamw")
        weight_decay: float = 0.01,  # for both
        momentum: float = 0.95,  # of Muon, in [0, 1)
    ):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), not {momentum}")
        everything = self.param_groups[0]["params"]
        hidden = [p for p in everything if p.dim() > 1][1:-1]
        on_gpu = everything[0].is_cuda
        native = [p for p in hidden if p.dim() == 2 and not on_gpu and hasattr(torch.optim, "Muon")]
        self.own = [p for p in hidden if not any(p is other for other in native)]
        others = [p for p in everything if not any(p is other for other in hidden)]
        self.parts = [torch.optim.AdamW(others, lr, weight_decay=weight_decay)]
        if native:
            settings = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}
            self.parts.append(torch.optim.Muon(native, **settings))
        self.streams = [torch.cuda.Stream() for _ in self.own] if on_gpu else []
        self.orthogonalize = CUDAGraphed(self.newton_schulz_all) if on_gpu else self.newton_schulz_all

    @torch.no_grad()
    def step(self, closure=None):
        "One step of all parts, with one learning rate and one optimizer state."
        for part in self.parts:
            part.state, part.param_groups[0]["lr"] = self.state, self.param_groups[0]["lr"]
            part.step()
        learning, group = [p for p in self.own if p.grad is not None], self.param_groups[0]
        updates = [self.nesterov(p, group["momentum"]).flatten(1) for p in learning]
        for p, way in zip(learning, self.orthogonalize(*updates) if updates else [], strict=True):
            scale = 0.2 * group["lr"] * max(way.shape) ** 0.5
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(way.reshape(p.shape), alpha=-scale)

    def nesterov(self, p, momentum):
        "The update of one weight by Nesterov's momentum."
        if p not in self.state:
            self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return p.grad.lerp(self.state[p]["momentum_buffer"].lerp_(p.grad, 1 - momentum), momentum)

    def newton_schulz_all(self, *updates):
        "The orthogonalised updates; on a GPU concurrently."
        return run_on_streams(self.streams[: len(updates)], newton_schulz, updates) if self.streams else [newton_schulz(u) for u in updates]
