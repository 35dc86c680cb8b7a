"Checkpoints: all that the next epoch of a training run depends on, in one safetensors file."

import hashlib
import json
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from genre_nbs.io.files import atomic_path

HEADER = "genre_nbs_checkpoint"
DEVICE_OPTIONS = ("fused", "capturable")  # options of an optimizer that fit one device, and perhaps not another


class CheckpointError(ValueError):
    "A file that is no checkpoint of this run: damaged, or of another one. `reason` says which, without advice."

    def __init__(self, reason, advice="delete it to start anew"):
        self.reason = reason
        super().__init__(f"{reason}: {advice}")


def save_checkpoint(
    path: str | Path,  # file to write, replaced atomically
    run,  # a `training.Run`: model, optimizer, settings, history and best weights
):
    "Write a run into one safetensors file. Raises `OSError`, which names it, when it cannot be written."
    state = run.optimizer.state_dict()
    moments = {f"optimizer.{i}.{name}": value for i, values in state["state"].items() for name, value in values.items()}
    tensors = {f"model.{k}": v for k, v in run.model.state_dict().items()} | {f"best.{k}": v for k, v in run.best.items()}
    tensors |= {k: v for k, v in moments.items() if isinstance(v, torch.Tensor)}
    plain = {k: v for k, v in moments.items() if k not in tensors}
    about = {"settings": run.settings, "history": asdict(run.history), "groups": state["param_groups"], "plain": plain}
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    header = json.dumps([content_checksum(about, tensors), about])
    with atomic_path(path) as part:
        part.write_bytes(save(tensors, {HEADER: header}))  # not by save_file, whose own half-written file would stay after a kill


def content_checksum(
    about: dict,  # settings, history, parameter groups and plain values, JSON-able
    tensors: dict,  # name -> tensor on the CPU
) -> int:
    "CRC-32 of everything in a checkpoint: one bit that changed on the disk would give another model, and nobody would notice."
    total = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), zlib.crc32(name.encode(), total))
    return total


def read_checkpoint(
    path: str | Path,  # written by `save_checkpoint`
) -> tuple:  # (dict of settings and history, dict of tensors)
    "The content of a checkpoint. Raises `CheckpointError` when it cannot be read."
    try:
        with safe_open(path, framework="pt") as f:
            (total, about), tensors = json.loads(f.metadata()[HEADER]), {key: f.get_tensor(key) for key in f.keys()}
        if total != content_checksum(about, tensors):
            raise ValueError("its checksum is another")
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path} is no checkpoint, or is damaged ({error})") from error
    return about, tensors


def load_checkpoint(
    path: str | Path,  # written by `save_checkpoint`
    run,  # a `training.Run`: its model, optimizer, history and best weights are restored, in place
):
    "Restore a run. Raises `CheckpointError` when the file is damaged or belongs to a run with other settings."
    about, tensors = read_checkpoint(path)
    try:
        then, now = about["settings"], run.settings
        other = [f"{k}: {then.get(k)!r} there, {now[k]!r} here" for k in now if then.get(k) != now[k]]
        if not other:
            restore(run, about, tensors)
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is the checkpoint of another version ({type(error).__name__})") from error
    if other:
        raise CheckpointError(f"{path} is the checkpoint of another run ({'; '.join(other)})", "name another file or delete it")


def restore(run, about, tensors):
    "A run as it was, in place."
    run.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    restore_optimizer(run.optimizer, about["groups"], about["plain"] | tensors)
    run.best = {name: tensors[f"best.{name}"].to(value.device) for name, value in run.best.items()}
    run.history = type(run.history)(**about["history"])


def restore_optimizer(
    optimizer: torch.optim.Optimizer,  # its state is restored, in place
    groups: list,  # its parameter groups, as they were
    values: dict,  # "optimizer.<parameter>.<name>" -> value; other keys are passed over
):
    "The optimizer's state as it was, on the device of its weights."
    state = {}
    for key, value in values.items():
        part, name = key.split(".", 1)
        if part == "optimizer":
            state.setdefault(int(name.split(".")[0]), {})[name.split(".")[1]] = value
    here = [{name: group[name] for name in DEVICE_OPTIONS if name in group} for group in optimizer.param_groups]
    optimizer.load_state_dict({"state": state, "param_groups": [then | now for then, now in zip(groups, here, strict=True)]})
    for p, moments in optimizer.state.items():  # in the memory format of the weights, which fused optimizers take for granted
        moments.update({k: torch.empty_like(p).copy_(v) for k, v in moments.items() if torch.is_tensor(v) and v.shape == p.shape})


def run_checksum(
    model: nn.Module,  # its layers count, not its weights
    *examples,  # `Examples`, whose numbers and labels count; None is passed over
) -> str:  # 16 hexadecimal digits
    "Tells one network and data set from another, so that a checkpoint is only continued with its own."
    digest = hashlib.sha256(str(model).encode())
    for part in examples:
        for array in () if part is None else (part.x, part.y):
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]
