"Instruments and drums: how a note becomes a waveform."

from dataclasses import dataclass

import numpy as np
from scipy import fft, signal

@dataclass(frozen=True)
class Sound:
    "What makes an instrument sound as it does."
    rolloff_db_per_octave: float = -9. # how harmonics weaken
    even: float = 1. # strength of the even harmonics; a clarinet has few
    decay: float = 0. # seconds until the tone has lost 60 dB; 0 holds on
    damping: float = .1 # how much sooner each higher harmonic dies
    attack: float = .004 # s
    release: float = .05 # s
    vibrato: float = 0. # cents (1/100 semitone)
    scoop: float = 0. # semitones that a note starts away from its pitch
    unison: int = 1 # how many play together, slightly out of tune
    breath: float = 0. # noise, relative to the tone
    formants: tuple = () # (Hz, dB) of the body's resonances
    vowels: bool = False # a voice: its formants change from note to note
    drive: float = 0. # overdrive of the amplifier; 0 has none
    cutoff: float = 0. # Hz where the loudspeaker of the amplifier ends; 0 has none


SOUNDS = {
    'acoustic guitar': Sound(-5, decay=2.2, damping=.15, formants=((110, 4), (230, 3), (2500, 2))),
    'steel guitar': Sound(-6, decay=6, damping=.05, attack=.03, vibrato=18, scoop=-1.),
    'banjo': Sound(-2.5, decay=.7, damping=.03, attack=.001, formants=((900, 5), (2800, 4))),
    'clean guitar': Sound(-5, decay=1.6, damping=.08, formants=((400, 3), (2200, 3))),
    'blues guitar': Sound(-5, decay=3, damping=.06, vibrato=18, scoop=-.7, drive=2.5, cutoff=3500),
    'overdriven guitar': Sound(-5, decay=3, damping=.08, drive=3.5, cutoff=3800),
    'distorted guitar': Sound(-3, decay=6, damping=.04, drive=16., cutoff=5200),
    'muted guitar': Sound(-3, decay=.35, damping=.25, drive=16., cutoff=4800),
    'lead guitar': Sound(-4, decay=8, damping=.03, vibrato=22, scoop=-.4, drive=9., cutoff=5000),
    'upright bass': Sound(-8, decay=1.4, damping=.3, attack=.008, formants=((100, 4),)),
    'electric bass': Sound(-7, decay=2.5, damping=.12, attack=.005, formants=((700, 2),)),
    'picked bass': Sound(-4.5, decay=2.5, damping=.06, attack=.002),
    'sub bass': Sound(-20, decay=5, damping=.1, attack=.01),
    'synth bass': Sound(-6, decay=1., damping=.25, attack=.002),
    'piano': Sound(-7, decay=3., damping=.12, attack=.003, formants=((300, 2),)),
    'electric piano': Sound(-12, decay=2.5, damping=.5, formants=((1500, 4),)),
    'vibraphone': Sound(-16, even=.2, decay=3., damping=.4, attack=.003)}
SOUNDS |= {
    'organ': Sound(-8, even=.8, attack=.01, vibrato=8),
    'strings': Sound(-7, attack=.09, release=.18, vibrato=10, unison=3, formants=((500, 2), (2800, 3))),
    'string stabs': Sound(-5, attack=.02, release=.12, vibrato=8, unison=3, formants=((3000, 4),)),
    'violin': Sound(-6, attack=.06, release=.1, vibrato=16, formants=((500, 3), (1200, 2), (2800, 5)), breath=.01),
    'fiddle': Sound(-4.5, attack=.02, release=.06, vibrato=10, scoop=-.3, formants=((550, 3), (2800, 5)), breath=.03),
    'cello': Sound(-7, attack=.06, release=.12, vibrato=12, formants=((250, 3), (700, 2))),
    'flute': Sound(-13, attack=.05, release=.08, vibrato=14, breath=.05),
    'clarinet': Sound(-7, even=.15, attack=.03, release=.07, formants=((1200, 2),), breath=.01),
    'saxophone': Sound(-7, attack=.025, release=.07, vibrato=16, scoop=-.4, formants=((550, 4), (1300, 4), (2300, -3)), breath=.05),
    'trumpet': Sound(-5, attack=.02, release=.06, vibrato=9, formants=((1200, 6), (2300, 2)), breath=.01),
    'brass': Sound(-5, attack=.025, release=.08, unison=3, formants=((1100, 5), (2300, 2))),
    'harmonica': Sound(-4, attack=.03, release=.06, vibrato=14, scoop=-.5, formants=((1800, 4), (3000, 3)), breath=.03, drive=1.5, cutoff=4500),
    'synth lead': Sound(-5.5, attack=.008, release=.08, vibrato=12, unison=2),
    'synth pad': Sound(-7, attack=.25, release=.4, unison=3)}
VOWELS = (((730, 0), (1090, -3), (2440, -14)), ((530, 0), (1840, -8), (2480, -12)), ((300, 0), (2240, -12), (3010, -16)),
          ((500, 0), (900, -5), (2500, -20)), ((660, 0), (1720, -7), (2410, -14)))
SOUNDS |= {
    'voice': Sound(-8, attack=.04, release=.08, vibrato=22, scoop=-.5, breath=.04, vowels=True),
    'soul voice': Sound(-6.5, attack=.03, release=.09, vibrato=30, scoop=-1., breath=.04, vowels=True),
    'rough voice': Sound(-5.5, attack=.02, release=.07, vibrato=18, scoop=-1., breath=.12, vowels=True, drive=2., cutoff=6500),
    'rap': Sound(-7, attack=.012, release=.03, scoop=1.5, breath=.15, vowels=True),
    'growl': Sound(-3, attack=.02, release=.06, scoop=-1.5, breath=.7, vowels=True, drive=10., cutoff=5500),
    'choir pad': Sound(-7, attack=.15, release=.3, unison=3, vibrato=14, vowels=True)}


def partials(
    hz: float, # frequency of the note
    sound: Sound, # the instrument
    sr: int, # sample rate in Hz
    vowel: int = 0, # which vowel a voice sings
) -> np.ndarray: # (harmonics,), linear amplitude, of power 1 together
    "Strength of the harmonics below the Nyquist frequency, 96 at most."
    k = np.arange(1, max(2, min(96, int(.45*sr/hz)) + 1))
    level = k**(sound.rolloff_db_per_octave/6.02)
    level[1::2] *= sound.even
    body = VOWELS[vowel % len(VOWELS)] if sound.vowels else sound.formants
    lift = sum((10**(db/20)/(1 + ((k*hz - f)/(60 + .06*f))**2) for f, db in body), np.zeros(len(k)))
    level = level*(lift + (.03 if sound.vowels else 1.))
    return level/np.sqrt((level**2).sum()/2)


def wavetable(
    level: np.ndarray, # (harmonics,), amplitude
    rates: np.ndarray, # (harmonics,), decay in nepers a second; all 0 for a held tone
    hz: float, # frequency of the note
    seconds: float, # how long the table must last
    rng: np.random.Generator, # source of the phases
) -> np.ndarray: # (periods, samples of a period); one period for a held tone
    "The periods of a tone, one row each."
    size = 2**int(np.ceil(np.log2(max(64, 4*len(level)))))
    rows = int(1.05*seconds*hz) + 2 if rates.any() else 1
    spectrum = np.zeros((rows, size//2 + 1), complex)
    spectrum[:, 1:len(level) + 1] = level*np.exp(2j*np.pi*rng.random(len(level)))*np.exp(-np.arange(rows)[:, None]/hz*rates)
    return fft.irfft(spectrum, size, axis=1)*size/2


def periods(
    n: int, # samples
    hz: float, # frequency of the note
    sound: Sound, # the instrument
    cents: float, # how far out of tune
    sr: int, # sample rate in Hz
) -> np.ndarray: # (n,), periods passed since the start
    "How far a tone has come at each sample, with vibrato and the slide at its start."
    t, curve = np.arange(n)/sr, cents
    if sound.vibrato: curve = curve + sound.vibrato*np.sin(2*np.pi*5.4*t)*np.clip(2.5*t - .4, 0, 1)
    if sound.scoop: curve = curve + 100*sound.scoop*np.exp(-t/.045)
    return np.cumsum(np.broadcast_to(hz*2**(curve/1200), n))/sr


def envelope(
    n: int, # samples
    sound: Sound, # the instrument
    sr: int, # sample rate in Hz
) -> np.ndarray: # (n,), in [0, 1]
    "How a note fades in and out."
    attack, release = (np.linspace(0, 1, max(2, int(s*sr)))[:n] for s in (sound.attack, sound.release))
    env = np.ones(n)
    env[:len(attack)] *= attack
    env[n - len(release):] *= release[::-1]**2
    return env


def read_table(
    table: np.ndarray, # (periods, samples of a period), from `wavetable`
    at: np.ndarray, # (n,), position in periods
) -> np.ndarray: # (n,)
    "The table at fractional positions, by linear interpolation; a single period is repeated for ever."
    flat = np.append(table.ravel(), table[-1, 0])
    if len(table) == 1: at = at - np.floor(at)
    at = np.minimum(at*table.shape[1], flat.size - 1.001)
    i = at.astype(np.intp)
    return flat[i] + (at - i)*(flat[i + 1] - flat[i])


def tone(
    hz: float, # frequency of the note
    seconds: float, # until the release begins
    sound: Sound, # the instrument
    sr: int, # sample rate in Hz
    rng: np.random.Generator, # source of phases and breath
    vowel: int = 0, # which vowel a voice sings
) -> np.ndarray: # waveform, (samples,), float64, RMS near 1 while it holds
    "One note of an instrument."
    n = int((seconds + sound.release)*sr)
    level = partials(hz, sound, sr, vowel)
    rates = (1 + sound.damping*np.arange(len(level)))*(6.9/sound.decay if sound.decay else 0.)
    table, y = wavetable(level, rates, hz, n/sr, rng), np.zeros(n)
    for cents in np.linspace(-9, 9, sound.unison) if sound.unison > 1 else (0.,):
        y += read_table(table, periods(n, hz, sound, cents, sr) + rng.random())
    if sound.breath: y += sound.breath*rng.standard_normal(n)*(1 + 8*np.exp(-np.arange(n)/(.04*sr)))
    return y*envelope(n, sound, sr)


@dataclass(frozen=True)
class Drum:
    "What makes a drum sound as it does."
    high: float # Hz where its tone starts; 0 for no tone
    low: float # Hz to which the tone falls
    ring: float # seconds until the tone has lost 60 dB
    noise: float # strength of the noise
    band: tuple # Hz, lowest and highest of the noise
    decay: float # seconds until the noise has lost 60 dB
    level: float = 1. # in the kit


DRUMS = {
    'kick': Drum(180, 52, .28, .12, (800, 5000), .02, 1.2), 'sub kick': Drum(120, 42, .5, .05, (500, 3000), .02, 1.3),
    'snare': Drum(260, 185, .12, .9, (1200, 9000), .2), 'rim': Drum(1700, 1650, .04, .4, (1500, 6000), .03, .6),
    'tom': Drum(160, 95, .35, .1, (300, 3000), .05), 'clap': Drum(0, 0, .1, 1., (900, 4500), .22, .7),
    'brush': Drum(0, 0, .1, .5, (1500, 6000), .16, .5), 'shaker': Drum(0, 0, .1, .3, (5000, 10000), .07, .3),
    'hat': Drum(0, 0, .1, .5, (6500, 10500), .06, .3), 'open': Drum(0, 0, .1, .5, (6000, 10500), .35, .35),
    'pedal': Drum(0, 0, .1, .5, (5000, 9000), .05, .3), 'ride': Drum(0, 0, .1, .5, (4200, 9500), .45, .25),
    'crash': Drum(0, 0, .1, .8, (3000, 10500), 1.4, .4), 'cowbell': Drum(562, 560, .2, .1, (800, 3000), .05, .3),
    'tambourine': Drum(0, 0, .1, .4, (7000, 10500), .15, .3)}


def drum_hit(
    drum: Drum, # which one
    sr: int, # sample rate in Hz
    rng: np.random.Generator, # source of the noise
) -> np.ndarray: # waveform, (samples,), float64, peak near 1
    "One stroke of a drum."
    t = np.arange(int(max(drum.ring, drum.decay)*sr))/sr
    sweep = drum.low + (drum.high - drum.low)*np.exp(-t/.025)
    skin = np.sin(2*np.pi*np.cumsum(sweep)/sr)*np.exp(-6.9*t/drum.ring) if drum.high else 0.
    top = min(drum.band[1], .48*sr)
    band = signal.butter(2, (min(drum.band[0], .8*top), top), 'bandpass', fs=sr, output='sos')
    hiss = signal.sosfilt(band, rng.standard_normal(len(t)))*np.exp(-6.9*t/drum.decay)
    return drum.level*(skin + drum.noise*hiss/np.abs(hiss).max())
