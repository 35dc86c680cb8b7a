"The command line `genre-nbs`: parses, calls a room, prints. Nothing heavy is imported before a command needs it."

import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="genre-nbs",
    help="Classify music genres: make songs, train a neural network, evaluate it honestly, use it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed: the same one gives the same result.")]
Jobs = Annotated[
    int, typer.Option(min=1, callback=lambda n: min(n, os.cpu_count() or 1), help="Processes that read songs; one a processor at most.")
]
Model = Annotated[Path | None, typer.Option(help="Model file (.safetensors) that `genre-nbs train` wrote.")]
DATA_HELP = (
    "A folder of genre folders (songs or pictures), an archive of one (.tar.gz, .zip), a manifest (.csv), a folder of the "
    "Free Music Archive, a folder with X.npy and labels.npy, or a table of features as Kaggle's."
)


def say(line=""):
    "A line for people, on standard error, so that standard output holds the result alone."
    print(printable(line).strip(), file=sys.stderr)


def printable(text):
    "Text in one line: control characters in it, as names of files can hold, are shown and not obeyed."
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", lambda sign: sign[0].encode("unicode_escape").decode(), str(text))


def emit(result, as_json, text):
    "The result: one JSON object, or `text` for people, in signs that the output can show."
    text = json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else "\n".join(map(printable, text.split("\n")))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:  # a name that is no UTF-8, or a terminal that is none
        text = json.dumps(result, allow_nan=False) if as_json else text.encode(encoding, "backslashreplace").decode(encoding)
    print(text, flush=True)


def model_file(model):
    "The model file that was named. Raises `ValueError` when none was: no model comes with the package yet."
    if model is None:
        raise ValueError("which model? Train one (genre-nbs train DATA --recipe mlp --out model.safetensors) and name it: --model model.safetensors")
    return model


def say_bad(bad):
    "Name the files that were skipped."
    for path, reason in bad.itertuples(index=False):
        say(f"skipped: {path}: {reason}")
    if len(bad):
        say(f"{len(bad)} invalid file{'s' if len(bad) > 1 else ''} skipped")


def bad_list(bad):
    "The skipped files for JSON."
    return bad.to_dict("records")


def percent(evaluation):
    "Accuracy with its interval in words."
    low, high = evaluation.accuracy_interval
    return f"{evaluation.accuracy:.1%} ({low:.1%} to {high:.1%})"


def score_lines(evaluations):
    "Scores as a few lines of text."
    lines = [f"by {way:<8}accuracy {percent(e)}, macro F1 {e.f1_macro:.3f}, n = {e.n}" for way, e in evaluations.items()]
    return "\n".join(lines)


def scores(evaluations):
    "Scores for JSON: those of the first way on top, all of them under `by`."
    first = next(iter(evaluations.values())).to_dict()
    return {**first, "scores": {way: evaluation.to_dict() for way, evaluation in evaluations.items()}}


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for songs, models, tables and the report.")] = Path("demo"),
    seed: Seed = 0,
    as_json: Json = False,
):
    """Make songs, train on them, evaluate the result, and use it: the whole job, without any data.

    Example: genre-nbs demo --out demo
    """
    from genre_nbs.app.demo import run_demo

    result = run_demo(out, seed=seed, say=say)
    emit(result, as_json, f"Report: {result['report']}")


@app.command()
def corpus(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    songs_per_genre: Annotated[int, typer.Option(min=1, help="Songs of each of the ten genres.")] = 10,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Length of each song.")] = 30.0,
    seed: Seed = 0,
    jobs: Jobs = 1,
    as_json: Json = False,
):
    """Write a practice corpus: composed songs in ten genres, and a manifest with the facts about each.

    Example: genre-nbs corpus songs --songs-per-genre 5 --seconds 10
    """
    from rich.console import Console
    from rich.progress import Progress

    from genre_nbs.practice import write_corpus

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Making songs", total=10 * songs_per_genre)
        settings = {"songs_per_genre": songs_per_genre, "seconds": seconds, "seed": seed, "jobs": jobs}
        tracks = write_corpus(out, **settings, each=lambda row: bar.advance(task))
    manifest = str(out / "manifest.csv")
    emit({"manifest": manifest, "n": len(tracks), "seed": seed}, as_json, f"{len(tracks)} songs, listed in {manifest}")


@app.command()
def prepare(
    data: Annotated[Path, typer.Argument(help="A folder of genre folders with songs, or a manifest (.csv).")],
    out: Annotated[Path, typer.Argument(help="Folder to write to; a run that was killed is resumed there.")],
    kinds: Annotated[str, typer.Option("--as", help="summary, mel, picture, or several with commas.")] = "summary",
    jobs: Jobs = 1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, to work on a cluster.")] = None,
    as_json: Json = False,
):
    """Features for a whole collection: in parallel, cached, resumable. The folders written serve as DATA of train.

    Example: genre-nbs prepare songs features --as summary,picture --jobs 2
    """
    import time

    from genre_nbs.app.prepare import prepare as prepare_all

    start = time.perf_counter()
    done = prepare_all(data, out, [kind.strip() for kind in kinds.split(",")], jobs, scheduler, sys.stderr.isatty())
    say_bad(done["bad"])
    seconds = time.perf_counter() - start
    text = f"{done['n']} songs in {seconds:.1f} s; written: {', '.join(done['folders'].values())}"
    emit({**done, "bad": bad_list(done["bad"]), "seconds": round(seconds, 3)}, as_json, text)


@app.command()
def fetch(
    what: Annotated[
        str, typer.Argument(help="gtzan (1.2 GB), gtzan-lists (its fault-filtered split), or kaggle (needs the extra kaggle).")
    ],
    folder: Annotated[Path, typer.Argument(help="Where to; kaggle has a place of its own.")] = Path("data"),
    url: Annotated[str | None, typer.Option(help="Another address to fetch it from.")] = None,
    as_json: Json = False,
):
    """Fetch a real collection, go on where a download stopped, and check what came, song by song.

    Example: genre-nbs fetch gtzan gtzan
    """
    from genre_nbs.collections import fetch_named

    result = fetch_named(what, folder, url, progress=sys.stderr.isatty())
    for track, reason in result["wrong"]:
        say(f"{track}: {reason}")
    states = ", ".join(f"{count} {state}" for state, count in result["songs"].items())
    emit(result, as_json, f"Folder: {result['folder']}" + (f"\nSongs: {states}" if states else ""))


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help=DATA_HELP)],
    recipe: Annotated[str, typer.Option(help="What to train, such as mlp.")],
    out: Annotated[Path, typer.Option(help="Model file to write (.safetensors).")],
    valid: Annotated[Path | None, typer.Option(help="Validation set; without it a part of DATA is held out.")] = None,
    split: Annotated[
        str | None, typer.Option(help="random, track, artist, hash, own, or a folder of list files; by artist where known.")
    ] = None,
    artists: Annotated[Path | None, typer.Option(help="Who plays: GTZANindex.txt, or a .csv with columns track and artist.")] = None,
    duplicates: Annotated[
        bool, typer.Option(help="Look for duplicates of a recording (in up to 5,000 tracks), and keep them in one subset of the split.")
    ] = True,
    epochs: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Instead of the recipe's, such as SGD or Adam.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, instead of the recipe's.")] = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    as_json: Json = False,
):
    """Train a classifier and evaluate it on songs that it has not learned from.

    Example: genre-nbs train songs --recipe mlp --out model.safetensors
    """
    from genre_nbs.app.pipeline import train_on
    from genre_nbs.app.recipes import find_recipe
    from genre_nbs.io.files import check_target

    check_target(out)
    if lr is not None and not 0 < lr < float("inf"):
        raise ValueError(f"--lr must be a positive number, not {lr}")
    if valid is not None and split is not None:
        raise ValueError("--valid and --split exclude each other: give one of them")
    changes = {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "lr": lr}
    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= {"artists": artists, "duplicates": duplicates}
    done = train_on(data, find_recipe(recipe), valid, split, seed=seed, jobs=jobs, progress=sys.stderr.isatty(), **changes)
    path = done.classifier.save(out)
    for subset in (done.train, done.valid) if valid is not None else (done.train,):
        say_bad(subset.bad)
    for names in done.duplicates.tracks:
        say(f"duplicates, kept in one subset: {', '.join(names)}")
    result = {
        **scores(done.evaluations),
        "model": str(path),
        "settings": done.classifier.settings,
        "bad": bad_list(done.train.bad),
        "duplicates": done.duplicates.tracks.tolist(),
    }
    emit(result, as_json, f"{score_lines(done.evaluations)}\nModel: {path}")


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help=DATA_HELP)],
    model: Model = None,
    by: Annotated[str, typer.Option(help="What to count: example, track, or both with a comma.")] = "example,track",
    plot: Annotated[Path | None, typer.Option(help="Picture file for the confusion matrix (.png, .svg, .pdf).")] = None,
    jobs: Jobs = 1,
    as_json: Json = False,
):
    """Evaluate a model on data: scores with intervals, a table by genre, a confusion matrix.

    Example: genre-nbs evaluate songs --model model.safetensors --plot confusion.png
    """
    from genre_nbs.app.pipeline import evaluate_classifier
    from genre_nbs.classifier import GenreClassifier
    from genre_nbs.collections import load_collection
    from genre_nbs.io.files import check_target

    if plot is not None:
        check_target(plot)
    classifier = GenreClassifier.load(model_file(model))
    examples = load_collection(data, classifier.representation, classifier.genres, jobs, sys.stderr.isatty())
    evaluations = evaluate_classifier(classifier, examples, [way.strip() for way in by.split(",")])
    say_bad(examples.bad)
    last = list(evaluations.values())[-1]
    if plot is not None:
        from genre_nbs.evaluation import save_confusion

        save_confusion(last, plot)
    text = f"{score_lines(evaluations)}\n\n{last.per_genre.round(3).to_string()}"
    emit({**scores(evaluations), "bad": bad_list(examples.bad)}, as_json, text)


@app.command()
def predict(
    songs: Annotated[list[Path], typer.Argument(metavar="SONG...", help="Song files (or pictures, for a picture model).")],
    model: Model = None,
    as_json: Json = False,
):
    """Predict the genre of songs.

    Example: genre-nbs predict "my song.mp3" --model model.safetensors
    """
    from genre_nbs.classifier import GenreClassifier
    from genre_nbs.genres import genre_title

    classifier = GenreClassifier.load(model_file(model))
    found, errors = [], []
    for song in songs:
        try:
            proba = classifier.predict_proba(song)
        except ValueError as error:
            errors.append(str(error))
            continue
        order = proba.argsort()[::-1]
        named = {classifier.genres[i]: round(float(proba[i]), 4) for i in order}
        found.append({"path": str(song), "genre": classifier.genres[order[0]], "proba": named})
    lines = []
    for song in found:
        likely = ", ".join(f"{genre_title(genre)} {p:.0%}" for genre, p in list(song["proba"].items())[:3])
        said = f"The song genre is {genre_title(song['genre'])}" if len(songs) == 1 else f"{song['path']}: {genre_title(song['genre'])}"
        lines.append(printable(f"{said}  ({likely})"))
    if found or as_json:
        emit({"songs": found, "errors": errors}, as_json, "\n".join(lines))
    for error in errors[:-1]:
        say(f"Error: {error}")
    if errors:
        raise ValueError(errors[-1])


@app.command()
def optimizers(
    data: Annotated[Path, typer.Argument(help=DATA_HELP)],
    recipe: Annotated[str, typer.Option(help="The network and all its hyperparameters but the optimizer's.")] = "mlp",
    out: Annotated[Path, typer.Option(help="Folder for tables and pictures; a comparison that was stopped goes on there.")] = Path("optimizers"),
    quick: Annotated[bool, typer.Option("--quick/--full", help="A first look in a minute or two, or the whole comparison.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Random seeds of each optimizer; 10, or 3 when quick.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Learning rates on the first search grid of each; 5, or 3 when quick.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Of each run; the recipe's, or 5 when quick.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Validation set; without it a part of DATA is held out.")] = None,
    split: Annotated[
        str | None, typer.Option(help="random, track, artist, hash, own, or a folder of list files; by artist where known.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Test set, used once, by the final runs.")] = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, to work on a cluster.")] = None,
    device: Annotated[str, typer.Option(help="Where the networks are trained: cpu, or cuda for a GPU.")] = "cpu",
    as_json: Json = False,
):
    """Compare optimizers: with one learning rate for all, and each with its own. Each run is kept when it is done.

    Example: genre-nbs optimizers songs --quick --out comparison
    """
    from dataclasses import replace

    from genre_nbs.app.recipes import find_recipe
    from genre_nbs.io.files import check_target

    if valid is not None and split is not None:
        raise ValueError("--valid and --split exclude each other: give one of them")
    if test is not None and test.resolve() in (data.resolve(), valid and valid.resolve()):
        raise ValueError(f"{test}: is the training or validation set, so it cannot be the test set")
    found = find_recipe(recipe)
    check_target(out / "runs.csv")
    from genre_nbs.app.compare import compare
    from genre_nbs.app.pipeline import read_subsets
    from genre_nbs.collections import adapt_representation, load_collection
    from genre_nbs.comparison import FULL, QUICK, Study
    from genre_nbs.networks import pick_device

    if scheduler is None:
        pick_device(device)
    changes = {name: n for name, n in (("seeds", seeds), ("trials", trials), ("epochs", epochs)) if n is not None}
    representation, shown = adapt_representation(found.representation, data), sys.stderr.isatty()
    train, held_out, _ = read_subsets(data, representation, valid, split, seed=seed, jobs=jobs, progress=shown)
    test_set = None if test is None else load_collection(test, representation, train.genres, jobs, shown)
    for subset in (train, held_out if valid is not None else None, test_set):
        if subset is not None:
            say_bad(subset.bad)
    plan = replace(QUICK if quick else FULL, **changes)
    study = Study(found, train, held_out, out / "runs.csv", test_set, plan, jobs, scheduler, device, shown)
    try:
        result = compare(study, out)
    except KeyboardInterrupt:
        say(f"the runs that are done are kept in {study.table}; the same command goes on from there")
        raise
    emit(result, as_json, result.pop("text"))


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the notebooks go.")] = Path("genre-course"),
    open_lab: Annotated[bool, typer.Option("--open/--no-open", help="Start JupyterLab there.")] = True,
    as_json: Json = False,
):
    """Copy the course notebooks (never over changed ones) and open JupyterLab there.

    Example: genre-nbs lab my-course
    """
    from genre_nbs.app.course import copy_course

    copied, kept = copy_course(folder)
    for name in kept:
        say(f"kept, since you changed it: {name}")
    emit({"folder": str(folder), "copied": copied, "kept": kept}, as_json, f"{len(copied)} notebooks copied to {folder}")
    if open_lab and not as_json:
        import subprocess

        raise typer.Exit(subprocess.call([sys.executable, "-m", "jupyter", "lab", str(folder)]))


def main():
    "Run the command line. What the user can mend ends in one line on standard error and exit code 2."
    from typer.main import get_command

    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # they speak to programmers
            code = get_command(app).main(prog_name="genre-nbs", standalone_mode=False)
    except (KeyboardInterrupt, EOFError, typer.Abort) as error:  # Typer makes an Abort of both
        ended = isinstance(error, EOFError) or isinstance(error.__cause__, EOFError)
        say("Error: a file ends where more was expected" if ended else "stopped")
        code = 2 if ended else 130
    except OSError as error:
        say(f"Error: {error.filename}: {error.strerror}" if error.filename and error.strerror else f"Error: {error.strerror or error}")
        code = 2
    except ValueError as error:
        say(f"Error: {error}")
        code = 2
    except MemoryError as error:
        say(f"Error: not enough memory{f' ({error})' if str(error) else ''}")
        code = 2
    except Exception as error:  # click's own errors, whatever module they live in
        if not hasattr(error, "format_message"):
            raise
        if error.format_message():  # empty where the help was shown instead
            say(f"Error: {error.format_message()}")
        code = error.exit_code
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # said already; Python would say it again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
