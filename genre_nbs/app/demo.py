"The whole job on the practice corpus: songs, three networks, evaluation, use, and a report that shows it all."

import io
import os
import time
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from genre_nbs.app.console import shown_settings
from genre_nbs.app.pipeline import train_on
from genre_nbs.app.predict import prediction_line
from genre_nbs.app.recipes import find_recipe
from genre_nbs.app.report import html_report, record_result
from genre_nbs.audio import load_audio, play
from genre_nbs.datasets import load_examples, read_tracks
from genre_nbs.evaluation import evaluate, plot_confusion_pair, worst_mistakes
from genre_nbs.features import Analysis, plot_spectrogram
from genre_nbs.genres import genre_title, GTZAN_GENRES
from genre_nbs.io.decode import save_audio
from genre_nbs.io.files import atomic_path
from genre_nbs.io.html import data_uri, Html, mistakes_html
from genre_nbs.io.leftovers import swept_folder
from genre_nbs.practice import practice_song, RESERVED_ARTISTS, write_corpus
from genre_nbs.songs import listen, plot_timeline
from genre_nbs.style import STYLE
from genre_nbs.training import plot_history

RECIPES_SHOWN = {  # name -> title, and what differs from the recipe, so that a laptop does all in a minute or so
    "mlp": ("Multilayer perceptron", {}),
    "picture-best": ("Picture CNN", {"epochs": 40}),
    "mel-best": ("Mel CNN", {"epochs": 8}),
}
SR = 22050
TRAINING = dict(songs_per_genre=12, artists_per_genre=6, seconds=12.0)
UNKNOWN_ARTISTS = RESERVED_ARTISTS[10:13]
SAMPLE = Path(__file__).parents[2] / "test_samples" / "blues1.ogg"  # in a checkout; elsewhere a song of the demo takes its place
LARGE_MISTAKES = 3  # of each recipe, with a large spectrogram
HIGHEST = 8000  # Hz, in spectrograms
LEAD = (
    "Songs in ten genres were composed by rule and rendered on this machine. Each recipe learned from some artists, "
    "was chosen on others, and was then tested on songs by artists whom it had never met."
)


def run_demo(out, seed=0, say=print):
    "Carry out the demo in the folder `out`; returns the paths and scores as a JSON-able dict."
    out, start = Path(out), time.perf_counter()
    matplotlib.use("Agg")
    with swept_folder(out):
        (out / "results.csv").unlink(missing_ok=True)  # of an earlier demo, or of one that was killed
    say(f"Making songs in {out / 'songs'} ...")
    write_corpus(out / "songs", seed=seed, jobs=os.cpu_count() or 1, **TRAINING)
    write_unknown(out / "unknown", seed)
    runs = {}
    for name, (title, changes) in RECIPES_SHOWN.items():
        say(f"Training {name} ({title}) ...")
        runs[name] = run_recipe(name, out, seed, **changes)
    prediction = listen(whole_song(out))
    report = write_report(out, runs, prediction)
    say(
        f"{Path(prediction.path).name}, a practice song in the style of blues, by the model that comes with the package: {without_path(prediction)}"
    )
    seconds = time.perf_counter() - start
    say(f"Done in {seconds:.0f} s.")
    tests = {name: run["test"].to_dict() for name, run in runs.items()}
    models = {name: str(run["model"]) for name, run in runs.items()}
    song = {name: value for name, value in prediction.to_dict().items() if name != "timeline"}
    return {"report": str(report), "models": models, "test": tests, "song": song, "seconds": round(seconds, 1)}


def whole_song(out):
    "A practice song of three minutes, or a short one where the package was installed without its test samples."
    return SAMPLE if SAMPLE.is_file() else out / "unknown" / "blues" / "blues-unknown-0.flac"


def write_unknown(folder, seed):
    "A song of each genre by each of a few artists who are in no corpus."
    for genre in GTZAN_GENRES:
        for number, artist in enumerate(UNKNOWN_ARTISTS):
            path = folder / genre / f"{genre}-unknown-{number}.flac"
            if not path.exists():
                y, _ = practice_song(genre, artist, seconds=TRAINING["seconds"], seed=seed, sr=SR)
                save_audio(path, y, SR)


def run_recipe(name, out, seed, **changes):
    "Train one recipe, and test it once on the songs by unknown artists."
    done = train_on(out / "songs", find_recipe(name), split="artist", seed=seed, **changes)
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


def write_report(out, runs, prediction):
    "The HTML report and the tables beside it."
    overview = pd.DataFrame([overview_row(run) for run in runs.values()], index=pd.Index(runs, name="recipe"))
    sections = [("Results", [overview, RESULTS_TEXT]), ("What the networks see", genre_section(out))]
    for name, run in runs.items():
        write_table(out / f"{name}-songs.csv", run["songs"])
        write_table(out / f"{name}-history.csv", run["trained"].history.table)
        sections.append((RECIPES_SHOWN[name][0], recipe_section(name, run)))
    sections.append(("A whole song", song_section(prediction)))
    first = next(iter(runs.values()))
    summary = {"training songs": len(set(first["trained"].train.track)), "test songs": first["test"].n}
    summary |= {f"test accuracy, {RECIPES_SHOWN[name][0]}": f"{run['test'].accuracy:.0%}" for name, run in runs.items()}
    return html_report(out / "report.html", "Music genre classification", sections, summary, LEAD)


def genre_section(out):
    "A test song of each genre, to see and to hear."
    shown = [SPECTROGRAM_TEXT]
    for genre in GTZAN_GENRES:
        path = out / "unknown" / genre / f"{genre}-unknown-0.flac"
        shown += [spectrogram_html(path, genre_title(genre)), song_player(path)]
    return shown


SPECTROGRAM_TEXT = (
    "Each network gets numbers that are made of a spectrogram: how much power a song has at each time and frequency. Drums are upright lines, "
    "held notes lie flat, and a voice or a guitar stacks its harmonics above each other. One test song of each genre:"
)


def without_path(prediction):
    "A prediction for people, without the path of the song."
    return prediction_line(prediction, alone=False).removeprefix(f"{prediction.path}: ")


def song_section(prediction):
    "What the model that comes with the package says of a whole song."
    path = Path(prediction.path)
    text = (
        f"{path.name} is a practice song in the style of blues. The model that comes with the package learned from recorded songs and has never heard "
        f"a composed one. Its answer: {without_path(prediction)}. "
        "A model is only as good as its training set is like what it hears, which is why it may be wrong here."
    )
    caption = "The waveform, and under it the probability of each genre over time."
    return [text, play(*load_audio(path), seconds=30.0), (plot_timeline(prediction), caption)]


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


def recipe_section(name, run):
    "What the report shows of one recipe: curves, confusion matrices, scores by genre and the worst mistakes."
    songs = run["songs"]
    genres = run["test"].genres
    labels = np.array([genres.index(genre) for genre in songs.true])
    folder = Path(songs.path.iloc[0]).parents[1]
    names = [str(Path(path).relative_to(folder)) for path in songs.path]
    mistakes = worst_mistakes(songs[list(genres)].to_numpy(), labels, genres, names, n=6)
    per_genre = run["test"].per_genre.rename(index=genre_title)
    shown = [
        f"Recipe {name}, trained for {len(run['trained'].history.table)} epochs.",
        (plot_history(run["trained"].history), "Loss by epoch, on the training and on the validation set."),
        (plot_confusion_pair(run["test"]), "Test set: true genres in rows, predictions in columns."),
        (per_genre, "Scores by genre on the test set."),
    ]
    if len(mistakes):
        table = mistakes_html(mistakes, player=lambda name: song_player(folder / name), title=genre_title)
        shown.append((table, "The most confident mistakes: listen."))
    for row in mistakes[:LARGE_MISTAKES].itertuples():
        title = f"{row.name}: true {genre_title(row.true)}, predicted {genre_title(row.predicted)} ({row.confidence:.0%})"
        shown.append(spectrogram_html(folder / row.name, title))
    return shown


def song_player(path):
    "A player of the first seconds of a song file."
    return play(*load_audio(path))


def spectrogram_html(path, title):
    "The spectrogram of a song file, as wide as the page, as JPEG."
    target = io.BytesIO()
    with matplotlib.rc_context(STYLE | {"figure.figsize": (10.5, 3.2)}):
        figure, ax = plt.subplots()
        plot_spectrogram(Analysis(*load_audio(path)), ax, fmax=HIGHEST, title=title)
        figure.savefig(target, format="jpeg", dpi=110, pil_kwargs={"quality": 85})
        plt.close(figure)
    return Html(
        Html('<img class="spectrogram" src="{}" alt="{}">').format(data_uri(target.getvalue(), "image/jpeg"), f"Spectrogram: {title}")
    )


def write_table(path, table):
    "A table as CSV, whole or not at all; paths in it count from the folder of the table."
    if "path" in table:
        table = table.assign(path=[str(Path(p).relative_to(path.parent)) for p in table.path])
    with atomic_path(path) as part:
        table.to_csv(part, float_format="%.6g")
