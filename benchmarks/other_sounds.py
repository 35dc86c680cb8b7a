"""Real sounds that are no music, and music of a kind that the model never heard: from how many of them does it abstain?

    apt-get download PACKAGES && for package in *.deb; do dpkg-deb -x "$package" PACKED/"${package%%_*}"; done
    python benchmarks/other_sounds.py PACKED [--model FILE] --out nbs/results/other_sounds.csv

PACKED holds one folder for each of these Debian packages (bookworm). No sound of them is in this repository.

| kind | package, version | licence |
|---|---|---|
| spoken words | ktuberling-data 22.12.3: a speaker reads the names of things, a language each | GPL-2+ |
| spoken letters | klettres-data 22.12.3: a speaker reads letters and syllables, a language each | GPL-2+ |
| telephone messages | asterisk-core-sounds-{en,es,fr,it,ru}-wav 1.6.1, 8 kHz: professional speakers | CC BY-SA 3.0, CC BY 3.0 |
| voices of a game | hedgewars-data 1.0.2: actors shout short sentences | GFDL 1.3 |
| animals | tuxpaint-stamps-default 2022.06.04: one recording of each | GPL-2 |
| tools and machines | the same | GPL-2 |
| game music | hedgewars-data 1.0.2 (music, but unlike the training songs) | GPL-2 |

The clips of a speaker are joined in the order of their names, without a pause between them, until 30 s are full; what is shorter is repeated
to 30 s. A recording of an animal or a tool is repeated to 30 s. Of game music the first 30 s are taken. Then it is a song like any other:
silence is cut out, and it is predicted. One row a sound. `half` is "choose" or "test": whoever tries to make the model more careful may look
at the first half only (languages, animals and games by turns in the order of their names: a speaker of one language is never in both halves).
"""

import argparse
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from genre_nbs.audio import load_audio
from genre_nbs.io.decode import AudioError, save_audio
from genre_nbs.songs import listen, load_model, shipped_path

SR, SECONDS = 22050, 30
SHORTEST = 10  # seconds that a speaker's clips must have together

STAMPS = "tuxpaint-stamps-default/usr/share/tuxpaint/stamps/"
GAME = "hedgewars-data/usr/share/games/hedgewars/Data/"
SOURCES = {  # kind: patterns of folders whose clips are joined, or of single files
    "spoken words": ["ktuberling-data/usr/share/ktuberling/sounds/*/"],
    "spoken letters": ["klettres-data/usr/share/klettres/*/"],
    "telephone messages": ["asterisk-core-sounds-*-wav/usr/share/asterisk/sounds/*_*_*/"],
    "voices of a game": [GAME + "Sounds/voices/*/"],
    "animals": [STAMPS + "animals/**/*.ogg"],
    "tools and machines": [STAMPS + name for name in ("household/**/*.ogg", "hobbies/camera*.ogg", "vehicles/**/*.ogg", "naturalforces/*.ogg", "seasonal/newyears/*.ogg")],
    "game music": [GAME + "Music/*.ogg"],
}  # fmt: skip
READ = ("spoken words", "spoken letters", "telephone messages")
HALVES = ("choose", "test")
COPIES = ("sr@", "Robot")  # the same Serbian speaker again; a voice through a filter


def clips_of(path):
    "The sound files of a sound: itself, or all in its folder but the silent ones."
    if path.is_file():
        return [path]
    return [p for p in sorted(path.rglob("*")) if p.suffix in (".wav", ".ogg") and "silence" not in p.parts]


def sounds_of(packed, kind):
    "The name of each sound of a kind, and its files. Spoken descriptions of animals and tools are left out."
    paths = sorted({path for pattern in SOURCES[kind] for path in packed.glob(pattern)})
    return {path.stem: clips_of(path) for path in paths if "_desc" not in path.name and not path.name.startswith(COPIES)}


def joined(files):
    "Clips one after the other up to 30 s, repeated to 30 s, (samples,); and how many seconds there were before that."
    parts, n = [np.zeros(0, np.float32)], 0
    for file in files:
        with suppress(AudioError):  # a silent clip
            parts.append(load_audio(file, SR, duration=SECONDS)[0])
        n = sum(map(len, parts))
        if n >= SECONDS * SR:
            break
    return np.resize(np.concatenate(parts), SECONDS * SR), min(n / SR, SECONDS)


def language(name):
    "The first letters of a folder: en_GB and en_US_f_Allison are both en."
    return name.split("_")[0]


def all_sounds(packed):
    "Kind, half, name, seconds and waveform of each sound. What is read aloud is halved by language, everything else by name."
    found = {kind: sounds_of(packed, kind) for kind in SOURCES}
    languages = sorted({language(name) for kind in READ for name in found[kind]})
    for kind, sounds in found.items():
        for number, (name, files) in enumerate(sorted(sounds.items())):
            y, seconds = joined(files)
            if seconds >= (0.1 if len(files) == 1 else SHORTEST):
                turn = languages.index(language(name)) if kind in READ else number
                yield kind, HALVES[turn % 2], name, seconds, y


def summary(table):
    "What the table says of each kind."
    kinds = table.groupby("kind", sort=False)
    first = kinds.genre.agg(lambda genre: genre.value_counts().index[0])
    return pd.DataFrame({"sounds": kinds.size(), "abstained": 1 - kinds.sure.mean(), "most frequent prediction": first})


def main():
    "Predict all sounds, write the table."
    parser = argparse.ArgumentParser()
    parser.add_argument("packed", type=Path)
    parser.add_argument("--model", type=Path, default=shipped_path())
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    model, rows = load_model(given.model), []
    with tempfile.TemporaryDirectory() as folder:
        for kind, half, name, seconds, y in all_sounds(given.packed):
            song = listen(save_audio(Path(folder) / "sound.flac", y, SR), model)
            rows.append({"kind": kind, "half": half, "sound": name, "seconds": round(seconds, 1),
                         "genre": song.genre, "confidence": round(song.proba[song.genre], 4), "sure": song.sure})  # fmt: skip
    table = pd.DataFrame(rows)
    table.to_csv(given.out, index=False)
    print(summary(table).round(3), "\n", summary(table[table.half == "test"]).round(3))


if __name__ == "__main__":
    main()
