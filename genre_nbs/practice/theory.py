"Notes, chords and rhythm: how a song is written down."

import re

import numpy as np

NOTE_NAMES = ('C', 'Db', 'D', 'Eb', 'E', 'F', 'Gb', 'G', 'Ab', 'A', 'Bb', 'B')
SCALES = {'major': (0, 2, 4, 5, 7, 9, 11), 'minor': (0, 2, 3, 5, 7, 8, 10), 'dorian': (0, 2, 3, 5, 7, 9, 10),
          'phrygian': (0, 1, 3, 5, 7, 8, 10), 'blues': (0, 3, 5, 6, 7, 10),
          'major pentatonic': (0, 2, 4, 7, 9), 'minor pentatonic': (0, 3, 5, 7, 10)}
CHORDS = {'': (0, 4, 7), 'm': (0, 3, 7), '7': (0, 4, 7, 10), 'm7': (0, 3, 7, 10), 'maj7': (0, 4, 7, 11), 'm7b5': (0, 3, 6, 10)}
ROMAN = {'I': 0, 'II': 2, 'III': 4, 'IV': 5, 'V': 7, 'VI': 9, 'VII': 11}


def chord(
    symbol: str, # Roman numeral, such as 'IV', 'ii7' or 'bVII'; small letters for minor
    tonic: int, # pitch class of the key, 0 (C) to 11 (B)
) -> tuple: # pitch class of the root, and the chord's semitones above it
    "The chord that a Roman numeral means in a key."
    flat, numeral, quality = re.fullmatch(r'(b?)([iv]+|[IV]+)(.*)', symbol).groups()
    quality = quality if 'b5' in quality or numeral.isupper() else 'm' + quality
    return (tonic + ROMAN[numeral.upper()] - len(flat)) % 12, CHORDS['m7b5' if quality == '7b5' else quality]


def degree(
    token: str, # '1' to '14', with 'b' in front for a semitone lower than major
    tones: tuple, # the chord's semitones above its root
) -> int: # semitones above the root
    "A step above a chord's root. Third, fifth and seventh are the chord's own."
    octave, step = divmod(int(token.lstrip('b')) - 1, 7)
    if token[0] == 'b': return 12*octave + (0, 1, 3, 4, 6, 8, 10)[step]
    return 12*octave + (0, 2, tones[1], 5, tones[2], 9, (*tones, 10)[3])[step]


def pitches(
    token: str, # degrees joined by '+', or 'c' for the chord, or 'p' for the power chord
    harmony: tuple, # root and tones, from `chord`
    register: int, # lowest MIDI pitch; 60 is middle C
) -> list: # MIDI pitches
    "The pitches that a token means over a chord."
    root, tones = harmony
    base = register + (root - register) % 12
    if token == 'c': return sorted(register + (root + t - register) % 12 for t in tones)
    if token == 'p': return [base, base + 7, base + 12]
    return [base + degree(d, tones) for d in token.split('+')]


def onsets(
    n: int, # signs in a bar of four beats
    swing: float = .5, # where in a pair the second note stands, 0.5 (straight) to 0.67 (shuffle)
) -> np.ndarray: # (n,), in beats from the start of the bar
    "When the steps of a bar sound. Triplets (12 signs) are never swung."
    per_beat = n//4
    beats = np.arange(n)/per_beat
    if per_beat % 2 == 0: beats[1::2] += (swing - .5)*2/per_beat
    return beats


STRENGTH = {'X': 1., 'x': .8, 'o': .4} # an accent, a stroke, a ghost note; '.' is silence


def strokes(
    pattern: str, # one bar, such as 'x...x...'
    swing: float = .5, # as in `onsets`
) -> list: # (beat, strength) of each stroke
    "The strokes of one drum in one bar."
    return [(float(beat), STRENGTH[sign]) for beat, sign in zip(onsets(len(pattern), swing), pattern) if sign in STRENGTH]


def figure(
    pattern: str, # tokens of `pitches` separated by spaces, bars separated by '|'
    chords: list, # one chord for each bar
    register: int, # lowest MIDI pitch of the part
    swing: float = .5, # as in `onsets`
    gate: float = .9, # share of its time that a note really sounds
) -> list: # notes: (start, length, pitch, strength), times in beats
    "An accompaniment: the pattern, played over each chord in turn."
    bars, notes = [bar.split() for bar in pattern.split('|')], []
    for b, harmony in enumerate(chords):
        tokens = bars[b % len(bars)]
        times = np.append(onsets(len(tokens), swing), 4.)
        for i, token in enumerate(tokens):
            if token in '.-': continue
            stop = next((j for j in range(i + 1, len(tokens)) if tokens[j] != '-'), len(tokens))
            length, strength = gate*(times[stop] - times[i]), 1. if i == 0 else .85
            notes += [(4*b + times[i], length, p, strength) for p in pitches(token, harmony, register)]
    return notes


def walking_bass(
    chords: list, # one chord for each bar
    register: int, # lowest MIDI pitch
    rng: np.random.Generator, # source of the choices
) -> list: # notes
    "A bass line of quarter notes that leads from chord to chord."
    notes = []
    for b, (root, tones) in enumerate(chords):
        base = register + (root - register) % 12
        after = register + (chords[(b + 1) % len(chords)][0] - register) % 12
        line = (base, base + rng.choice(tones[1:3]), base + rng.choice((tones[2], tones[-1], 12)), after + rng.choice((-1, 1)))
        notes += [(4*b + i, .95, int(p), 1. if i % 2 else .9) for i, p in enumerate(line)]
    return notes


def motif(
    rng: np.random.Generator, # source of the choices
    density: float, # notes a beat
    per_beat: int, # grid steps in a beat
    leap: float, # typical step of the line, in scale steps
    swing: float = .5, # as in `onsets`
) -> tuple: # times in beats (n,), in [0, 8); heights in scale steps (n,), around 0
    "Two bars of melody: a rhythm and a contour."
    steps = 8*per_beat
    weight = np.where(np.arange(steps) % per_beat == 0, 2.5, 1.)
    weight[int(.85*steps):] = .05
    chosen = np.sort(rng.choice(steps, max(2, int(8*density)), replace=False, p=weight/weight.sum()))
    height = np.cumsum(rng.normal(0, leap, len(chosen)))
    bar = onsets(4*per_beat, swing)
    return np.concatenate([bar, bar + 4])[chosen], np.round(height - height.mean()).astype(int)


def nearest_tone(
    pitch: int, # MIDI pitch
    harmony: tuple, # root and tones, from `chord`
) -> int: # MIDI pitch
    "The chord's tone nearest to a pitch."
    classes = {(harmony[0] + t) % 12 for t in harmony[1]}
    return min((p for p in range(pitch - 3, pitch + 4) if p % 12 in classes), key=lambda p: abs(p - pitch), default=pitch)


def melody(
    rng: np.random.Generator, # source of the choices
    chords: list, # one chord for each bar
    scale: set, # pitch classes that the line may use
    register: int, # MIDI pitch around which the line moves
    density: float, # notes a beat
    per_beat: int = 2, # grid steps in a beat
    leap: float = 1.2, # typical step of the line, in scale steps
    swing: float = .5, # as in `onsets`
    gate: float = .9, # share of its time that a note sounds
) -> list: # notes
    "A line in the form A A B A over the chords."
    ladder = [int(p) for p in range(register - 14, register + 15) if p % 12 in scale]
    themes, notes = [motif(rng, density, per_beat, leap, swing) for _ in range(2)], []
    for block in range(len(chords)//2):
        times, heights = themes[(0, 0, 1, 0)[block % 4]]
        for t, end, height in zip(times, np.append(times[1:], 8.), heights):
            pitch = ladder[int(np.clip(len(ladder)//2 + height, 0, len(ladder) - 1))]
            if t % 2 < .1 or end - t > 1: pitch = nearest_tone(pitch, chords[2*block + int(t >= 4)])
            notes.append((8*block + t, gate*min(end - t, 2.5), pitch, 1. if t % 1 == 0 else .8))
    return notes
