"A corpus: a folder of practice songs with a manifest."

import json
import os
from pathlib import Path

import pandas as pd
from joblib import delayed

from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.io.cluster import run_tasks
from genre_nbs.io.decode import WRITTEN_SUFFIXES, save_audio
from genre_nbs.io.files import atomic_path, cache_dir
from genre_nbs.io.leftovers import swept_folder
from genre_nbs.practice.artists import known_genre, make_artist, RESERVED_ARTISTS, whole_number
from genre_nbs.practice.songs import check_sound, compose, describe, render

RULES = 4 # raise this when the same seed begins to give other music: caches of older music are then left alone


def corpus_plan(
    songs_per_genre: int, # how many songs of each genre
    artists_per_genre: int, # how many artists share them
    genres: tuple, # which genres
    suffix: str, # audio format
) -> list: # (relative path, genre, track, number of the artist, number of the artist's song)
    "Which songs a corpus holds: the artists of a genre take turns."
    return [(f'{genre}/{genre}-{i:05d}{suffix}', genre, f'{genre}-{i:05d}', i % artists_per_genre, i//artists_per_genre)
            for genre in genres for i in range(songs_per_genre)]


def check_corpus(
    songs_per_genre: int, # at least 1
    seconds: float, # 1 to 3600
    seed: int, # at least 0
    artists_per_genre: int, # 1 to 900
    sr: int, # Hz, at least 8000
    suffix: str, # one of `WRITTEN_SUFFIXES`
    genres, # names in any spelling, each once
) -> tuple: # canonical names of the genres
    "Raises `ValueError` with the reason when no corpus can be made like that."
    whole_number('songs_per_genre', songs_per_genre, 1)
    whole_number('artists_per_genre', artists_per_genre, 1, RESERVED_ARTISTS[0])
    whole_number('seed', seed)
    check_sound(seconds, sr)
    names = tuple(known_genre(genre) for genre in ([genres] if isinstance(genres, str) else genres))
    if not names or len(set(names)) < len(names): raise ValueError(f"genres must be at least one, each once, got {', '.join(names) or 'none'}")
    if suffix not in WRITTEN_SUFFIXES: raise ValueError(f"suffix must be one of {', '.join(WRITTEN_SUFFIXES)}, got {suffix!r}")
    return names


def claim_folder(
    out: Path, # folder for a corpus
    settings: dict, # what its songs depend on
):
    "Mark a folder as a corpus. Raises `ValueError` when it holds anything else, or songs made with other settings."
    mark = out/'settings.json'
    in_use = out.exists() and (not out.is_dir() or any(not p.name.startswith('.') for p in out.iterdir()))
    if mark.exists(): # asked after the look into the folder: another process may be filling it, and marks it first
        try: same = json.loads(mark.read_text()) == settings
        except ValueError: same = False # damaged
        if not same: raise ValueError(f'{out}: holds a corpus made with other settings; choose another folder')
    elif in_use:
        raise ValueError(f'{out}: is not an empty folder; choose another one')
    else:
        with atomic_path(mark) as part: part.write_text(json.dumps(settings))


def make_song(
    out: Path, # folder of the corpus
    row: tuple, # of `corpus_plan`
    seconds: float, # length
    seed: int, # of the corpus
    sr: int, # sample rate in Hz
) -> dict: # row of the manifest
    "Write one song, unless it is there already."
    path, genre, track, artist, song = row
    who = make_artist(genre, artist, seed)
    score = compose(who, song, seconds)
    if not (out/path).exists(): save_audio(out/path, render(who, score, seconds, sr), sr)
    truth = describe(who, score)
    return dict(path=path, genre=truth.pop('genre'), track=track, **truth)


def write_corpus(
    out, # folder to write to; it is made if missing, and must be empty or hold a part of this corpus
    songs_per_genre: int = 10, # how many songs of each genre
    seconds: float = 30., # length of a song, 1 to 3600
    seed: int = 0, # same seed, same songs
    artists_per_genre: int = 5, # how many artists share the songs of a genre, 900 at most
    sr: int = 22050, # sample rate in Hz
    suffix: str = '.flac', # audio format
    genres=GTZAN_GENRES, # which genres
    jobs: int = 1, # processes
    each=None, # called with every row when its song is done, for a progress bar
) -> pd.DataFrame: # Tracks: path, genre, track, artist, tempo, key, instruments; paths begin with `out`
    "Write songs and `manifest.csv` (paths relative to it). Raises `ValueError` for settings out of range or a folder in use."
    genres = check_corpus(songs_per_genre, seconds, seed, artists_per_genre, sr, suffix, genres)
    out = Path(out)
    claim_folder(out, dict(rules=RULES, seconds=float(seconds), seed=int(seed), artists_per_genre=int(artists_per_genre), sr=int(sr), suffix=suffix))
    rows, plan = [], corpus_plan(songs_per_genre, artists_per_genre, genres, suffix)
    with swept_folder(out):
        for row in run_tasks([delayed(make_song)(out, p, seconds, seed, sr) for p in plan], jobs):
            rows.append(row)
            if each: each(row)
        tracks = pd.DataFrame(rows)
        with atomic_path(out/'manifest.csv') as part: tracks.to_csv(part, index=False, lineterminator='\n')
    return tracks.assign(path=[str(out/path) for path in tracks.path])


def practice_corpus(
    songs_per_genre: int = 10, # how many songs of each genre
    seconds: float = 30., # length of a song, 1 to 3600
    seed: int = 0, # same seed, same songs
    artists_per_genre: int = 5, # how many artists share the songs of a genre, 900 at most
    sr: int = 22050, # sample rate in Hz
    suffix: str = '.flac', # audio format
    genres=GTZAN_GENRES, # which genres
    jobs: int = 1, # processes, when it has to be made
    each=None, # called with every row when its song is done
) -> pd.DataFrame: # Tracks, with absolute paths
    "A corpus in the cache, made when it is first asked for. Raises `ValueError` for settings out of range."
    genres = check_corpus(songs_per_genre, seconds, seed, artists_per_genre, sr, suffix, genres)
    name = f'rules{RULES}-seed{seed}-{artists_per_genre}artists-{songs_per_genre}x{float(seconds):g}s-{sr}Hz{suffix}-' + '-'.join(genres)
    out = cache_dir().absolute()/'practice'/(name if len(genres) < 10 else name.split('-blues')[0])
    if (out/'manifest.csv').exists():
        tracks = pd.read_csv(out/'manifest.csv', dtype={'track': str})
        tracks['path'] = [str(out/path) for path in tracks.path]
        if len(tracks) == songs_per_genre*len(genres) and all(map(os.path.exists, tracks.path)): return tracks
    return write_corpus(out, songs_per_genre, seconds, seed, artists_per_genre, sr, suffix, genres, jobs, each)
