"What the features share: filter banks in groups, long spectrograms in blocks, peaks of a spectrum."

from functools import lru_cache

import numpy as np


def check_signal(
    y: np.ndarray, # waveform, (samples,), floating point
) -> np.ndarray: # the same, float32
    "The waveform as float32. Raises `ValueError` unless it is mono, not empty, floating point and finite."
    y = np.asarray(y)
    if y.ndim != 1:
        what = f'got the shape {y.shape}; mix channels down first'
        raise ValueError(f'expected a mono waveform (samples,), {what}')
    if not y.size: raise ValueError('expected a waveform, got no samples')
    if y.dtype.kind != 'f': raise ValueError(f'expected floating point samples in [-1, 1], got {y.dtype}')
    with np.errstate(over='ignore'): y = np.ascontiguousarray(y, dtype=np.float32) # what is finite in 64 bits may not be so in 32
    if not np.isfinite(y).all(): raise ValueError('the waveform holds samples that are not finite (in 32 bits)')
    return y


def divisor(
    x: np.ndarray, # any shape, not negative
) -> np.ndarray: # the same, with 1 in place of what is too small to divide by
    "What to divide by so that silence stays at zero (the rule of `librosa.util.normalize`)."
    return np.where(x < np.finfo(np.float32).tiny, np.float32(1), x)


def in_blocks(
    function, # of one or more arrays (frames, ...), gives an array (frames, ...)
    *arrays, # (frames, ...) each
    size: int = 128, # frames in a block
) -> np.ndarray: # (frames, ...)
    "Apply a function to a few frames at a time, so that its intermediate arrays stay small."
    starts = range(0, len(arrays[0]), size)
    return np.concatenate([function(*[x[i:i + size] for x in arrays]) for i in starts])


@lru_cache(maxsize=16)
def contrast_bands(
    sr: int, # sample rate in Hz
    n_fft: int, # samples in one frame
    n_bands: int, # octaves above `fmin`
    fmin: float, # top of the lowest band, in Hz
    quantile: float, # fraction of a band's bins that counts as peak, and as valley
) -> list: # (bins, count) of each band
    "Bins of each octave, and how many are peaks and valleys (as `librosa.feature.spectral_contrast`)."
    freq, edges = np.fft.rfftfreq(n_fft, 1 / sr), np.r_[0, fmin * 2. ** np.arange(n_bands + 1)]
    if edges[-2] >= sr / 2:
        raise ValueError(f'{n_bands} octaves above {fmin:g} Hz do not fit below {sr / 2:g} Hz')
    bands = []
    for k in range(n_bands + 1):
        inside = np.flatnonzero((freq >= edges[k]) & (freq <= edges[k + 1]))
        start, stop = inside[0] - (k > 0), len(freq) if k == n_bands else inside[-1] + 1
        count = max(1, int(np.rint(quantile * (stop - start))))
        bands.append((slice(start, stop if k == n_bands else stop - 1), count))
    return bands


def spectral_peaks(
    a, # the song, a `features.Analysis`
    fmin: float = 150., # lowest frequency, in Hz
    fmax: float = 4000., # highest frequency, in Hz
    threshold: float = 0.1, # a peak has more than this fraction of its frame's largest power
) -> tuple: # frequencies in Hz and powers of all peaks, (peaks,) each, float32
    "Peaks of the power spectra, placed by a parabola through three bins (as `librosa.piptrack`)."
    low, high = np.maximum(1, np.searchsorted(a.freq, [fmin, min(fmax, a.sr / 2)]))
    P = np.square(a.S[:, low - 1:high + 1])
    S, below, above = P[:, 1:-1], P[:, :-2], P[:, 2:]
    enough = np.float32(threshold) * np.square(a.S.max(1, keepdims=True))
    frame, k = np.nonzero((S > enough) & (S > below) & (S >= above))
    S, below, above = S[frame, k], below[frame, k], above[frame, k]
    curve, slope = (above + below).astype(float) - 2 * S.astype(float), (above - below) / np.float32(2)
    inside = np.abs(slope) < np.abs(curve)
    shift = np.where(inside, -slope / np.where(inside, curve, 1), 0).astype(np.float32)
    return ((low + k + shift) * a.sr / a.n_fft).astype(np.float32), S + np.float32(0.5) * slope * shift


def estimate_tuning(
    a, # the song, a `features.Analysis`
) -> float: # in [-0.5, 0.5): fraction of a semitone above A = 440 Hz
    "How far the song is off concert pitch, to a hundredth of a semitone (as `librosa.estimate_tuning`)."
    pitch, power = spectral_peaks(a)
    if not len(pitch): return 0.
    pitch = pitch[power >= np.median(power)]
    residual = np.mod(12 * np.log2(pitch / np.float32(27.5)), 1)
    residual[residual >= 0.5] -= 1
    counts, edges = np.histogram(residual, np.linspace(-0.5, 0.5, 101))
    return float(edges[np.argmax(counts)])


@lru_cache(maxsize=256)
def chroma_filters(
    sr: int, # sample rate in Hz
    n_fft: int = 2048, # samples in one frame
    tuning: float = 0., # fraction of a semitone above A = 440 Hz
) -> np.ndarray: # (12, 1 + n_fft // 2), float32; first row is C
    "Weight of each frequency in each pitch class (as `librosa.filters.chroma`; D. Ellis, 2007)."
    frequencies = np.arange(1, 2 + n_fft // 2) * sr / n_fft
    semitones = 12 * np.log2(frequencies / (440 * 2 ** (tuning / 12) / 16))
    semitones = np.concatenate([[semitones[0] - 18], semitones])
    width = np.maximum(np.diff(semitones), 1)
    semitones = semitones[:-1]
    distance = np.remainder(semitones - np.arange(12)[:, None] + 6, 12) - 6
    weights = np.exp(-0.5 * (2 * distance / width) ** 2)
    weights /= np.sqrt((weights ** 2).sum(0))
    weights *= np.exp(-0.5 * ((semitones / 12 - 5) / 2) ** 2)
    return np.roll(weights, -3, axis=0).astype(np.float32)


def band_groups(
    filters: np.ndarray, # a filter bank, (bands, bins)
    size: int = 16, # bands in one group
) -> list: # of each group: its bins, a slice; its weights, (bins, bands)
    "A filter bank in groups of neighbouring bands, each with only the bins that it hears."
    groups = []
    for start in range(0, len(filters), size):
        weights = filters[start:start + size]
        heard = np.flatnonzero(weights.any(0))
        bins = slice(heard[0], heard[-1] + 1) if len(heard) else slice(0, 1)
        groups.append((bins, np.ascontiguousarray(weights[:, bins].T)))
    return groups


def mel_frequencies(
    n: int, # how many
    fmax: float, # the highest, in Hz
) -> np.ndarray: # (n,), in Hz
    "From 0 to `fmax`, evenly spaced in mel: linear to 1 kHz, then logarithmic (Slaney, 1998)."
    step, knee, log_step = 200 / 3, 15, np.log(6.4) / 27
    mel_max = fmax / step if fmax < 1000 else knee + np.log(fmax / 1000) / log_step
    mels = np.linspace(0, mel_max, n)
    return np.where(mels < knee, mels * step, 1000 * np.exp(log_step * (mels - knee)))


@lru_cache(maxsize=16)
def mel_filters(
    sr: int, # sample rate in Hz
    n_fft: int = 2048, # samples in one frame
    n_mels: int = 128, # number of mel bands
) -> np.ndarray: # (n_mels, 1 + n_fft // 2), float32, each row a triangle of area 1
    "The mel filter bank (as `librosa.filters.mel`)."
    edges, freq = mel_frequencies(n_mels + 2, sr / 2), np.fft.rfftfreq(n_fft, 1 / sr)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((freq - left) / (middle - left), (right - freq) / (right - middle))
    return (np.maximum(0, triangles) * 2 / (right - left)).astype(np.float32)


@lru_cache(maxsize=16)
def mel_groups(
    sr: int, # sample rate in Hz
    n_fft: int, # samples in one frame
    n_mels: int, # number of mel bands
) -> list: # of each group: its bins, a slice; its weights, (bins, bands)
    "The mel filter bank in groups of neighbours, kept from song to song."
    return band_groups(mel_filters(sr, n_fft, n_mels))
