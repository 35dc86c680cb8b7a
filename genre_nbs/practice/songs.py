"Songs: composed from a style and an artist, and rendered to a waveform."

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, signal

from genre_nbs.practice.artists import Artist, make_artist, Mix, Player, whole_number
from genre_nbs.practice.sounds import drum_hit, Sound, tone
from genre_nbs.practice.styles import Style, STYLES
from genre_nbs.practice.theory import chord, figure, melody, NOTE_NAMES, SCALES, strokes, walking_bass

def form(
    bars: int, # how many are needed
    unit: int, # bars of a section, 8 or 12
    rng: np.random.Generator, # source of the choice
    whole: bool, # a whole song with an intro, or an excerpt
) -> list: # (letter, first bar, number of bars) of each section
    "The plan of a song, long enough for `bars`."
    letters = 'i' + 'vvcvcsc' if whole else ('vcvcs', 'cvcsc', 'vscvc')[rng.integers(3)]
    plan, start = [], 0
    while start < bars:
        letter = letters[len(plan)] if len(plan) < len(letters) else 'vcsc'[len(plan) % 4]
        plan.append((letter, start, 4 if letter == 'i' and unit == 8 else unit))
        start += plan[-1][2]
    return plan


@dataclass
class Score:
    "A song on paper."
    seed: tuple # the artist's, and the number of the song plus one
    tempo: float # beats a minute
    tonic: int # pitch class of the key
    scale: str # its scale
    notes: dict # role -> notes (start, length, pitch, strength), in beats
    hits: list # drum strokes (beat, drum, strength)


def play_drums(
    groove: dict, # drum -> one bar
    bars: int, # length of the section
    swing: float, # as in `onsets`
    fill: bool, # whether the last beat is a fill, and the first a crash
) -> list: # (beat, drum, strength)
    "The drums of one section."
    hits = [(4*b + t, drum, strength) for b in range(bars) for drum, bar in groove.items() for t, strength in strokes(bar, swing)]
    if not fill or not groove: return hits
    end = 4*bars - 1
    roll = [(end + i/4, drum, .5 + .15*i) for i, drum in enumerate(('snare', 'snare', 'tom', 'tom'))]
    return [(0., 'crash', .8)] + [hit for hit in hits if hit[0] < end] + roll


def play_part(
    player: Player, # who plays
    letter: str, # section
    chords: list, # one for each bar
    pattern: str, # the figure for this section; '' for a melody
    tonality: tuple, # tonic and name of the scale for melodies
    swing: float, # as in `onsets`
    seed: tuple, # of the song: the same section has the same melody
) -> list: # notes
    "What one player does in one section."
    part = player.part
    rng = np.random.default_rng((*seed, ord(letter), sum(map(ord, part.role))))
    if pattern == 'walk': return walking_bass(chords, part.register, rng)
    if pattern: return figure(pattern, chords, part.register, swing, part.gate)
    scale = {(tonality[0] + step) % 12 for step in SCALES[tonality[1]]}
    return melody(rng, chords, scale, part.register, *part.sing, swing, part.gate)


def melody_scale(
    style: Style, # the genre
    scale: str, # of the song
) -> str: # name of a scale
    "What melodies are made of: rock in a major key takes the major pentatonic."
    return 'major pentatonic' if (style.scale, scale) == ('minor pentatonic', 'major') else style.scale or scale


def compose(
    artist: Artist, # who writes
    song: int, # number of the song
    seconds: float, # how long it must be
) -> Score:
    "Write a song."
    style, seed = STYLES[artist.genre], (*artist.seed, whole_number('song', song) + 1)
    rng = np.random.default_rng(seed)
    def one(options): return options[rng.integers(len(options))]
    tempo, tonic, scale = round(float(rng.uniform(*artist.tempo)), 1), one(artist.tonics), one(artist.scales)
    changes = {letter: one(style.progressions[scale]).split() for letter in 'vc'}
    grooves = {letter: one(artist.grooves or ({},)) for letter in 'vc'}
    figures = {(p.part.role, letter): one(p.patterns or ('',)) for p in artist.players for letter in 'vc'}
    score = Score(seed, tempo, tonic, scale, {p.part.role: [] for p in artist.players}, [])
    unit = 12 if artist.genre == 'blues' else 8
    for letter, start, bars in form(int(np.ceil(seconds*tempo/240)), unit, rng, seconds > 60):
        kind = 'c' if letter == 'c' else 'v'
        chords = [chord(changes[kind][b % len(changes[kind])], tonic) for b in range(bars)]
        for p in artist.players:
            if letter not in p.part.sections: continue
            notes = play_part(p, letter, chords, figures[p.part.role, kind], (tonic, melody_scale(style, scale)), artist.swing, seed)
            score.notes[p.part.role] += [(4*start + t, *rest) for t, *rest in notes]
        score.hits += [(4*start + t, *rest) for t, *rest in play_drums(grooves[kind], bars, artist.swing, style.fills)]
    return score


def add(
    track: np.ndarray, # (samples,), changed in place
    wave: np.ndarray, # (samples of the note,)
    start: float, # s
    gain: float, # factor
    sr: int, # sample rate in Hz
):
    "Add a wave to a track from `start` on; what hangs over the end is lost."
    first = max(0, int(start*sr))
    wave = wave[:max(0, len(track) - first)]
    track[first:first + len(wave)] += gain*wave


def render_part(
    notes: list, # of one player
    player: Player, # who plays
    beat: float, # seconds of a beat
    n: int, # samples of the song
    mix: Mix, # for how loosely they play
    swell, # function of the beat: dB
    sr: int, # sample rate in Hz
    rng: np.random.Generator, # source of the human touch
) -> np.ndarray: # waveform, (n,)
    "One player's track."
    track, cache = np.zeros(n), {}
    late, touch = rng.normal(0, mix.loose, len(notes)), rng.normal(1, .08, len(notes))
    for i, (start, length, pitch, strength) in enumerate(notes):
        if start*beat*sr >= n: continue
        key = pitch, round(48*length), 7*i % 5 if player.sound.vowels else 0
        if key not in cache: cache[key] = tone(440*2**((pitch - 69)/12), length*beat, player.sound, sr, rng, key[2])
        add(track, cache[key], start*beat + late[i], strength*touch[i]*10**(swell(start)/20), sr)
    return track


def render_drums(
    hits: list, # strokes: (beat, drum, strength)
    kit: dict, # drum name -> Drum
    beat: float, # seconds of a beat
    n: int, # samples of the song
    mix: Mix, # for how loosely they play
    sr: int, # sample rate in Hz
    rng: np.random.Generator, # source of noise and the human touch
) -> np.ndarray: # waveform, (n,)
    "The drummer's track."
    track = np.zeros(n)
    cache = {drum: drum_hit(kit[drum], sr, rng) for drum in sorted({drum for _, drum, _ in hits})}
    late = rng.normal(0, mix.loose/2, len(hits))
    for (t, drum, strength), lag in zip(hits, late): add(track, cache[drum], t*beat + lag, strength, sr)
    return track


def normalize_rms(
    track: np.ndarray, # waveform, (n,)
) -> np.ndarray: # waveform, RMS 1 where something sounds
    "A track at a level that does not depend on how much rests."
    sounding = track[np.abs(track) > 1e-3]
    return track/sounding.std() if len(sounding) > 1 else track


def amplify(
    track: np.ndarray, # waveform, (n,)
    sound: Sound, # the instrument
    sr: int, # sample rate in Hz
) -> np.ndarray: # waveform, (n,), RMS 1 where something sounds
    "The track through the instrument's amplifier and loudspeaker."
    track = normalize_rms(track)
    if not sound.drive: return track
    low_pass = signal.butter(2, min(sound.cutoff, .45*sr), fs=sr, output='sos')
    return normalize_rms(signal.sosfilt(low_pass, np.tanh(.6*sound.drive*track)))


def equaliser(
    f: np.ndarray, # frequencies in Hz
    mix: Mix, # the recording
) -> np.ndarray: # gain at each frequency, a factor
    "How the recording colours the sound."
    f = np.maximum(f, 1)
    db = mix.tilt*np.clip(np.log2(f/700), -4, 4) + sum(gain/(1 + (4*np.log2(f/hz))**2) for hz, gain in mix.peaks)
    return 10**(db/20)/np.sqrt((1 + (mix.low_cut/f)**6)*(1 + (f/mix.high_cut)**8))


def add_reverb(
    y: np.ndarray, # waveform, (n,)
    mix: Mix, # the recording
    sr: int, # sample rate in Hz
    rng: np.random.Generator, # source of the room's echoes
) -> np.ndarray: # waveform, (n,)
    "The equaliser and the room, in one Fourier transform."
    tail = int(1.2*mix.room*sr)
    size = fft.next_fast_len(len(y) + tail, real=True)
    f = fft.rfftfreq(size, 1/sr)
    echo = rng.standard_normal(tail)*np.exp(-6.9*np.arange(tail)/(mix.room*sr))
    echo = fft.rfft(echo/np.sqrt((echo**2).sum()), size)*f/(f + 250)
    return fft.irfft(fft.rfft(y, size)*equaliser(f, mix)*(1 + 2*mix.wet*echo), size)[:len(y)]


def add_tape_noise(
    n: int, # samples
    mix: Mix, # the recording
    sr: int, # sample rate in Hz
    rng: np.random.Generator, # source of the noise
) -> np.ndarray: # waveform, (n,)
    "Tape hiss and the crackle of a record."
    noise = 10**(mix.hiss/20)*rng.standard_normal(n)
    clicks = rng.integers(0, n, int(12*mix.crackle*n/sr))
    noise[clicks] += .1*rng.standard_normal(len(clicks))*rng.random(len(clicks))
    return noise


def render(
    artist: Artist, # who plays
    score: Score, # what
    seconds: float, # how much of it
    sr: int = 22050, # sample rate in Hz
) -> np.ndarray: # waveform, (samples,), float32 in [-1, 1]
    "Play a score."
    rng, n, beat = np.random.default_rng((*score.seed, 1)), round(seconds*sr), 60/score.tempo
    mix = replace(artist.mix, tilt=artist.mix.tilt + rng.normal(0, .7), level=artist.mix.level + rng.normal(0, 2))
    depth, phase, y = STYLES[artist.genre].swell, rng.uniform(0, 2*np.pi), np.zeros(n)
    def swell(beats): return depth*np.sin(2*np.pi*beats/32 + phase)
    for p in artist.players:
        track = render_part(score.notes[p.part.role], p, beat, n, mix, swell, sr, rng)
        y += 10**((p.level + rng.normal(0, 2))/20)*amplify(track, p.sound, sr)
    y += 10**(mix.drums/20)*normalize_rms(render_drums(score.hits, artist.kit, beat, n, mix, sr, rng))
    y = add_reverb(y, mix, sr, rng)
    y = np.tanh(1.1*y/y.std()*10**(mix.level/20))/1.1 + add_tape_noise(n, mix, sr, rng)
    fade = min(n//4, int(sr*(4 if seconds > 60 else .05)))
    y[n - fade:] *= np.linspace(1, 0, fade)
    return np.clip(y, -.99, .99).astype(np.float32)


def describe(
    artist: Artist, # who plays
    score: Score, # what
) -> dict: # genre, artist, tempo (beats a minute), key, instruments
    "The truth about a song."
    names = {p.name for p in artist.players if score.notes[p.part.role]} | ({'drums'} if score.hits else set())
    return dict(genre=artist.genre, artist=artist.name, tempo=score.tempo, key=f'{NOTE_NAMES[score.tonic]} {score.scale}',
                instruments=', '.join(sorted(names)))


def check_sound(
    seconds: float, # length of a song
    sr: int, # sample rate in Hz
):
    "Raises `ValueError` when a song cannot be rendered like that."
    number = isinstance(seconds, (int, float, np.integer, np.floating))
    if not number or not 1 <= seconds <= 3600: raise ValueError(f'seconds must be a number from 1 to 3600, got {seconds!r}')
    whole_number('sr', sr, 8000, 192000)


def practice_song(
    genre: str, # one of the ten, in any spelling
    artist: int = 0, # number of the artist
    song: int = 0, # number of the artist's song
    seconds: float = 30., # length, 1 to 3600
    seed: int = 0, # seed of the corpus
    sr: int = 22050, # sample rate in Hz, at least 8000
) -> tuple: # waveform (samples,) float32 in [-1, 1]; and the truth, a dict as from `describe`
    "Compose and play one song. Raises `ValueError` for a genre that is not there or a number out of range."
    check_sound(seconds, sr)
    who = make_artist(genre, artist, seed)
    score = compose(who, song, seconds)
    return render(who, score, seconds, sr), describe(who, score)
