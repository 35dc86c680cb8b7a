"""Lesson 12 on several random seeds: SGD's control, the drawings, and the proposed fix.

    python benchmarks/picture_fix.py --data DATA [--out nbs/results] [--device cuda] [--seeds 0 1 2] [--parts sgd gtzan drawings fix]

sgd       her final network by SGD on GTZAN: as it is, with He initialisation, with batch normalisation; three learning rates
gtzan     her two networks and the better one on GTZAN, artists apart; then Kaggle's seven pictures, free songs, and other drawings
drawings  her final network (by Adam) on practice songs drawn as Kaggle's pictures; then the same songs drawn in other ways
fix       her two networks and the better one on 30 seconds, whole songs and mixed lengths of 80 practice songs; then 200 whole songs by new
          artists, compressed and cut

DATA holds gtzan_mel, gtzan_lists, kaggle_pictures and, if it is there, free_songs (lesson 05). 320 practice songs are rendered first (20
core-minutes). Trainings are parallel processes, on a GPU ten at once; a run becomes a file in RUNS at once (the folder GENRE_NBS_RESULTS, or
OUT/runs), and one that is there is not done again. From all that are there the tables picture_sgd.csv, picture_drawings.csv,
picture_whole_songs.csv and picture_outside.csv are written to OUT, the predictions of each random seed in a column of its own. Three seeds
are 66 trainings: 193 seconds on an H100 with 16 cores (torch 2.11; those of nbs/results), most of a day on a CPU core. `--small` is for a
try: few songs, two epochs.
"""

import argparse
import json
import multiprocessing as mp
import os
import pickle
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from genre_nbs.audio import load_audio
from genre_nbs.classifier import train_classifier
from genre_nbs.datasets import Examples, load_examples
from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.io.files import atomic_path
from genre_nbs.io.pictures import read_picture
from genre_nbs.networks import predict_proba
from genre_nbs.picture_cnn import (
    GREY,
    MEL_HZ,
    PICTURE,
    PICTURE_BEST,
    PICTURE_FINAL,
    PICTURE_FIRST,
    SGD_CONTROL,
    SR,
    brighter,
    drawings,
    drawn,
    linear_grey,
    mel_rows,
    to_white,
    train_and_evaluate,
    whole_song_picture,
)
from genre_nbs.practice import RESERVED_ARTISTS, practice_song
from genre_nbs.spectrograms import fit_picture, picture_to_grey

ROOT = Path(__file__).parents[1]
PARTS, KINDS, WAYS = ("sgd", "gtzan", "drawings", "fix"), ("30 s", "whole songs", "mixed lengths"), ("compressed", "cut")
RECIPES = {recipe.name: recipe for recipe in (PICTURE_BEST, PICTURE_FIRST, PICTURE_FINAL)}
BY_ADAM = replace(PICTURE_FINAL, name="picture-final-adam", optimizer="Adam", lr=0.001)  # Adagrad does not recover on so few songs
FREE = {"Vibe_Ace": "jazz", "Sugar_Plum": "classical", "Fishin": "country", "ragtime": "none of the ten"}
GIVEN = argparse.Namespace()  # what the command line says, in each process


# --- Practice songs: rendered once, each by any process


def whole_song(genre, artist, number):
    "A whole practice song of 2 to 3 minutes."
    rng = np.random.default_rng((GTZAN_GENRES.index(genre), artist, number))
    return practice_song(genre, artist=artist, song=number, seconds=float(rng.integers(120, 181)))[0]


def segment(y, seconds, rng):
    "A random segment of a song as one grey picture of 387 columns."
    size = min(round(seconds * SR), len(y))
    start = int(rng.integers(0, len(y) - size + 1))
    return whole_song_picture(y[start : start + size], SR, GREY)[0]


def training_song(genre, artist, number):
    "Six pictures of a song for each kind of training."
    y, rng = whole_song(genre, artist, number), np.random.default_rng((GTZAN_GENRES.index(genre), artist, number, 1))
    lengths = rng.uniform(10, len(y) / SR, 6)
    return {
        "30 s": np.stack([segment(y, 30, rng) for _ in range(6)]),
        "whole songs": np.repeat(whole_song_picture(y, SR, GREY), 6, 0),
        "mixed lengths": np.stack([segment(y, seconds, rng) for seconds in lengths]),
    }


def test_song(genre, artist, number):
    "A whole song, compressed and cut, and thirty seconds from its middle."
    y = whole_song(genre, artist, number)
    middle = y[45 * SR : 75 * SR]
    song = {"cut": GREY.of_waveform(y, SR), "compressed": whole_song_picture(y, SR, GREY)}
    song |= {"middle": GREY.of_waveform(middle, SR)[0, 0], "middle, linear": linear_grey(middle)}
    return song | ({"whole, linear": linear_grey(y)} if artist in RESERVED_ARTISTS[:2] and number == 0 else {})


def known_song(genre, artist, number):
    "Thirty seconds of a new song by an artist of the training set."
    y = practice_song(genre, artist=artist, song=number, seconds=75.0)[0][45 * SR :]
    return {"middle": GREY.of_waveform(y, SR)[0, 0]}


MAKERS = {"training": training_song, "test": test_song, "known": known_song}


def render(task):
    "One song: (use, genre, artist, number) -> the same with its pictures."
    use, genre, artist, number = task
    return {"use": use, "song": f"{genre}.{artist}.{number}", "true": genre} | MAKERS[use](genre, artist, number)


def song_list(small):
    "The songs of each use."
    artists, new, numbers = (1, 1, 1) if small else (4, 10, 2)
    yield from product(["test"], GTZAN_GENRES, RESERVED_ARTISTS[:new], range(numbers))
    yield from product(["training"], GTZAN_GENRES, range(artists), range(numbers))
    yield from product(["known"], GTZAN_GENRES, range(artists), [10])


# --- What a training process reads, once


@lru_cache
def songs(use):
    "Rendered songs of one use."
    return [song for song in pickle.loads(GIVEN.songs.read_bytes()) if song["use"] == use]


@lru_cache
def gtzan(colour):
    "GTZAN's pictures, as the better network takes them or as hers do."
    return load_examples(GIVEN.data / "gtzan_mel", PICTURE if colour else GREY)


def as_seen_by(recipe, grey):
    "Grey pictures (n, 1, 128, 387) as a recipe takes them."
    if recipe.representation.channels == 1:
        return grey
    return np.stack([fit_picture(picture[0], PICTURE.size, 3) for picture in grey])


@lru_cache(maxsize=4)
def test_pictures(recipe_name, way):
    "Pictures of all test songs, and how many each has."
    parts = [song[way] for song in songs("test")]
    return as_seen_by(RECIPES[recipe_name], np.concatenate(parts)), [len(part) for part in parts]


def epochs(recipe, least=0):
    "The recipe's own number, or that of a try."
    return {"epochs": 2 if GIVEN.small else least or recipe.epochs}


def probabilities(model, x):
    "Of pictures, on the GPU if there is one."
    proba = predict_proba(model.network, np.ascontiguousarray(x), device=GIVEN.device)
    model.network.cpu()
    return proba


def predictions(model, x):
    "The genre of each picture."
    return [GTZAN_GENRES[k] for k in probabilities(model, np.stack(x)).argmax(1)]


def save(model, part, *how):
    "Keep a model beside its run: lesson 12 draws Grad-CAM of it."
    model.save(run_file(part, how).with_suffix(".safetensors"))


# --- Part sgd


def run_sgd(variant, lr, seed):
    "One training by SGD, on her random split."
    changes = {"network": SGD_CONTROL[variant], "optimizer": "SGD", "lr": lr} | epochs(PICTURE_FINAL)
    row = train_and_evaluate(PICTURE_FINAL, gtzan(True), "random", seed, **changes)[0]
    kept = {name: round(row[name], 4) for name in ("accuracy", "train_accuracy")} | {"best_epoch": row["best_epoch"], "songs": row["n"]}
    curves = {name: " ".join(f"{epoch[name]:.3f}" for epoch in row["history"]) for name in ("train_accuracy", "valid_accuracy")}
    return {"sgd": [{"network": variant, "learning rate": lr, "seed": seed, **kept} | {f"{k} by epoch": v for k, v in curves.items()}]}


# --- Part gtzan


def linear_rows(grey):
    "From a mel axis to a linear one: for each of 288 equal steps in Hz the row of the nearest mel band."
    hz = np.linspace(SR / 2, 0, 288)
    return grey[127 - np.abs(hz[:, None] - MEL_HZ).argmin(1)]


def bordered(grey):
    "A grey picture within a white border, as Kaggle's have it."
    picture = np.full((128, 387), 255, np.uint8)
    picture[16:112, 48:350] = np.asarray(Image.fromarray(grey).resize((302, 96), Image.Resampling.BOX))
    return picture


def redrawn(mel):
    "For the better network (mel axis, 80 dB, no border): one thing changed, all, and converted back."
    linear = np.asarray(Image.fromarray(linear_rows(mel)).resize((387, 128), Image.Resampling.BOX))
    rows = mel_rows(brighter(linear))
    return {
        "as in training": mel,
        "white border": bordered(mel),
        "other brightness": brighter(mel),
        "linear axis": linear,
        "all three": bordered(brighter(linear)),
        "border cut off": brighter(linear),
        "and rows converted": rows,
        "and grey levels": np.rint(127.5 + rows / 2).astype(np.uint8),
    }


def outside_pictures():
    "Kaggle's seven, test_samples/ and free songs: (source, song, true, how, grey pictures)."
    for path in sorted((GIVEN.data / "kaggle_pictures").glob("*.png")):
        grey = picture_to_grey(read_picture(path))
        for how, levels in (("as it is", grey), ("scale converted", np.rint(127.5 + grey / 2).astype(np.uint8))):
            yield "Kaggle", path.stem, path.stem[:-5], how, fit_picture(levels, GREY.size, 1)[None]
    for path in sorted((ROOT / "test_samples").glob("*.png")):
        yield "test_samples", path.stem, path.stem[:-1], "compressed", GREY.of_file(path)
    for path in sorted((GIVEN.data / "free_songs").glob("*.ogg")):
        name, true = next(item for item in FREE.items() if item[0] in path.stem)
        y, _ = load_audio(path, SR)
        yield "free songs", name, true, "compressed", whole_song_picture(y, SR, GREY)
        yield "free songs", name, true, "cut", GREY.of_waveform(y, SR)


def outside_rows(model, recipe, trained_on, training, seed):
    "What a network says of pictures from elsewhere."
    for source, song, true, how, grey in outside_pictures():
        said = GTZAN_GENRES[probabilities(model, as_seen_by(recipe, grey)).mean(0).argmax()]
        labels = {"recipe": recipe.name, "trained on": trained_on, "training": training}
        yield labels | {"source": source, "song": song, "true": true, "testing": how, "seed": seed, "prediction": said}


def run_gtzan(recipe_name, seed):
    "One training on real songs, artists apart."
    recipe = RECIPES[recipe_name]
    examples = gtzan(recipe.representation.channels == 3)
    row, model = train_and_evaluate(recipe, examples, str(GIVEN.data / "gtzan_lists"), seed, **epochs(recipe))
    found = {"outside": list(outside_rows(model, recipe, "GTZAN", "30 s", seed)), "accuracy": row["accuracy"]}
    if recipe is not PICTURE_BEST:
        return found
    save(model, "gtzan", recipe_name, seed)
    valid = examples.take(np.flatnonzero(np.isin(examples.track, row["track"])))
    versions = [redrawn(picture) for picture in valid.x[:, 0]]
    labels = {"data": "GTZAN", "recipe": recipe.name, "seed": seed}
    rows = []
    for drawing in versions[0]:
        said = predictions(model, [version[drawing][None] for version in versions])
        for song, k, name in zip(valid.track, valid.y, said):
            rows.append(labels | {"drawing": drawing, "song": song, "true": GTZAN_GENRES[k], "prediction": name})
    return found | {"drawings": rows}


# --- Part drawings


def as_kaggle(grey):
    "A grey picture (128, 387), drawn as Kaggle's: mel axis, white border, 40 dB."
    return drawn(brighter(grey), True)


def run_drawings(seed):
    "Her final network, trained on one kind of drawing; then asked about others."
    pictures = [as_kaggle(picture[0]) for song in songs("training") for picture in song["30 s"]]
    labels = np.repeat([GTZAN_GENRES.index(song["true"]) for song in songs("training")], 6)
    train = Examples(np.stack(pictures), labels, np.arange(len(labels)).astype(str), GTZAN_GENRES)
    model, _ = train_classifier(BY_ADAM, train, None, seed=seed, **epochs(BY_ADAM))
    asked = [(song, name, picture) for song in songs("test") for name, picture in drawings(song["middle"], song["middle, linear"]).items()]
    for song in (song for song in songs("test") if "whole, linear" in song):
        whole = song["whole, linear"]
        asked.append((song, "all three, whole song", drawn(whole, False)))
        asked.append((song, "whole song, converted", drawn(brighter(to_white(mel_rows(whole))), True)))
        asked.append((song, "whole song, as in training", as_kaggle(song["compressed"][0, 0])))
    asked += [(song, "new songs, known artists", as_kaggle(song["middle"])) for song in songs("known")]
    said = predictions(model, [picture for *_, picture in asked])
    labels = {"data": "practice", "recipe": BY_ADAM.name, "seed": seed}
    rows = [labels | {"drawing": name, "song": song["song"], "true": song["true"], "prediction": p} for (song, name, _), p in zip(asked, said)]
    return {"drawings": rows}


# --- Part fix


def run_fix(recipe_name, kind, seed):
    "Train on one kind of pictures of 80 songs; predict 200 whole songs by new artists, compressed and cut."
    recipe = RECIPES[recipe_name]
    labels = np.repeat([GTZAN_GENRES.index(song["true"]) for song in songs("training")], 6)
    pictures = as_seen_by(recipe, np.concatenate([song[kind] for song in songs("training")]))
    train = Examples(pictures, labels, np.arange(len(labels)).astype(str), GTZAN_GENRES)
    model, history = train_classifier(recipe, train, None, seed=seed, **epochs(recipe, 20 if recipe is PICTURE_BEST else 0))
    rows = []
    for way in WAYS:
        x, counts = test_pictures(recipe_name, way)
        parts = np.split(probabilities(model, x), np.cumsum(counts)[:-1])
        for song, proba in zip(songs("test"), parts):
            row = {"recipe": recipe_name, "training": kind, "testing": way, "song": song["song"], "true": song["true"]}
            rows.append(row | {"seed": seed, "prediction": GTZAN_GENRES[proba.mean(0).argmax()]})
    found = {"whole_songs": rows, "train_accuracy": history.rows[-1]["train_accuracy"]}
    if recipe is PICTURE_BEST:
        save(model, "fix", recipe_name, kind, seed)
        found["outside"] = list(outside_rows(model, recipe, "practice", kind, seed))
    return found


# --- Doing it


RUNS = {"sgd": run_sgd, "gtzan": run_gtzan, "drawings": run_drawings, "fix": run_fix}


def job_list(seeds, parts=PARTS):
    "All runs, (part, arguments): the longest first, seed by seed."
    choices = {"gtzan": [RECIPES], "drawings": [], "sgd": [SGD_CONTROL, (0.001, 0.01, 0.1)], "fix": [RECIPES, KINDS]}
    return [(part, (*how, seed)) for part in choices if part in parts for seed in seeds for how in product(*choices[part])]


def run_file(part, how):
    "Where a run is kept."
    return GIVEN.runs / ("-".join(map(str, (part, *how))).replace(" ", "-") + ".json")


def start(given):
    "Once in each process."
    vars(GIVEN).update(vars(given))
    torch.set_num_threads(1)


def run(job):
    "One run, kept in its file; whether it was done."
    part, how = job
    began = time.perf_counter()
    try:
        found = RUNS[part](*how)
    except Exception:
        print(*job, traceback.format_exc(), flush=True)
        return False
    with atomic_path(run_file(part, how)) as path:
        path.write_text(json.dumps(found))
    print(part, *how, f"{time.perf_counter() - began:.1f} s", {k: round(v, 3) for k, v in found.items() if isinstance(v, float)}, flush=True)
    return True


def write_tables(seeds):
    "The tables, from all runs that are there."
    files = [run_file(*job) for job in sorted(job_list(seeds), key=lambda job: job[1][-1])]
    runs = [json.loads(path.read_text()) for path in files if path.is_file()]
    for name in ("sgd", "drawings", "whole_songs", "outside"):
        table = pd.DataFrame([row for found in runs for row in found.get(name, ())])
        if table.empty:
            continue
        if name != "sgd":
            keys = [column for column in table if column not in ("seed", "prediction")]
            table = table.pivot_table(index=keys, columns="seed", values="prediction", aggfunc="first", sort=False)
            table = table.rename(columns=lambda seed: f"seed {seed}").reset_index()
        with atomic_path(GIVEN.out / f"picture_{name}.csv") as path:
            table.to_csv(path, index=False)


def arguments():
    "What the command line says."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "nbs" / "results")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--jobs", type=int, help="trainings at once")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="songs rendered at once")
    parser.add_argument("--small", action="store_true", help="few songs, two epochs: a try")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("this machine has no GPU")
    given.runs = Path(os.environ.get("GENRE_NBS_RESULTS") or given.out / "runs")
    given.jobs = given.jobs or (10 if given.device == "cuda" else given.cores)
    return given


def main():
    "Render, train, write."
    given, began = arguments(), time.perf_counter()
    os.environ |= {"OMP_NUM_THREADS": "1"} | ({"CUDA_VISIBLE_DEVICES": ""} if given.device == "cpu" else {})
    given.runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        given.songs = Path(folder) / "songs.pickle"
        start(given)
        jobs = [job for job in job_list(given.seeds, given.parts) if not run_file(*job).is_file()]
        needs_songs = [job for job in jobs if job[0] in ("drawings", "fix")]
        spawn = mp.get_context("spawn")
        with spawn.Pool(given.jobs, start, (given,)) as trainers:
            early = trainers.map_async(run, [job for job in jobs if job not in needs_songs], 1)
            if needs_songs:
                with spawn.Pool(given.cores, start, (given,)) as renderers:
                    given.songs.write_bytes(pickle.dumps(renderers.map(render, song_list(given.small), 1)))
                print(f"practice songs are there after {time.perf_counter() - began:.0f} s", flush=True)
            late = trainers.map_async(run, needs_songs, 1)
            done = early.get() + late.get()
        write_tables(given.seeds)
    print(f"{sum(done)} of {len(done)} runs done in {time.perf_counter() - began:.0f} s")
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
