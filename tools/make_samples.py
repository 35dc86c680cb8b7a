"""Write data_samples/ and test_samples/: songs and spectrogram pictures that ship with the repository.

    python tools/make_samples.py [FOLDER]

`data_samples/` has a short song and its picture for each genre. `test_samples/` has the pictures of twenty whole
songs of 2 to 4 minutes, two a genre, and three of the songs, all by artists who are in no practice corpus.
The same version of the package writes the same bytes.
"""

import sys
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.io.decode import save_audio
from genre_nbs.io.pictures import save_picture
from genre_nbs.practice import RESERVED_ARTISTS, practice_song
from genre_nbs.spectrograms import spectrogram_picture

SR = 22050
SHORT_SECONDS = 9.0
HEARD = {"blues1", "disco1", "reggae2"}  # whole songs that are kept as audio, too


def short_sample(folder, genre):
    "One short song and its picture."
    y, _ = practice_song(genre, artist=0, song=2, seconds=SHORT_SECONDS, sr=SR)
    save_audio(folder / f"{genre}.ogg", y, SR, compression_level=0.6)
    save_picture(folder / f"{genre}.png", spectrogram_picture(y, SR))


def whole_song(folder, genre, number, seconds=None):
    "The picture of one whole song by a reserved artist, and the song itself for a few."
    artist = RESERVED_ARTISTS[0] + number
    assert artist in RESERVED_ARTISTS
    if seconds is None:
        seconds = int(np.random.default_rng((GTZAN_GENRES.index(genre), number)).integers(120, 241))
    name = f"{genre}{number}"
    y, _ = practice_song(genre, artist=artist, seconds=seconds, sr=SR)
    save_picture(folder / f"{name}.png", spectrogram_picture(y, SR))
    if name in HEARD:
        save_audio(folder / f"{name}.ogg", y, SR, compression_level=1.0)


def main(folder="."):
    "Write both folders below `folder`."
    data, test = Path(folder) / "data_samples", Path(folder) / "test_samples"
    jobs = [delayed(short_sample)(data, genre) for genre in GTZAN_GENRES]
    jobs += [delayed(whole_song)(test, genre, number) for genre in GTZAN_GENRES for number in (1, 2)]
    Parallel(n_jobs=-1)(jobs)


if __name__ == "__main__":
    main(*sys.argv[1:2] or (Path(__file__).resolve().parent.parent,))
