"Artists: who plays, with which instruments, in which studio."

from dataclasses import dataclass, replace

import numpy as np

from genre_nbs.genres import canonical_genre, GTZAN_GENRES
from genre_nbs.practice.sounds import DRUMS, Sound, SOUNDS
from genre_nbs.practice.styles import Part, Style, STYLES

@dataclass(frozen=True)
class Mix:
    "The sound of a recording."
    tilt: float # dB an octave around 700 Hz; positive is bright
    low_cut: float # Hz below which nothing is left
    high_cut: float # Hz above which nothing is left
    peaks: tuple # (Hz, dB) of the equaliser
    room: float # seconds until the room has lost 60 dB
    wet: float # how much of the room is heard
    level: float # dB RMS below full scale
    hiss: float # dB RMS of tape noise
    crackle: float # scratches of the record
    loose: float # how unsteady the players are, seconds
    drums: float # level of the drums, dB


def make_mix(
    style: Style, # the genre
    rng: np.random.Generator, # source of the habits
) -> Mix:
    "A studio for one artist."
    return Mix(tilt=style.tilt + rng.normal(0, .7), low_cut=rng.uniform(20, 75), high_cut=10**rng.uniform(3.65, 4.04),
               peaks=tuple((rng.uniform(150, 5000), rng.normal(0, 2.5)) for _ in range(3)),
               room=style.room*rng.uniform(.5, 1.8), wet=rng.uniform(.08, .3), level=style.level + rng.normal(0, 2.5),
               hiss=rng.uniform(-75, -50), crackle=style.crackle*rng.uniform(0, 2), loose=rng.uniform(.002, .012),
               drums=style.drums + rng.normal(0, 2))


@dataclass(frozen=True)
class Player:
    "A chair in the band, taken."
    part: Part # the chair
    name: str # the instrument
    sound: Sound # the instrument as this player sounds
    patterns: tuple # the figures that the player likes
    level: float # dB in the mix


def some(
    rng: np.random.Generator, # source of the choice
    options: tuple, # what there is
    most: int, # how many are taken at most
) -> tuple: # some of the options, in their order
    "A random few."
    return tuple(options[i] for i in sorted(rng.permutation(len(options))[:most]))


def make_player(
    part: Part, # the chair
    rng: np.random.Generator, # source of the habits
) -> Player:
    "A player for a chair."
    name = part.sounds[rng.integers(len(part.sounds))]
    rolloff, decay, vibrato, drive = rng.normal(0, 1.2), rng.uniform(.7, 1.4), rng.uniform(.5, 1.5), rng.uniform(.6, 1.6)
    own = SOUNDS[name]
    sound = replace(own, rolloff_db_per_octave=own.rolloff_db_per_octave + rolloff, decay=own.decay*decay, vibrato=own.vibrato*vibrato, drive=own.drive*drive)
    return Player(part, name, sound, some(rng, part.patterns, 2), part.level + rng.normal(0, 1.5))


def make_kit(
    rng: np.random.Generator, # source of the habits
) -> dict: # drum name -> Drum
    "A drum kit, tuned and damped in one way."
    tune, ring, bright = rng.uniform(.85, 1.2), rng.uniform(.7, 1.4), rng.uniform(.75, 1.)
    return {name: replace(d, high=d.high*tune, low=d.low*tune, ring=d.ring*ring, decay=d.decay*ring, band=(d.band[0]*bright, d.band[1]*bright))
            for name, d in DRUMS.items()}


RESERVED_ARTISTS = range(900, 1000) # kept out of every corpus, for songs that nobody may have trained on


@dataclass(frozen=True)
class Artist:
    "The habits that an artist's songs share."
    name: str # such as 'jazz-artist03'
    genre: str # canonical name
    seed: tuple # (seed, number of the genre, number of the artist)
    tempo: tuple # beats a minute, slowest and fastest
    tonics: tuple # pitch classes of favourite keys
    scales: tuple # names of favourite scales
    swing: float # as in `onsets`
    grooves: tuple # favourite drum patterns; empty without a drummer
    players: tuple # the band
    kit: dict # drum name -> Drum
    mix: Mix # the recording


def make_artist(
    genre: str, # one of the ten, in any spelling
    index: int = 0, # number of the artist
    seed: int = 0, # seed of the whole corpus
) -> Artist:
    "The artist with that number. Raises `ValueError` for an unknown genre or a number that is not one."
    genre = known_genre(genre)
    style, key = STYLES[genre], (whole_number('seed', seed), GTZAN_GENRES.index(genre), whole_number('artist', index))
    rng, (low, high) = np.random.default_rng(key), style.tempo
    tempo = rng.uniform(.85*low + .15*high, .15*low + .85*high)
    return Artist(f'{genre}-artist{index:02d}', genre, key, (tempo - .12*(high - low), tempo + .12*(high - low)),
                  some(rng, tuple(range(12)), 4), some(rng, tuple(style.progressions), 2), float(np.clip(style.swing + rng.normal(0, .015), .5, .68)),
                  () if rng.random() < style.drumless else some(rng, style.grooves, 2),
                  tuple(make_player(part, rng) for part in style.parts if rng.random() < part.chance), make_kit(rng), make_mix(style, rng))


def known_genre(
    genre: str, # a genre in any spelling
) -> str: # one of `GTZAN_GENRES`
    "The genre's canonical name. Raises `ValueError` when it is none of the ten."
    name = canonical_genre(genre)
    if name not in GTZAN_GENRES: raise ValueError(f"no practice songs in {genre!r}; there are {', '.join(GTZAN_GENRES)}")
    return name


def whole_number(
    name: str, # what the number is for
    value: int, # the number
    least: int = 0, # smallest allowed
    most: int = 2**63 - 1, # largest allowed
) -> int: # the number itself
    "A whole number in a range. Raises `ValueError` when it is not."
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise ValueError(f'{name} must be a whole number ' + (f'from {least} to {most}' if most < 2**63 - 1 else f'of at least {least}') + f', got {value!r}')
    return int(value)
