"The command line `genre-nbs`: parses, calls a room, prints. Nothing heavy is imported before a command needs it."

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from genre_nbs.app.console import bad_list, emit, loading, printable, run, say, say_bad, say_notes, score_dict, score_lines, shown_settings

app = typer.Typer(
    name="genre-nbs",
    help="Classify music genres: make songs, train a neural network, evaluate it honestly, use it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
DATA_HELP = (
    "A folder of genre folders (songs or pictures), an archive of one (.tar.gz, .zip), a manifest (.csv), a folder of the "
    "Free Music Archive, a folder with X.npy and labels.npy, or a table of features as Kaggle's."
)
SONG_HELP = "Song files (or pictures, for a picture model), folders of them, or patterns such as 'music/*.mp3'."
PLOT_SUFFIXES = (".png", ".svg", ".pdf", ".jpg")
SPLIT_HELP = "random, track, artist, hash, own, or a folder of list files; by artist where known. For train also all: no validation set."
ALL_LEARNED = "Learned from all songs: none is left to evaluate the model on, so there are no scores."
VALID_HELP = "Validation set; without it a part of DATA is held out."
DUPLICATES_HELP = "Look for duplicates of a recording (in up to 5,000 tracks), and keep them in one subset of the split."
SEED_HELP = "Random seed: the same one gives the same result, with the same number of threads (OMP_NUM_THREADS) on the same machine."

Data = Annotated[Path, typer.Argument(help=DATA_HELP)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help=SEED_HELP)]
Jobs = Annotated[
    int, typer.Option(min=1, callback=lambda n: min(n, os.cpu_count() or 1), help="Processes that read songs; one a processor at most.")
]
Model = Annotated[Path | None, typer.Option(help="Model file (.safetensors) that `genre-nbs train` wrote; without it the one that comes along.")]
Recipe = Annotated[str, typer.Option(help="What to train, such as mlp.")]
Valid = Annotated[Path | None, typer.Option(help=VALID_HELP)]
Test = Annotated[Path | None, typer.Option(help="Test set, used once, by the final runs.")]
Split = Annotated[str | None, typer.Option(help=SPLIT_HELP)]
Artists = Annotated[Path | None, typer.Option(help="Who plays: GTZANindex.txt, or a .csv with columns track and artist.")]
Duplicates = Annotated[bool, typer.Option(help=DUPLICATES_HELP)]
Epochs = Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Instead of the recipe's.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")]
Optimizer = Annotated[str | None, typer.Option(help="Instead of the recipe's, such as SGD or Adam.")]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate, instead of the recipe's.")]
Device = Annotated[str, typer.Option(help="Where the networks are trained: cpu, or cuda for a GPU.")]
SCHEDULER_HELP = "Address of a Dask scheduler, to work on a cluster; tls:// with certificates. Whoever reaches its port can run programs there (appendix E)."
Scheduler = Annotated[str | None, typer.Option(help=SCHEDULER_HELP)]


def model_file(model):
    "The model file that was named, else the one that comes with the package. Raises `FileProblem` when that is missing."
    if model is not None:
        return model
    from genre_nbs.songs import shipped_path

    return shipped_path()


def check_replaced(path, mark, what):
    "Raises `ValueError` where a file would be replaced that is none of ours: `mark` stands near the beginning of one."
    if path.is_file():
        with open(path, "rb") as file:
            if mark not in file.read(2**16) and path.stat().st_size:
                raise ValueError(f"{path}: exists and is no {what}, so it is not replaced; choose another name")


def check_plot(plot, model):
    "Raises `ValueError` or `OSError` where no picture can be written: another format, a place that cannot be written, the model itself."
    from genre_nbs.io.files import check_target

    check_target(plot)
    if not plot.suffix:
        raise ValueError(f"{plot}: the name of a picture needs an ending, such as .png")
    if plot.suffix.lower() not in PLOT_SUFFIXES:
        raise ValueError(f"{plot}: {plot.suffix} is no format of a picture here; choose one of {', '.join(PLOT_SUFFIXES)}")
    if plot.resolve() == model.resolve():
        raise ValueError(f"{plot}: is the model, so no picture is written there")


def check_split(valid, split, data=None, test=None):
    "Raises `ValueError` where both a validation set and a split are given, or the test set is one of the others."
    if valid is not None and split is not None:
        raise ValueError("--valid and --split exclude each other: give one of them")
    if test is not None and test.resolve() in (data.resolve(), valid and valid.resolve()):
        raise ValueError(f"{test}: is the training or validation set, so it cannot be the test set")


def check_output(path, data):
    "Raises `OSError` where nothing can be written, `ValueError` where its folder lies among genres: what is written there would be one."
    from genre_nbs.io.files import check_target
    from genre_nbs.io.finding import is_array_folder

    check_target(path)
    folder, listed = path.parent.resolve(), (data / "manifest.csv").is_file() or is_array_folder(data)
    if data.is_dir() and not listed and data.resolve() in (folder, *folder.parents):
        raise ValueError(f"{path.parent}: lies in {data}, whose folders are genres; choose a folder elsewhere")


def ways_to_count(by: str):
    "What `--by` names, as a list. Raises `ValueError` for anything but example and track."
    ways = list(dict.fromkeys(way.strip() for way in by.split(",")))
    if wrong := [way for way in ways if way not in ("example", "track")]:
        raise ValueError(f"--by must be example, track, or both with a comma, not {wrong[0]!r}")
    return ways


def version(asked: bool):
    "Print the version and end."
    if asked:
        from importlib.metadata import version

        print(f"genre-nbs {version('genre_nbs')}")
        raise typer.Exit()


@app.callback()
def options(show: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version and exit.")] = False):
    pass


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
    scheduler: Scheduler = None,
    as_json: Json = False,
):
    """Features for a whole collection: in parallel, cached, resumable. The folders written serve as DATA of train.

    Example: genre-nbs prepare songs features --as summary,picture --jobs 2
    """
    import time

    from genre_nbs.app.prepare import prepare as prepare_all

    check_output(out / "bad.csv", data)
    start = time.perf_counter()
    done = prepare_all(data, out, [kind.strip() for kind in kinds.split(",")], jobs, scheduler, sys.stderr.isatty())
    say_bad(done["bad"])
    say_notes(done["notes"])
    seconds = time.perf_counter() - start
    text = f"{done['n']} songs in {seconds:.1f} s; written: {', '.join(done['folders'].values())}"
    emit({**done, "bad": bad_list(done["bad"]), "seconds": round(seconds, 3)}, as_json, text)


@app.command()
def fetch(
    what: Annotated[
        str, typer.Argument(help="gtzan (1.2 GB), gtzan-lists (its fault-filtered split), kaggle (needs the extra kaggle), or course-data.")
    ],
    folder: Annotated[Path | None, typer.Argument(help="Where to: data, or for course-data what GENRE_NBS_DATA names.")] = None,
    url: Annotated[str | None, typer.Option(help="Another address to fetch it from.")] = None,
    as_json: Json = False,
):
    """Fetch a real collection, go on where a download stopped, and check what came, song by song.

    course-data (2.6 GB while it runs) is what the cells of the lessons with real songs read; kaggle has a place of its own.

    Example: genre-nbs fetch gtzan gtzan
    """
    from genre_nbs.app.course_data import fetch_by_name, fetched_lines, say_missing

    result = fetch_by_name(what, folder, url, progress=sys.stderr.isatty())
    for track, reason in result["wrong"]:
        say(f"{track}: {reason}")
    emit(result, as_json, fetched_lines(result))
    say_missing(result, say)


@app.command()
def train(
    data: Data,
    recipe: Recipe,
    out: Annotated[Path, typer.Option(help="Model file to write (.safetensors).")],
    valid: Valid = None,
    split: Split = None,
    artists: Artists = None,
    duplicates: Duplicates = True,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    optimizer: Optimizer = None,
    lr: LearningRate = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    as_json: Json = False,
):
    """Train a classifier and evaluate it on songs that it has not learned from. A run that was killed goes on by the same command.

    Example: genre-nbs train songs --recipe mlp --out model.safetensors
    """
    from genre_nbs.app.pipeline import train_on
    from genre_nbs.app.recipes import find_recipe
    from genre_nbs.io.files import check_target
    from genre_nbs.io.leftovers import swept_files

    check_target(out)
    check_replaced(out, b"genre_nbs", "model")
    check_split(valid, split)
    if lr is not None and not 0 < lr < float("inf"):
        raise ValueError(f"--lr must be a positive number, not {lr}")
    changes = {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "lr": lr}
    changes = {name: value for name, value in changes.items() if value is not None} | {"artists": artists, "duplicates": duplicates}
    half = out.with_name(f".{out.name}.checkpoint")  # a run that is killed goes on from there
    settings = {"seed": seed, "jobs": jobs, "progress": sys.stderr.isatty(), "checkpoint": half}
    with swept_files(out, half):
        done = train_on(data, find_recipe(recipe), valid, split, **settings, **changes)
        path = done.classifier.save(out)
        half.unlink(missing_ok=True)
    report_training(done, path, valid is not None, as_json)


def report_training(done, path, valid_given, as_json):
    "Say what came of a training."
    subsets = (done.train, done.valid) if valid_given else (done.train,)
    for subset in subsets:
        say_bad(subset.bad)
    kept = ", kept in one subset" if done.split.how in ("track", "artist", "hash") else ""
    for names in done.duplicates.tracks:
        say(f"duplicates{kept}: {', '.join(names)}")
    say_notes(done.split.notes)
    lines = score_lines(done.evaluations) or ALL_LEARNED
    result = {
        **(score_dict(done.evaluations) if done.evaluations else {"note": ALL_LEARNED}),
        "model": str(path),
        "split": done.classifier.settings["split"],
        "settings": shown_settings(done.classifier),
        "bad": [row for subset in subsets for row in bad_list(subset.bad)],
        "duplicates": done.duplicates.tracks.tolist(),
    }
    emit(result, as_json, f"{lines}\n{done.split}\nModel: {path}")


@app.command()
def evaluate(
    data: Data,
    model: Model = None,
    by: Annotated[str, typer.Option(callback=ways_to_count, help="What to count: example, track, or both with a comma.")] = "example,track",
    plot: Annotated[Path | None, typer.Option(help="Picture file for the confusion matrix (.png, .svg, .pdf).")] = None,
    jobs: Jobs = 1,
    as_json: Json = False,
):
    """Evaluate a model on data: scores with intervals, a table by genre, a confusion matrix. Without --model the one that comes along.

    Example: genre-nbs evaluate songs --model model.safetensors --plot confusion.png
    """
    with loading():
        from genre_nbs.app.pipeline import evaluate_classifier, in_words, learned_tracks, sizes
        from genre_nbs.collections import load_collection
        from genre_nbs.songs import load_model

        if plot is not None:
            check_plot(plot, model_file(model))
        classifier = load_model(model_file(model))
    examples = load_collection(data, classifier.representation, classifier.genres, jobs, sys.stderr.isatty())
    evaluations = evaluate_classifier(classifier, examples, by)
    say_bad(examples.bad, examples.notes)
    learned, last = learned_tracks(classifier, examples), list(evaluations.values())[-1]
    if learned:
        n = sizes(examples)["tracks"] or len(examples)
        say(f"{len(learned)} of {n} tracks are songs that this model learned, such as {learned[0]}: its scores here are too good")
    if plot is not None:
        from genre_nbs.evaluation import save_confusion

        save_confusion(last, plot)
    tested = last.per_genre[last.per_genre["support"] > 0]
    text = f"{score_lines(evaluations)}\ntested on {in_words(sizes(examples))}\n\n{tested.round(3).to_string()}"
    result = {**score_dict(evaluations), "data": sizes(examples), "learned": learned, "bad": bad_list(examples.bad), "notes": examples.notes}
    emit(result, as_json, text)


@app.command()
def predict(
    songs: Annotated[list[Path], typer.Argument(metavar="SONG...", readable=False, help=SONG_HELP)],
    model: Model = None,
    timeline: Annotated[Path | None, typer.Option(help="Picture file for the genre over time (.png, .svg, .pdf); one a song.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many genres to name for each song.")] = 3,
    as_json: Json = False,
):
    """Predict the genre of songs of any length; "not sure" where the model does not know.

    Example: genre-nbs predict "my song.mp3" --timeline timeline.png
    """
    with loading():
        file = model_file(model)
        if timeline is not None:
            check_plot(timeline, file)
        from genre_nbs.app.predict import predict_songs
        from genre_nbs.songs import load_model

        classifier = load_model(file)
    found, lines, errors = predict_songs(classifier, songs, timeline, top)
    if found or as_json:
        emit({"songs": found, "errors": errors}, as_json, "\n".join(map(printable, lines)))
    for error in errors[:-1]:
        say(f"Error: {error}")
    if errors:
        raise ValueError(errors[-1])


@app.command()
def optimizers(
    data: Data,
    recipe: Annotated[str, typer.Option(help="The network and all its hyperparameters but the optimizer's.")] = "mlp",
    out: Annotated[Path, typer.Option(help="Folder for tables and pictures; a comparison that was stopped goes on there.")] = Path("optimizers"),
    quick: Annotated[bool, typer.Option("--quick/--full", help="A first look in a minute or two, or the whole comparison.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Random seeds of each optimizer; 10, or 3 when quick.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Learning rates on the first search grid of each; 5, or 3 when quick.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Of each run; the recipe's, or 5 when quick.")] = None,
    valid: Valid = None,
    split: Split = None,
    test: Test = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    device: Device = "cpu",
    as_json: Json = False,
):
    """Compare optimizers: with one learning rate for all, and each with its own. Each run is kept when it is done.

    Example: genre-nbs optimizers songs --quick --out comparison
    """
    from genre_nbs.app.recipes import find_recipe

    check_split(valid, split, data, test)
    found, table = find_recipe(recipe), out / "runs.csv"
    check_output(table, data)
    from genre_nbs.app import compare  # only now: what was wrong so far is said at once

    changes = {name: n for name, n in (("seeds", seeds), ("trials", trials), ("epochs", epochs)) if n is not None}
    where = {"jobs": jobs, "scheduler": scheduler, "device": device, "progress": sys.stderr.isatty()}
    study, bad, division = compare.make_study(found, data, table, quick, changes, valid, split, test, seed, **where)
    say_bad(bad, division.notes)
    try:
        result = compare.compare(study, out) | {"split": division.to_dict(), "bad": bad_list(bad)}
    except KeyboardInterrupt:
        say(f"the runs that are done are kept in {table}; the same command goes on from there")
        raise
    emit(result, as_json, f"{division}\n\n{result.pop('text')}")


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the course goes.")] = Path("genre-course"),
    open_lab: Annotated[bool, typer.Option("--open/--no-open", help="Start JupyterLab there.")] = True,
    check: Annotated[bool, typer.Option("--check", help="Run the checks of your exercises there, and print how far you are.")] = False,
    as_json: Json = False,
):
    """Copy the course (never over what you changed) and open JupyterLab there; or check your exercises.

    Example: genre-nbs lab my-course
    """
    from genre_nbs.app.lab import lay_out, open_course, progress

    result, text = progress(folder) if check else lay_out(folder)
    emit(result, as_json, text)
    if open_lab and not as_json and not check:
        raise typer.Exit(open_course(folder))


@app.command(name="app")
def own_song_page(
    model: Model = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the page; 8866, or the next free one.")] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    as_json: Json = False,
):
    """Show a page, on this computer alone, that names the genre of songs dropped on it. Ctrl-C ends it. Needs the extra app.

    Example: genre-nbs app
    """
    from genre_nbs.app.page import serve

    serve(model, port, open_page, lambda address: emit({"page": address}, as_json, f"Page: {address} (Ctrl-C ends it)"))
    raise KeyboardInterrupt  # a page ends in no other way


def main():
    "Run the command line and end the process."
    from typer.main import get_command

    def command():
        if "" in sys.argv[1:]:  # as a path it would be the folder that one is in
            raise ValueError("one of the words of this command is empty; is a variable of the shell not set?")
        return get_command(app).main(prog_name="genre-nbs", standalone_mode=False)

    run(command)
