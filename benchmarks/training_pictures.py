"""One epoch of the picture networks over 700 pictures, timed against the usual OpenCV-and-DataLoader loop in the same run.

    python benchmarks/training_pictures.py            # prints the table
    python benchmarks/training_pictures.py --write    # and puts it into benchmarks/README.md

The pictures are 432 x 288 PNG files, made from practice songs. The usual loop reads each file in each epoch, as most
tutorials do; `fit` holds them decoded, as bytes. Decoding them once is timed as well. For `fit` it
is the mean of the first three epochs, without what is done once before them.
"""

import argparse
import os
import platform
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from sections import write_section
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from genre_nbs.datasets import load_examples
from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.io.pictures import save_picture
from genre_nbs.networks import pick_device
from genre_nbs.picture_cnn import PICTURE, picture_cnn
from genre_nbs.practice import practice_song
from genre_nbs.spectrograms import spectrogram_picture
from genre_nbs.training import fit

EPOCHS = 3
NETWORKS = {"64/128/64": ((64, 128, 64), "Adam", 0.001), "16/32/16": ((16, 32, 16), "Adagrad", 0.01)}


def write_pictures(folder, n):
    "n pictures in genre folders: one practice song a genre, begun at another moment for each picture."
    for genre in GTZAN_GENRES:
        picture = spectrogram_picture(*(practice_song(genre, seconds=30.0)[0], 22050))
        for i in range(n // 10):
            save_picture(folder / genre / f"{genre}{i}.png", np.roll(picture, 6 * i, 1))


class Files(Dataset):
    "Pictures read from disk whenever they are asked for."

    def __init__(self, folder):
        self.items = [(str(path), k) for k, genre in enumerate(GTZAN_GENRES) for path in sorted((folder / genre).glob("*.png"))]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        path, label = self.items[i]
        return ToTensor()(cv2.imread(path)), label


def usual_network(channels):
    "The network as it was written: ReLU before pooling, PyTorch's own first layer."
    a, b, c = channels
    return nn.Sequential(
        nn.Conv2d(3, a, 7, 6), nn.ReLU(), nn.Conv2d(a, b, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(b, c, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(c * 160, 1024), nn.ReLU(), nn.Linear(1024, 10))  # fmt: skip


def usual_epoch(folder, model, optimizer, device):
    "One epoch of the usual loop."
    loader = DataLoader(Files(folder), batch_size=80, shuffle=True, num_workers=2)
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x.to(device)), y.to(device))
        loss.backward()
        optimizer.step()
        loss.item()


def clock():
    "Seconds passed, and seconds of work of this process and the workers that it waited for."
    work = sum(u.ru_utime + u.ru_stime for u in (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
    return np.array([time.perf_counter(), work])


def measure(folder, examples, repeats, device):
    "name -> best (seconds, seconds of work) of an epoch, the ways taking turns."
    times = {}
    for name, (channels, optimizer, lr) in NETWORKS.items():
        model = usual_network(channels).to(device)
        opt = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
        ours = partial(picture_cnn, examples.x.shape[1:], 10, channels)
        fit(ours(), examples.take(np.arange(80)), epochs=1, batch_size=80, device=device)  # compiles what is compiled
        for _ in range(repeats):
            start = clock()
            usual_epoch(folder, model, opt, device)
            times.setdefault((name, "usual"), []).append(clock() - start)
            start = clock()
            rows = fit(ours(), examples, optimizer=optimizer, lr=lr, epochs=EPOCHS, batch_size=80, device=device).rows
            taken = clock() - start
            seconds = sum(row["seconds"] for row in rows) / EPOCHS
            times.setdefault((name, "fit"), []).append(np.array([seconds, taken[1] * seconds / taken[0]]))
    return {key: min(values, key=lambda v: v[0]) for key, values in times.items()}


def table(times, decode, n, device, repeats):
    "The table as Markdown."
    rows = []
    for name in NETWORKS:
        (usual, usual_work), (ours, work) = times[name, "usual"], times[name, "fit"]
        rows.append(
            f"| {name} | {usual:.1f} s ({usual_work:.1f}) | {ours:.2f} s ({work:.1f}) | {usual / ours:.1f} | {usual_work / work:.1f} |"
        )
    machine = f"{os.cpu_count()}-core {platform.machine()} machine, {torch.get_num_threads()} threads, device {torch.cuda.get_device_name() if device.type == 'cuda' else device}, torch {torch.__version__.split('+')[0]}"
    head = f"One epoch of {n} pictures of 432 x 288 at batch 80 ({machine}; best of {repeats}, taking turns; in brackets seconds of the processor's work, all cores together; a GPU's is not counted). "
    head += f"Decoding all pictures, once for all epochs: {decode:.1f} s."
    return "\n".join(
        [head, "", "| network | OpenCV + DataLoader, 2 workers | `fit` | times faster | times less work |", "|---|---|---|---|---|", *rows]
    )


def main():
    "Measure and print."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=700)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default=None)
    parser.add_argument("--write", action="store_true", help="into benchmarks/README.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), options.pictures)
        start = time.perf_counter()
        examples = load_examples(folder, PICTURE)
        decode = time.perf_counter() - start
        text = table(
            measure(Path(folder), examples, options.repeats, pick_device(options.device)),
            decode,
            len(examples),
            pick_device(options.device),
            options.repeats,
        )
    print(text)
    if options.write:
        on_gpu = pick_device(options.device).type == "cuda"
        write_section("pictures" + "-gpu" * on_gpu, "Pictures" + " on a GPU" * on_gpu, text)


if __name__ == "__main__":
    main()
