"""Training, timed against the usual DataLoader loop in the same run: one network, and many at once.

    python benchmarks/training.py                    # prints the table for the MLP
    python benchmarks/training.py --network mel      # for the padded CNN on mel windows
    python benchmarks/training.py --write            # and puts it into benchmarks/README.md

The MLP is 26-128-32-4 on 3,200 examples of 26 numbers, 30 epochs at batch 16, SGD at 0.002: 6,000 steps.
Random numbers serve as data, since the time does not depend on them.
"""

import argparse
import os
import platform
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from sections import write_section
from torch.utils.data import DataLoader, TensorDataset

from genre_nbs.classifier import Recipe
from genre_nbs.datasets import Examples
from genre_nbs.many import fit_many
from genre_nbs.mel_cnn import MEL
from genre_nbs.mlp import MLP_ATHENS
from genre_nbs.networks import pick_device
from genre_nbs.training import fit

GENRES = ("blues", "classical", "hiphop", "rock")


@dataclass(frozen=True)
class Experiment:
    "What is trained, and how much of it."

    recipe: Recipe
    shape: tuple  # of one example
    n: int  # examples
    epochs: int
    many: int  # networks at once

    @property
    def examples(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(self.n, *self.shape)).astype(np.float32)
        return Examples(x=x, y=rng.integers(0, 4, self.n), track=np.array([str(i) for i in range(self.n)]), genres=GENRES)

    def network(self, seed=0):
        torch.manual_seed(seed)
        return self.recipe.network(self.shape, len(GENRES))


EXPERIMENTS = {
    "mlp": Experiment(MLP_ATHENS, (26,), 3200, 30, 10),
    "mel": Experiment(MEL, (21, 128), 640, 2, 4),
}
ON_GPU = {"epochs": 30, "many": 10}  # so short a run as on a CPU would measure the start alone


def usual_loop(experiment, examples, device):
    "What most tutorials write: a DataLoader, and loss.item() after each batch."
    model = experiment.network().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    loader = DataLoader(TensorDataset(torch.tensor(examples.x), torch.tensor(examples.y)), batch_size=16, shuffle=True)
    for _ in range(experiment.epochs):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            total += loss.item()


def seconds(function, *arguments, **options):
    start = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - start


def measure(experiment, repeats, device):
    "Best time of each way; the ways take turns, so that a busy machine is fair to all."
    examples, many = experiment.examples, range(experiment.many)
    settings = experiment.recipe.settings | {"epochs": experiment.epochs, "device": device}
    ways = {
        "one network, usual DataLoader loop": lambda: usual_loop(experiment, examples, device),
        "one network, `fit`": lambda: fit(experiment.network(), examples, **settings),
        f"{experiment.many} networks, `fit` one after the other": lambda: [
            fit(experiment.network(seed), examples, seed=seed, **settings) for seed in many
        ],
        f"{experiment.many} networks, `fit_many`": lambda: fit_many([experiment.network(seed) for seed in many], examples, **settings),
    }
    if device.type == "cuda":
        ways["one network, `fit` without CUDA graph"] = lambda: fit(experiment.network(), examples, cuda_graph=False, **settings)
        ways["one network, `fit` on this machine's CPU"] = lambda: fit(experiment.network(), examples, **settings | {"device": "cpu"})
    fit(experiment.network(), examples, **settings | {"epochs": 1})
    times = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, way in ways.items():
            if repeat == 0 or "one after the other" not in name:  # the slow one is timed once
                times[name].append(seconds(way))
    return {name: min(values) for name, values in times.items()}


def table(times, experiment, machine, repeats):
    usual = next(iter(times.values()))
    rows = [f"| {name} | {value:.2f} s | {value / usual:.2f} |" for name, value in times.items()]
    what = f"Recipe `{experiment.recipe.name}`, {experiment.n:,} examples of {' x '.join(map(str, experiment.shape))}, {experiment.epochs} epochs"
    head = f"{what} at batch 16 ({machine}, torch {torch.__version__.split('+')[0]}; best of {repeats}, taking turns; one after the other: once):"
    return "\n".join([head, "", "| what | time | of the usual loop |", "|---|---|---|", *rows])


def main():
    "Measure and print."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=EXPERIMENTS, default="mlp")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="into benchmarks/README.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    experiment, device = EXPERIMENTS[options.network], pick_device(options.device)
    on_gpu = device.type == "cuda"
    if on_gpu:
        experiment = replace(experiment, **ON_GPU)
    machine = f"{os.cpu_count()}-core {platform.machine()} machine, threads: {options.threads}"
    if on_gpu:
        machine = f"{torch.cuda.get_device_name(device)} in a {machine}"
    text = table(measure(experiment, options.repeats, device), experiment, machine, options.repeats)
    print(text)
    if options.write:
        name = "training" if options.network == "mlp" else f"training-{options.network}"
        write_section(name + "-gpu" * on_gpu, f"Training: {options.network}" + " on a GPU" * on_gpu, text)


if __name__ == "__main__":
    main()
