"Memory that is kept while a network learns."

import os
import subprocess
import sys

import pytest
import torch

from genre_nbs.datasets import Examples
from genre_nbs.fast.memory import SETTINGS, c_library, freed_memory_kept
from genre_nbs.many import fit_many
from genre_nbs.training import fit

needs_glibc = pytest.mark.skipif(c_library() is None, reason="glibc, with its own settings")

FAULTS = """
import resource, torch
from contextlib import nullcontext
from genre_nbs.fast.memory import freed_memory_kept
def faults(n=10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n): torch.ones(2**24)  # 64 MiB
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / n
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
faults()
before = faults()
with freed_memory_kept():
    faults()
    inside, held = faults(), resident()
print(before, inside, held - resident())
"""


@needs_glibc
def test_freed_memory_is_used_again_and_given_back_at_the_end():
    quiet = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    out = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=quiet).stdout
    before, inside, given_back = map(float, out.split())
    assert before > 10 and inside < before / 10 and given_back > 50 * 2**20


@pytest.mark.parametrize("name", SETTINGS)
def test_what_the_user_has_set_is_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "65536")
    assert c_library() is None
    with freed_memory_kept():
        pass


def test_training_keeps_it(monkeypatch):
    inside = []

    class Kept:
        def __enter__(self):
            inside.append(True)

        def __exit__(self, *error):
            inside.append(False)

    monkeypatch.setattr("genre_nbs.training.freed_memory_kept", Kept)
    monkeypatch.setattr("genre_nbs.many.freed_memory_kept", Kept)
    data = Examples(torch.zeros(4, 3).numpy(), torch.tensor([0, 1, 0, 1]).numpy(), torch.arange(4).numpy().astype(str), ("a", "b"))
    fit(torch.nn.Linear(3, 2), data, epochs=1, device="cpu")
    fit_many([torch.nn.Sequential(torch.nn.Linear(3, 2))], data, epochs=1, device="cpu")
    assert inside == [True, False, True, False]
