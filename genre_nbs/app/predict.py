"What `genre-nbs predict` does: finds the songs, loads the model once, and gives one answer after the other."

import glob
import sys
from itertools import chain
from pathlib import Path

from genre_nbs.app.console import say
from genre_nbs.genres import genre_title
from genre_nbs.io.cluster import progress_bar
from genre_nbs.io.finding import find_songs
from genre_nbs.io.pictures import save_figure
from genre_nbs.songs import listen, plot_timeline

BAR_FROM = 3  # songs, from which on a progress bar is shown


def song_files(
    names,  # paths of files, folders, or patterns such as music/*.mp3
) -> tuple:  # files; what cannot be used, a line each
    "The files that were named, with all songs (or else pictures) inside the folders that were."
    files, errors = [], []
    for name in chain.from_iterable(map(matching, names)):
        if str(name) == "-":
            errors.append("a song is read from a file, not from standard input (-)")
            continue
        if not name.is_dir():
            files.append(name)
            continue
        inside = find_songs(name)
        if not inside.files:
            errors.append(f"{name}: no songs or pictures in this folder")
        for path, reason in inside.skipped:
            say(f"skipped: {path}: {reason}")
        files += inside.files
    return files, errors


def matching(
    name,  # a path, or a pattern that the shell has left as it is
) -> list:  # paths
    "The paths that a pattern stands for; itself where nothing fits it."
    if name.exists() or not glob.has_magic(str(name)):
        return [name]
    return [Path(path) for path in sorted(glob.glob(str(name), recursive=True))] or [name]


def predict_songs(
    classifier,  # any classifier of the package
    songs,  # paths of files, folders, or patterns
    timeline=None,  # picture file for the genre over time; None: no picture
    top: int = 3,  # genres named in a line
) -> tuple:  # answers as JSON holds them, lines for people, errors (one line each)
    "An answer for each song. Nothing of a song stays in memory but its prediction."
    files, errors = song_files(songs)
    found, lines, alone = [], [], len(files) + len(errors) == 1
    show = sys.stderr.isatty() and len(files) >= BAR_FROM
    for i, song in enumerate(progress_bar(files, len(files), "Listening") if show else files):
        try:
            prediction = listen(song, classifier)
        except ValueError as error:
            errors.append(str(error) if str(song) in str(error) else f"{song}: {error}")
            continue
        result = prediction.to_dict()
        if timeline is not None:
            result["picture"] = str(save_timeline(prediction, timeline if alone else timeline.with_stem(f"{timeline.stem}-{i + 1}")))
        found.append(result)
        lines.append(prediction_line(prediction, alone, top))
    return found, lines, errors


def save_timeline(
    prediction,  # what `listen` gave
    path,  # a picture file; its ending says the format
) -> Path:  # the path
    "The genre over time as a picture file, written atomically."
    return save_figure(plot_timeline(prediction, f"{Path(prediction.path).name}: {prediction.text}"), path)


def prediction_line(
    prediction,  # what `listen` gave
    alone: bool,  # whether it is the only song
    top: int = 3,  # genres named
) -> str:
    "An answer for people, in one line."
    most_probable, text = prediction.top(top), prediction.text
    likely = ", ".join(f"{genre_title(genre)} {p:.0%}" for genre, p in most_probable)
    said = f"The song genre is {text}" if alone and prediction.sure else text.capitalize() if alone else f"{prediction.path}: {text}"
    return f"{said}  ({likely})" + (f"; {prediction.note}" if prediction.note else "")
