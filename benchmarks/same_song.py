"""The same song, the same answer? Real excerpts, changed as files that people have are changed: how far the probabilities move, and whether the genre stays.

    python benchmarks/same_song.py AUDIO --work FOLDER [--recipe best] [--fold-seed 0] --out nbs/results/same_song.csv

AUDIO is a folder of genre folders with excerpts, FOLDER what `song_folds.py` left: each excerpt is judged by the model of the fold that kept
its artist apart. Excerpts that are in no fold are left out. One row an excerpt and change: the genre predicted before and after, its
probability before and after, and how much probability moved between genres (half the sum of the absolute changes, 0 to 1).
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import soundfile as sf
import soxr
from scipy.signal import butter, sosfiltfilt

from genre_nbs.audio import load_audio
from genre_nbs.collections import read_collection
from genre_nbs.song_features import SongClassifier

LOUDEST = 0.9  # so that nothing is clipped


def filtered(y, sr, edges, kind):
    "Through a Butterworth filter of order 10, forwards and backwards."
    return sosfiltfilt(butter(10, edges, kind, fs=sr, output="sos"), y)


def saved(rate=22050, gains=(1.0,)):
    "A change: the waveform at another sample rate, as 16-bit WAV, with a channel for each gain."

    def write(path, y, sr):
        sf.write(path.with_suffix(".wav"), soxr.resample(y, sr, rate)[:, None] * np.array(gains), rate, subtype="PCM_16")
        return path.with_suffix(".wav")

    return write


def mp3(kbits):
    "A change: MP3, 44.1 kHz, stereo."

    def write(path, y, sr):
        samples = (soxr.resample(y, sr, 44100) * 32767).astype(np.int16)
        with av.open(str(path.with_suffix(".mp3")), "w") as container:
            stream = container.add_stream("libmp3lame", rate=44100, layout="stereo")
            stream.bit_rate = kbits * 1000
            frame = av.AudioFrame.from_ndarray(np.repeat(samples, 2)[None], format="s16", layout="stereo")
            frame.rate = 44100
            container.mux([*stream.encode(frame), *stream.encode(None)])
        return path.with_suffix(".mp3")

    return write


def changed(change, rate=22050):
    "A change of the waveform, (y, sr) -> y, then written at a sample rate."
    return lambda path, y, sr: saved(rate)(path, np.float32(change(y, sr)), sr)


CHANGES = {
    "MP3, 320 kbit/s": mp3(320),
    "MP3, 64 kbit/s": mp3(64),
    "44.1 kHz": saved(44100),
    "48 kHz": saved(48000),
    "stereo, one side 6 dB quieter": saved(gains=(1.0, 0.5)),
    "12 dB quieter": changed(lambda y, sr: y * 10 ** (-12 / 20)),
    "2 s of silence in front": changed(lambda y, sr: np.concatenate([np.zeros(2 * sr), y])),
    "16 kHz": saved(16000),
    "low-pass 4.9 kHz": changed(lambda y, sr: filtered(y, sr, 4900, "lowpass")),
    "8 kHz": saved(8000),
    "telephone, 300 to 3400 Hz": changed(lambda y, sr: filtered(y, sr, (300, 3400), "bandpass"), 8000),
}


def models(work, recipe, fold_seed):
    "Track -> the classifier that did not learn from its artist, and its probabilities before calibration."
    found = {}
    for path in sorted(work.glob(f"{recipe}_{fold_seed}_*.npz")):
        classifier = SongClassifier.load(path.with_suffix(".safetensors"))
        with np.load(path) as saved:
            found |= dict.fromkeys(saved["track"].tolist(), classifier)
    return found


def rows_of(track, genre, path, classifier, folder):
    "One row a change of an excerpt."
    y, sr = load_audio(path)
    y = y * np.float32(LOUDEST / np.abs(y).max())
    before = classifier.predict_proba(saved()(folder / "before", y, sr))
    top = before.argmax()
    for change, write in CHANGES.items():
        after = classifier.predict_proba(write(folder / "after", y, sr))
        yield {"change": change, "track": track, "genre": genre, "before": classifier.genres[top], "after": classifier.genres[after.argmax()],
               "proba_before": before[top].round(4), "proba_after": after[top].round(4), "moved": (np.abs(after - before).sum() / 2).round(4)}  # fmt: skip


def main():
    "Change, predict, write the table."
    parser = argparse.ArgumentParser()
    parser.add_argument("audio")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--fold-seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0, help="of the calibration")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    by_track, rows = models(given.work, given.recipe, given.fold_seed), []
    with tempfile.TemporaryDirectory() as folder:
        for excerpt in read_collection(given.audio).itertuples():
            if excerpt.track in by_track:
                classifier = replace(by_track[excerpt.track], temperature=given.temperature)
                rows += rows_of(excerpt.track, excerpt.genre, excerpt.path, classifier, Path(folder))
    table = pd.DataFrame(rows)
    table.to_csv(given.out, index=False)
    same = table.assign(same=table.before == table.after, right_before=table.before == table.genre, right=table.after == table.genre)
    print(same.groupby("change", sort=False)[["same", "moved", "right_before", "right"]].mean().round(3), f"\n{table.track.nunique()} excerpts")


if __name__ == "__main__":
    main()
