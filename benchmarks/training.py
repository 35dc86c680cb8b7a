"""Training, timed against the usual DataLoader loop in the same run.

    python benchmarks/training.py            # prints the table
    python benchmarks/training.py --write    # and puts it into benchmarks/README.md

The network is 26-128-32-4 on 3,200 examples of 26 numbers, 30 epochs at batch 16, SGD at 0.002: 6,000 steps.
Random numbers serve as data, since the time does not depend on them.
"""

import argparse
import os
import platform
import time

import numpy as np
import torch
import torch.nn.functional as F
from sections import write_section
from torch.utils.data import DataLoader, TensorDataset

from genre_nbs.datasets import Examples
from genre_nbs.mlp import MLP_COURSE, mlp
from genre_nbs.training import fit, fit_many

GENRES = ("blues", "classical", "hiphop", "rock")


def data(n=3200):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 26)).astype(np.float32)
    return Examples(x=x, y=rng.integers(0, 4, n), track=np.array([str(i) for i in range(n)]), genres=GENRES)


def network(seed=0):
    torch.manual_seed(seed)
    return mlp((26,), 4)


def usual_loop(examples, epochs):
    "What most tutorials write: a DataLoader, and loss.item() after each batch."
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    loader = DataLoader(TensorDataset(torch.tensor(examples.x), torch.tensor(examples.y)), batch_size=16, shuffle=True)
    for _ in range(epochs):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()


def seconds(function, *arguments, **options):
    start = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - start


def measure(epochs, repeats):
    "Best time of each way; the ways take turns, so that a busy machine is fair to all."
    examples, settings = data(), MLP_COURSE.settings | {"epochs": epochs, "device": "cpu"}
    ways = {
        "one network, usual DataLoader loop": lambda: usual_loop(examples, epochs),
        "one network, `fit`": lambda: fit(network(), examples, **settings),
        "ten networks, `fit` one after the other": lambda: [fit(network(seed), examples, seed=seed, **settings) for seed in range(10)],
        "ten networks, `fit_many`": lambda: fit_many([network(seed) for seed in range(10)], examples, **settings),
    }
    usual_loop(examples, 1)
    times = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, way in ways.items():
            if repeat == 0 or "one after the other" not in name:  # the slow one is timed once
                times[name].append(seconds(way))
    return {name: min(values) for name, values in times.items()}


def table(times, epochs, threads):
    usual = next(iter(times.values()))
    rows = [f"| {name} | {value:.2f} s | {value / usual:.2f} |" for name, value in times.items()]
    machine = f"{os.cpu_count()}-core {platform.machine()} machine, {threads} threads, no GPU, torch {torch.__version__.split('+')[0]}"
    return "\n".join([f"26-128-32-4, 3,200 examples, {epochs} epochs at batch 16 ({machine}; best of several runs, taking turns):", "",
                      "| what | time | of the usual loop |", "|---|---|---|", *rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--write", action="store_true", help="into benchmarks/README.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    text = table(measure(options.epochs, options.repeats), options.epochs, options.threads)
    print(text)
    if options.write:
        write_section("training", "Training", text)
