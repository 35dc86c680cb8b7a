"""Song-level features of a log-mel picture: nine families of statistics, each a few operations on whole arrays.

A family takes the spectrogram (128, columns) in dB above its floor, lowest band first, 77.5 ms a column, and the means of each four
neighbouring bands (32, columns). It gives a tuple of vectors.
"""

import numpy as np
from scipy.fft import dct, rfft
from scipy.ndimage import median_filter

DB = 80 / 255  # of one grey level


def grouped(x, groups):
    "Means of neighbouring bands, (groups, columns)."
    return x.reshape(groups, -1, x.shape[1]).mean(1)


def stretches(x, size, hop):
    "Stretches of `size` columns, (n, bands, size)."
    return np.lib.stride_tricks.sliding_window_view(x, size, axis=1)[:, ::hop].transpose(1, 0, 2)


def mfcc_statistics(spectrogram, bands):
    "MFCCs: mean, standard deviation, those of their differences; skewness, and how far the 10th and 90th percentile are from the mean."
    m = dct(spectrogram, axis=0, norm="ortho")[:24]
    mean, std, d = m.mean(1), m.std(1), np.diff(m, axis=1)
    low, high = np.percentile(m, (10, 90), axis=1)
    skewness = ((m - mean[:, None])**3).mean(1) / (std**3 + 1e-6)
    return np.concatenate([mean, std, d.std(1), np.diff(d, axis=1).std(1)]), np.concatenate([skewness, low - mean, high - mean])


def band_levels(spectrogram, bands):
    "Mean, standard deviation and percentiles of each band's level."
    low, high = np.percentile(bands, (10, 90), axis=1)
    return np.concatenate([bands.mean(1) - bands.mean(), bands.std(1), low - bands.mean(), high - bands.mean()]),


def spectral_flux(spectrogram, bands):
    "How each band rises, and how it changes, from column to column."
    d = np.diff(bands, axis=1)
    return np.concatenate([np.maximum(d, 0).mean(1), np.abs(d).mean(1), *np.percentile(d, (95, 99), axis=1)]),


def fine_structure(spectrogram, bands):
    "The high part of the cepstrum: how much single notes stand out along pitch."
    c = np.abs(dct(spectrogram, axis=0, norm="ortho"))[24:]
    c = np.log(c.reshape(13, 8, -1).mean(1) + 1)
    return np.concatenate([c.mean(1), c.std(1)]),


EDGES = (0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 19, 22, 26, 30, 34, 39)


def modulation_spectrum(spectrogram, bands):
    "How fast levels go up and down, 0.17 to 6.4 Hz (fluctuation patterns, Pampalk 2001), per band and over all."
    w = stretches(bands - bands.mean(1, keepdims=True), 78, 39)
    s = np.log1p(np.abs(rfft((w - w.mean(2, keepdims=True)) * np.hanning(78), axis=2))[:, :, 1:40]).mean(0)
    pattern = np.stack([s[:, a:b].mean(1) for a, b in zip(EDGES, EDGES[1:])], 1)
    return pattern.reshape(16, 2, -1).mean(1).ravel(), s.mean(0)


def onset_autocorrelation(spectrogram, bands):
    "Autocorrelation of onsets at lags of 0.15 to 3 s: low, middle, high and all bands."
    onsets, rows = np.maximum(np.diff(bands, axis=1), 0), []
    for part in (onsets[:8], onsets[8:20], onsets[20:], onsets):
        o = part.mean(0) - part.mean()
        r = np.correlate(o, o, "full")[len(o) - 1:]
        rows.append(r[2:40] / (r[0] + 1e-6))
    r = np.stack(rows)
    return np.concatenate([r.ravel(), np.sort(r, 1)[:, -3:].ravel(), r.std(1)]),


def block_patterns(spectrogram, bands):
    "Sorted levels in blocks of 1 s, correlations of bands in blocks of 3 s (block-level features, Seyerlehner and others 2010)."
    blocks = stretches(bands, 13, 6)
    high = np.percentile(np.sort(blocks, axis=2)[:, :, [1, 6, 11]], 90, axis=0) - bands.mean()
    z = stretches(bands, 39, 13)
    z = z - z.mean(2, keepdims=True)
    z = z / (z.std(2, keepdims=True) + 1e-3)
    r = np.median(z @ z.transpose(0, 2, 1) / 39, axis=0).reshape(16, 2, 16, 2).mean((1, 3))
    return high.ravel(), np.percentile(blocks.std(2), (20, 80), axis=0).ravel(), r[np.triu_indices(16)]


def peaks(spectrogram, bands):
    "Notes that stand out of their surroundings: how high, and how they move."
    above = np.maximum(spectrogram - median_filter(spectrogram, (9, 1)), 0)
    height = above.mean(1).reshape(32, 4)
    return np.concatenate([height.mean(1), height.std(1), grouped(np.abs(np.diff(above, axis=1)), 32).mean(1)]),


def loudness(spectrogram, bands):
    "How the level of everything together is distributed, and how it moves."
    p = 10 * np.log10((10 ** (spectrogram / 10)).sum(0))
    percentiles = np.percentile(p, [1, 5, 25, 50, 75, 95]) - p.max()
    return np.array([p.mean() - p.max(), p.std(), *percentiles, np.abs(np.diff(p)).mean(), bands.mean(), bands.std(1).mean(), (spectrogram == 0).mean()]),


FAMILIES = (mfcc_statistics, band_levels, spectral_flux, fine_structure, modulation_spectrum, onset_autocorrelation, block_patterns, peaks, loudness)
SIZES = (96, 72, 128, 128, 26, 256, 39, 168, 96, 64, 136, 96, 12)  # of the vectors that the families give; 1,317 numbers together


def song_statistics(
    picture: np.ndarray,  # (128, columns), uint8, lowest band first
) -> list:  # 13 vectors, of the sizes `SIZES`
    "Song-level features: what nine families of statistics say of a whole song."
    spectrogram = picture.astype(np.float32) * np.float32(DB)
    bands = grouped(spectrogram, 32)
    return [np.asarray(vector, np.float32) for family in FAMILIES for vector in family(spectrogram, bands)]


def typical_range(
    rows: np.ndarray,  # (songs, n), float32: statistics of the training songs
) -> tuple:  # mean (n,), scale (n,), float32; for `distance`
    "Where training songs lie: scaled so that 99 % of them have a distance below 1."
    mean, std = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    scale = np.where(std > 1e-5, 1 / np.maximum(std, 1e-5), 0)
    limit = np.percentile(np.sqrt(np.square((rows - mean) * scale).mean(1)), 99)
    return mean.astype(np.float32), (scale / max(limit, 1e-5)).astype(np.float32)


def distance(
    row: np.ndarray,  # (n,) statistics of a song
    mean: np.ndarray,  # (n,) from `typical_range`
    scale: np.ndarray,  # (n,) from `typical_range`
) -> float:  # 0: the mean song; above 1: further out than 99 % of the training songs
    "Root mean square of the standardised statistics (a Mahalanobis distance with a diagonal covariance)."
    return float(np.sqrt(np.square((row - mean) * scale, dtype=np.float64).mean()))


FAR, STRENGTH = 0.8, 4  # of `caution`; chosen on half of the sounds of `benchmarks/other_sounds.py`


def caution(row, mean, scale) -> float:
    "By how much the temperature grows for a song: not at all up to a distance of 0.8 (nine of ten songs by unknown artists), then steeply."
    return max(1.0, distance(row, mean, scale) / FAR) ** STRENGTH
