"The whole job on the practice corpus: songs, training, evaluation, use, and a report that shows it all."

import os
import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from genre_nbs.app.pipeline import shown_settings, train_on
from genre_nbs.app.recipes import find_recipe
from genre_nbs.app.report import html_report, record_result
from genre_nbs.audio import load_audio, play
from genre_nbs.datasets import load_examples, read_tracks
from genre_nbs.evaluation import evaluate, plot_confusion_pair, worst_mistakes
from genre_nbs.genres import genre_title, GTZAN_GENRES
from genre_nbs.io.decode import save_audio
from genre_nbs.io.files import atomic_path
from genre_nbs.io.html import mistakes_html
from genre_nbs.practice import practice_song, RESERVED_ARTISTS, write_corpus
from genre_nbs.spectrograms import log_mel, to_grey
from genre_nbs.training import plot_history

RECIPES_SHOWN = ("mlp",)
SR = 22050
TRAINING = dict(songs_per_genre=12, artists_per_genre=6, seconds=12.0)
UNKNOWN_ARTISTS = RESERVED_ARTISTS[10:13]
LEAD = (
    "Songs in ten genres were composed by rule and rendered on this machine. Each recipe learned from some artists, "
    "was chosen on others, and was then tested on songs by artists whom it had never met."
)


def run_demo(out, seed=0, say=print):
    "Carry out the demo in the folder `out`; returns the paths and scores as a JSON-able dict."
    out, start = Path(out), time.perf_counter()
    matplotlib.use("Agg")
    say(f"Making songs in {out / 'songs'} ...")
    write_corpus(out / "songs", seed=seed, jobs=os.cpu_count() or 1, **TRAINING)
    write_unknown(out / "unknown", seed)
    runs = {}
    for name in RECIPES_SHOWN:
        say(f"Training {name} ...")
        runs[name] = run_recipe(name, out, seed)
    report = write_report(out, runs)
    seconds = time.perf_counter() - start
    say(f"Done in {seconds:.0f} s.")
    tests = {name: run["test"].to_dict() for name, run in runs.items()}
    models = {name: str(run["model"]) for name, run in runs.items()}
    return {"report": str(report), "models": models, "test": tests, "seconds": round(seconds, 1)}


def write_unknown(folder, seed):
    "A song of each genre by each of a few artists who are in no corpus."
    for genre in GTZAN_GENRES:
        for number, artist in enumerate(UNKNOWN_ARTISTS):
            path = folder / genre / f"{genre}-unknown-{number}.flac"
            if not path.exists():
                y, _ = practice_song(genre, artist, seconds=TRAINING["seconds"], seed=seed, sr=SR)
                save_audio(path, y, SR)


def run_recipe(name, out, seed):
    "Train one recipe, and test it once on the songs by unknown artists."
    done = train_on(out / "songs", find_recipe(name), split="artist", seed=seed)
    model = done.classifier.save(out / f"{name}.safetensors")
    unknown = load_examples(out / "unknown", done.classifier.representation, done.classifier.genres)
    proba = done.classifier.predict_proba_examples(unknown.x)
    test = evaluate(proba, unknown.y, unknown.genres, unknown.track, by="track")
    subsets = (done.train.track, done.valid.track, unknown.track)
    record_result(out / "results.csv", test, name, "artist", subsets, seeds=[seed], recipe=shown_settings(done.classifier))
    return {"trained": done, "model": model, "test": test, "songs": song_table(proba, unknown, out)}


def song_table(proba, examples, out):
    "One row a song: path, true and predicted genre and the probability of each genre, (songs,)."
    tracks = read_tracks(out / "unknown").set_index("track")
    table = pd.DataFrame(proba, columns=list(examples.genres)).groupby(examples.track, sort=False).mean()
    predicted = np.array(examples.genres)[table.to_numpy().argmax(1)]
    return table.assign(path=tracks.path[table.index].to_numpy(), true=tracks.genre[table.index].to_numpy(), predicted=predicted)


def write_report(out, runs):
    "The HTML report and the tables beside it."
    overview = pd.DataFrame([overview_row(run) for run in runs.values()], index=pd.Index(runs, name="recipe"))
    sections = [("Results", [overview, RESULTS_TEXT])]
    for name, run in runs.items():
        write_table(out / f"{name}-songs.csv", run["songs"])
        write_table(out / f"{name}-history.csv", run["trained"].history.table)
        sections.append((f"Recipe {name}", recipe_section(run)))
    first = runs[RECIPES_SHOWN[0]]["test"]
    learned = len(set(runs[RECIPES_SHOWN[0]]["trained"].train.track))
    low, high = first.accuracy_interval
    summary = {"training songs": learned, "test songs": first.n}
    summary |= {"test accuracy": f"{first.accuracy:.0%}", "95 % interval": f"{low:.0%} to {high:.0%}"}
    return html_report(out / "report.html", "Music genre classification", sections, summary, LEAD)


RESULTS_TEXT = (
    "The validation set chose the best epoch, so its score is a little too good (optimistically biased). The test set was used once, at the end. "
    "The interval says how far the score could move with other songs of the same kind."
)


def overview_row(run):
    "The scores of one recipe, for the table on top."
    valid, test = run["trained"].evaluations["track"], run["test"]
    low, high = test.accuracy_interval
    return {
        "validation accuracy": valid.accuracy, "test accuracy": test.accuracy, "low": low, "high": high,
        "macro F1": test.f1_macro, "test songs": test.n, "best epoch": run["trained"].history.best_epoch,
    }  # fmt: skip


def recipe_section(run):
    "What the report shows of one recipe: curves, confusion matrices, scores by genre and the worst mistakes."
    songs = run["songs"]
    genres = run["test"].genres
    labels = np.array([genres.index(genre) for genre in songs.true])
    folder = Path(songs.path.iloc[0]).parents[1]
    names = [str(Path(path).relative_to(folder)) for path in songs.path]
    mistakes = worst_mistakes(songs[list(genres)].to_numpy(), labels, genres, names, n=6)
    per_genre = run["test"].per_genre.rename(index=genre_title)
    shown = [
        (plot_history(run["trained"].history), "Loss by epoch, on the training and on the validation set."),
        (plot_confusion_pair(run["test"]), "Test set: true genres in rows, predictions in columns."),
        (per_genre, "Scores by genre on the test set."),
    ]
    if len(mistakes):
        table = mistakes_html(mistakes, player=lambda name: song_player(folder / name), picture=lambda name: song_spectrogram(folder / name), title=genre_title)
        shown.append((table, "The most confident mistakes: listen."))
    return shown


def song_player(path):
    "A player of the first seconds of a song file."
    return play(*load_audio(path))


def song_spectrogram(path):
    "The grey spectrogram of a song file."
    return to_grey(log_mel(*load_audio(path)))


def write_table(path, table):
    "A table as CSV, whole or not at all; paths in it count from the folder of the table."
    if "path" in table:
        table = table.assign(path=[str(Path(p).relative_to(path.parent)) for p in table.path])
    with atomic_path(path) as part:
        table.to_csv(part, float_format="%.6g")
