"""Time and memory of feature extraction: this package against its peers, on the same songs in one run.

    python benchmarks/features.py                 # about three minutes; rewrites the section of README.md and features.png
    python benchmarks/features.py --songs FOLDER  # on your own songs (wav, flac, mp3) instead of ten practice songs

Each contender runs in a process of its own, on one core and with one thread. Rounds alternate between the contenders, so that
a busy moment of the machine does not hit one of them alone. A peer that is not installed is left out, and the table says so.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

HERE = Path(__file__).parent
THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
FAMILIES = ("mfcc", "chroma", "zero crossings", "centroid", "contrast", "roll-off", "bandwidth", "tonnetz", "rms")
START, END = "<!-- features: written by features.py -->", "<!-- features: end -->"

# FMA: 106,574 tracks; clips of 30 s take 93 GiB, whole tracks 879 GiB and 343 days (Defferrard et al., ISMIR 2017).
FMA_TRACKS, FMA_DAYS = 106_574, 343


# ---- contenders: each returns (function of (y, sr, path), families) and is imported only in its own process

def floor():
    "decode + one STFT of librosa"
    import librosa
    import numpy as np

    from genre_nbs.audio import load_audio
    return lambda y, sr, path: np.abs(librosa.stft(load_audio(path, sr=None)[0])), "-"


def floor_ours():
    "decode + one STFT of this package"
    from genre_nbs.audio import load_audio
    from genre_nbs.features import magnitude_spectrogram
    return lambda y, sr, path: magnitude_spectrogram(load_audio(path, sr=None)[0]), "-"


def genre_nbs():
    "genre_nbs"
    from genre_nbs.features import all_features
    return lambda y, sr, path: all_features(y, sr), "all 9"


def genre_nbs_statistics():
    "genre_nbs, with the 7 statistics"
    from genre_nbs.features import all_features, feature_statistics
    return lambda y, sr, path: feature_statistics(all_features(y, sr)), "all 9"


def genre_nbs_mp3():
    "genre_nbs, from a stereo 44.1 kHz mp3 to the 7 statistics"
    from genre_nbs.audio import load_audio
    from genre_nbs.features import all_features, feature_statistics
    folder, made = tempfile.mkdtemp(), {}

    def run(y, sr, path):
        if path not in made: made[path] = as_mp3(y, sr, Path(folder) / f"{len(made)}.mp3")
        return feature_statistics(all_features(*load_audio(made[path], sr=22050)))
    return run, "all 9"


def as_mp3(y, sr, path):
    "The song as FMA has it: mp3, stereo, 44.1 kHz."
    import numpy as np
    import soundfile
    import soxr
    high = soxr.resample(y, sr, 44100)
    soundfile.write(path, np.stack([high, 0.9 * high], 1), 44100)
    return path


def librosa_waveform():
    "librosa, each family on the waveform"
    import librosa
    f = librosa.feature
    whole = (f.mfcc, f.chroma_stft, f.spectral_centroid, f.spectral_contrast, f.spectral_rolloff, f.spectral_bandwidth, f.tonnetz)
    return lambda y, sr, path: [g(y=y, sr=sr) for g in whole] + [f.zero_crossing_rate(y), f.rms(y=y)], "all 9 (CQT tonnetz)"


def librosa_stft_tonnetz():
    "librosa, each family on the waveform, tonnetz of the STFT chroma"
    import librosa
    f = librosa.feature
    whole = (f.mfcc, f.chroma_stft, f.spectral_centroid, f.spectral_contrast, f.spectral_rolloff, f.spectral_bandwidth)
    return lambda y, sr, path: [g(y=y, sr=sr) for g in whole] + [
        f.tonnetz(chroma=f.chroma_stft(y=y, sr=sr)), f.zero_crossing_rate(y), f.rms(y=y)], "all 9"


def librosa_shared():
    "librosa, one shared spectrogram"
    import librosa
    import numpy as np
    f = librosa.feature

    def run(y, sr, path):
        S = np.abs(librosa.stft(y))
        chroma = f.chroma_stft(S=S**2, sr=sr)
        return [f.mfcc(S=librosa.power_to_db(f.melspectrogram(S=S**2, sr=sr))), chroma, f.tonnetz(chroma=chroma),
                f.spectral_centroid(S=S, sr=sr), f.spectral_contrast(S=S, sr=sr), f.spectral_rolloff(S=S, sr=sr),
                f.spectral_bandwidth(S=S, sr=sr), f.zero_crossing_rate(y), f.rms(y=y)]
    return run, "all 9"


def fma():
    "the FMA project's way, with its 7 statistics"
    import librosa
    import numpy as np
    from scipy import stats
    f = librosa.feature

    def statistics(x):
        return [x.mean(1), x.std(1), stats.skew(x, axis=1), stats.kurtosis(x, axis=1), np.median(x, 1), x.min(1), x.max(1)]

    def run(y, sr, path):
        cqt = np.abs(librosa.cqt(y, sr=sr, hop_length=512, bins_per_octave=12, n_bins=84, tuning=None))
        cens, S = f.chroma_cens(C=cqt, n_chroma=12, n_octaves=7), np.abs(librosa.stft(y))
        features = [f.zero_crossing_rate(y), f.chroma_cqt(C=cqt, n_chroma=12, n_octaves=7), cens, f.tonnetz(chroma=cens),
                    f.chroma_stft(S=S**2, n_chroma=12), f.rms(S=S), f.spectral_centroid(S=S), f.spectral_bandwidth(S=S),
                    f.spectral_contrast(S=S, n_bands=6), f.spectral_rolloff(S=S),
                    f.mfcc(S=librosa.power_to_db(f.melspectrogram(S=S**2, sr=sr)), n_mfcc=20)]
        return [statistics(x) for x in features]
    return run, "all 9 and two more chromas"


def audioflux():
    "audioFlux"
    import audioflux as af
    from audioflux.type import CepstralRectifyType, SpectralDataType, SpectralFilterBankScaleType

    made = {}

    def objects(sr):
        linear = af.BFT(num=1025, radix2_exp=11, samplate=sr, slide_length=512, scale_type=SpectralFilterBankScaleType.LINEAR, data_type=SpectralDataType.MAG)
        mel = af.MelSpectrogram(num=128, radix2_exp=11, samplate=sr, slide_length=512, data_type=SpectralDataType.POWER)
        return linear, mel, af.Spectral(num=1025, fre_band_arr=linear.get_fre_band_arr()), af.XXCC(num=128), af.Temporal(frame_length=2048, slide_length=512)

    def run(y, sr, path):
        if sr not in made: made[sr] = objects(sr)
        linear, mel, spectral, cepstrum, temporal = made[sr]
        S, M = linear.bft(y, result_type=1), mel.spectrogram(y)
        spectral.set_time_length(S.shape[-1])
        cepstrum.set_time_length(M.shape[-1])
        return [spectral.centroid(S), spectral.rolloff(S), spectral.band_width(S), cepstrum.xxcc(M, 20, CepstralRectifyType.LOG),
                af.chroma_linear(y, radix2_exp=11, samplate=sr, slide_length=512, high_fre=sr / 2), temporal.temporal(y, has_rms=True, has_zcr=True)]
    return run, "7 (no contrast, no tonnetz)"


def essentia():
    "essentia, its standard mode"
    import essentia.standard as es
    made = {}

    def objects(sr):
        return dict(window=es.Windowing(type="hann", size=2048), spectrum=es.Spectrum(size=2048), rms=es.RMS(), zcr=es.ZeroCrossingRate(),
                    mfcc=es.MFCC(inputSize=1025, sampleRate=sr, numberBands=128, numberCoefficients=20, highFrequencyBound=sr / 2),
                    centroid=es.Centroid(range=sr / 2), moments=es.CentralMoments(range=sr / 2), rolloff=es.RollOff(sampleRate=sr),
                    contrast=es.SpectralContrast(frameSize=2048, sampleRate=sr, highFrequencyBound=sr / 2),
                    peaks=es.SpectralPeaks(sampleRate=sr, maxFrequency=min(5000, sr / 2)), hpcp=es.HPCP(sampleRate=sr))

    def run(y, sr, path):
        if sr not in made: made[sr] = objects(sr)
        o, result = made[sr], []
        for frame in es.FrameGenerator(y, frameSize=2048, hopSize=512):
            S = o["spectrum"](o["window"](frame))
            result.append((o["mfcc"](S)[1], o["centroid"](S), o["moments"](S), o["rolloff"](S), o["contrast"](S),
                           o["hpcp"](*o["peaks"](S)), o["rms"](frame), o["zcr"](frame)))
        return result
    return run, "8 (no tonnetz)"


def torchaudio():
    "torchaudio"
    import torch
    import torchaudio.transforms as t
    torch.set_num_threads(1)
    made = {}

    def run(y, sr, path):
        if sr not in made:
            made[sr] = (t.MFCC(sr, 20, melkwargs=dict(n_fft=2048, hop_length=512, n_mels=128, norm="slaney", mel_scale="slaney")),
                        t.SpectralCentroid(sr, n_fft=2048, hop_length=512))
        with torch.no_grad(): return [transform(torch.from_numpy(y)) for transform in made[sr]]
    return run, "2 (MFCC, centroid)"


CONTENDERS = {c.__name__: c for c in (floor, floor_ours, genre_nbs, genre_nbs_statistics, genre_nbs_mp3, librosa_waveform, librosa_stft_tonnetz,
                                      librosa_shared, fma, audioflux, essentia, torchaudio)}


# ---- one contender in its own process

def work(name, paths, repeats):
    "Print as JSON: processor seconds of each song and repeat, the peak memory, and how long the first song took from a cold start."
    began = time.perf_counter()
    import warnings
    warnings.simplefilter("ignore")
    if hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    run, families = CONTENDERS[name]()
    from genre_nbs.audio import load_audio
    songs = [(*load_audio(path, sr=None), path) for path in paths]
    run(*songs[0])
    cold = time.perf_counter() - began
    for song in songs[1:]: run(*song)
    seconds = []
    for song in songs:
        seconds.append([])
        for _ in range(repeats):
            start = time.process_time()
            run(*song)
            seconds[-1].append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    length = sum(len(y) / sr for y, sr, _ in songs) / len(songs)
    print("RESULT " + json.dumps(dict(seconds=seconds, peak=peak, cold=cold, families=families, length=length)))


def measure(paths, rounds, repeats):
    "name -> result of all rounds together; a contender that does not run -> its error in one line."
    results, left_out = {}, {}
    for _ in range(rounds):
        for name in CONTENDERS:
            if name in left_out: continue
            command = [sys.executable, __file__, "--work", name, "--repeats", str(repeats), "--songs", *paths]
            done = subprocess.run(command, env={**os.environ, **THREADS}, capture_output=True, text=True)
            line = [x for x in done.stdout.splitlines() if x.startswith("RESULT ")]
            if done.returncode or not line:
                left_out[name] = (done.stderr.strip().splitlines() or ["no output"])[-1]
                continue
            new = json.loads(line[-1][7:])
            old = results.setdefault(name, new)
            if old is not new:
                old["seconds"] = [a + b for a, b in zip(old["seconds"], new["seconds"])]
                old.update(peak=max(old["peak"], new["peak"]), cold=min(old["cold"], new["cold"]))
    return results, left_out


# ---- the page

def milliseconds(result):
    "Fastest and median repeat of each song, both averaged over the songs, in milliseconds."
    import numpy as np
    seconds = np.array(result["seconds"]) * 1000
    return seconds.min(1).mean(), np.median(seconds, 1).mean()


def table(results, left_out):
    "The results as Markdown."
    reference = milliseconds(results["librosa_waveform"])[0]
    base = milliseconds(results["floor"])[0]
    lines = ["| what | families | ms a song, fastest | ms, median | against librosa on the waveform | against the floor | peak memory (MiB) | cold start to first song (s) |",
             "|---|---|--:|--:|--:|--:|--:|--:|"]
    for name, r in results.items():
        fastest, median = milliseconds(r)
        label = CONTENDERS[name].__doc__
        if name.startswith("genre_nbs"): label = f"**{label}**"
        lines.append(f"| {label} | {r['families']} | {fastest:.1f} | {median:.1f} | {reference / fastest:.1f} x | {fastest / base:.2f} | {r['peak']:.0f} | {r['cold']:.1f} |")
    lines += [f"\nLeft out: {CONTENDERS[name].__doc__} ({why})." for name, why in left_out.items()]
    return "\n".join(lines)


def chart(results, path):
    "Bars of the fastest times, on a logarithmic axis."
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
    names = list(results)[::-1]
    times = [milliseconds(results[name])[0] for name in names]
    colors = ["#0072b2" if name.startswith("genre_nbs") else "#bbbbbb" if name.startswith("floor") else "#e69f00" for name in names]
    labels = [CONTENDERS[name].__doc__ + (f" ({results[name]['families']})" if name in ("audioflux", "essentia", "torchaudio") else "") for name in names]
    ax.bar_label(ax.barh(labels, times, color=colors), fmt="%.0f", padding=3)
    ax.set(xscale="log", xlabel="milliseconds a song of 30 s, one core (logarithmic)", title="Feature extraction", xlim=(5, max(times) * 2))
    fig.savefig(path, dpi=100, metadata={"Software": None})


def sizes(paths):
    "Bytes of a song's row of 350 statistics and of its grey log-mel picture, the mean over the songs."
    from genre_nbs.audio import load_audio
    from genre_nbs.io.pictures import save_picture
    from genre_nbs.spectrograms import log_mel, to_grey
    with tempfile.TemporaryDirectory() as folder:
        pictures = [save_picture(Path(folder) / f"{i}.png", to_grey(log_mel(*load_audio(path)))).stat().st_size for i, path in enumerate(paths)]
    return 350 * 4, sum(pictures) / len(pictures)


def fma_full(results, paths):
    "Hours and disk for all of FMA, reckoned from the measured rate."
    r = results["genre_nbs_mp3"]
    rate = milliseconds(r)[1] / 1000 / r["length"]
    whole = FMA_DAYS * 86400 / FMA_TRACKS
    row, picture = sizes(paths)
    lines = ["| FMA-full, 106,574 tracks | audio | 1 core | 16 cores | 256 cores | table of statistics | grey log-mel pictures |", "|---|--:|--:|--:|--:|--:|--:|"]
    for what, seconds in (("clips of 30 s", 30), (f"whole tracks, {whole:.0f} s on average", whole)):
        hours = FMA_TRACKS * seconds * rate / 3600
        cells = [f"{hours / n:.1f} h" if hours / n >= 1 else f"{hours / n * 60:.0f} min" for n in (1, 16, 256)]
        lines.append(f"| {what} | {FMA_TRACKS * seconds / 86400:.0f} days | " + " | ".join(cells) +
                     f" | {FMA_TRACKS * row / 1e9:.2f} GB | {FMA_TRACKS * picture * seconds / r['length'] / 1e9:.1f} GB |")
    return "\n".join(lines), rate


def page(results, left_out, paths, rounds, repeats, songs):
    "The section of README.md."
    import librosa
    import numpy
    import scipy
    reckoned, rate = fma_full(results, paths)
    ours, theirs, base, base_ours = (milliseconds(results[name])[0] for name in ("genre_nbs", "librosa_waveform", "floor", "floor_ours"))
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor()) if os.path.exists("/proc/cpuinfo") else platform.processor()
    return f"""{START}
## Features

All nine families ({", ".join(FAMILIES)}) of a 30-second song take **{ours:.0f} ms** on one core. That is {theirs / ours:.0f} times as fast as librosa called for each family on the waveform ({theirs:.0f} ms), and {ours / base:.1f} times the floor: decoding the file and one STFT with librosa ({base:.0f} ms; with this package's own STFT {base_ours:.0f} ms). The values are the same: the notebook `03_features` asserts agreement with librosa to five digits and more, family by family.

{table(results, left_out)}

![Bars: milliseconds a song for each contender](features.png)

Processor time on one core, one thread; {songs}; {rounds} rounds of {repeats} repeats, the contenders taking turns; fastest and median repeat, averaged over the songs. Apart from the two floors and the mp3 row, the songs are decoded beforehand. Peak memory is that of the whole process with its imports and all the songs; the cold start is by the clock, and longer on a busy machine (load average here {os.getloadavg()[2]:.0f} on {os.cpu_count()} cores). Peers compute what they offer: the column *families* says how many of the nine. Measured {date.today()}; {cpu}, Python {platform.python_version()}, numpy {numpy.__version__}, scipy {scipy.__version__}, librosa {librosa.__version__}.

### The Free Music Archive, on paper

From a stereo 44.1 kHz mp3 to the 350 statistics, decoding and resampling included, a second of music takes {rate * 1000:.2f} ms of one core (the median of the row above, divided by the length of a song). If cores scale evenly:

{reckoned}

Assumptions: FMA's own figures for its size (343 days of music, Defferrard et al., 2017); cores that do not wait for the disk, which for the clips (93 GiB) and the whole tracks (879 GiB) on 256 cores means a storage that gives {93 * 1.074 / (FMA_TRACKS * 30 * rate / 256):.1f} GB/s and {879 * 1.074 / (FMA_DAYS * 86400 * rate / 256):.1f} GB/s. Pictures hold 128 x 43 grey pixels a second, as PNG.
{END}"""


def write(section, readme):
    "Put the section in place of the old one, or at the end."
    text = readme.read_text() if readme.exists() else "# Benchmarks\n"
    if START in text:
        head, rest = text.split(START, 1)
        text = head + section + rest.split(END, 1)[1]
    else: text = text.rstrip() + "\n\n" + section + "\n"
    readme.write_text(text)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--songs", nargs="+", help="song files or a folder of them; without it, ten practice songs of 30 s")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--work", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.work: return work(args.work, args.songs, args.repeats)
    if args.songs and os.path.isdir(args.songs[0]):
        songs = "songs of a folder of the user's"
        paths = sorted(str(path) for path in Path(args.songs[0]).rglob("*") if path.suffix in (".wav", ".flac", ".mp3", ".ogg", ".au"))
    elif args.songs: paths, songs = args.songs, f"{len(args.songs)} songs of the user's"
    else:
        from genre_nbs.practice import practice_corpus
        paths, songs = list(practice_corpus(songs_per_genre=1, artists_per_genre=1, suffix=".wav").path), "ten practice songs of 30 s at 22,050 Hz, one of each genre (wav)"
    results, left_out = measure(paths, args.rounds, args.repeats)
    chart(results, HERE / "features.png")
    write(page(results, left_out, paths, args.rounds, args.repeats, songs), HERE / "README.md")
    print(table(results, left_out))


if __name__ == "__main__":
    main()
