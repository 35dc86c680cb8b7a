"The ten genres as tables: tempo, harmony, rhythm, instruments, form and the sound of the recording."

from dataclasses import dataclass

@dataclass(frozen=True)
class Part:
    "One chair in the band."
    role: str # what the chair is called
    sounds: tuple # instruments that may sit there
    patterns: tuple = () # figures it may play; none for a melody
    register: int = 52 # lowest MIDI pitch of a figure, middle of a melody
    level: float = 0. # dB in the mix
    gate: float = .9 # share of its time that a note sounds
    sections: str = 'ivcs' # where it plays
    chance: float = 1. # fraction of the artists who have it
    sing: tuple = (1.2, 2, 1.2) # of a melody: notes a beat, grid steps a beat, leap


@dataclass(frozen=True)
class Style:
    "What makes a genre."
    tempo: tuple # beats a minute, slowest and fastest
    progressions: dict # name of the scale -> progressions in it
    parts: tuple # the band
    grooves: tuple = () # drum patterns: drum -> one bar
    scale: str = '' # scale of the melodies, where it is not the song's own
    swing: float = .5 # as in `onsets`
    fills: bool = False # whether drums announce a new section
    drumless: float = 0. # fraction of the artists who play without drums
    drums: float = 0. # level of the drums, dB
    level: float = -16. # loudness of a song, dB RMS below full scale
    tilt: float = 0. # how the recording is coloured, dB an octave
    room: float = .3 # seconds that the room rings
    swell: float = 0. # dB of slow dynamics
    crackle: float = 0. # scratches of an old record


STYLES = {}
STYLES['blues'] = Style(
    (66, 128), {'major': ('I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7', 'I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7'),
                'minor': ('i7 i7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7',)},
    (Part('bass', ('upright bass', 'electric bass'),
          ('1 1 3 3 5 5 6 6 | b7 b7 6 6 5 5 3 3', '1 - 3 - 5 - 6 -', '1 - - 1 5 - 6 5', 'walk'), 28, 0),
     Part('chords', ('acoustic guitar', 'clean guitar', 'overdriven guitar'),
          ('1+5 1+5 1+6 1+6 1+5 1+5 1+6 1+6', '1+5 1+5 1+6 1+6 1+b7 1+b7 1+6 1+6', '. . c - . . c .'), 40, -4),
     Part('keys', ('piano', 'organ'), ('. c . c . c . c', 'c - - c . . c .', 'c c c c c c c c'), 55, -9, .6, chance=.5),
     Part('voice', ('rough voice', 'soul voice'), (), 55, -1, .9, 'v', .8, (.8, 2, 1.)),
     Part('solo', ('blues guitar', 'harmonica', 'blues guitar'), (), 64, -1, .9, 'ics', 1., (1.5, 2, 1.5))),
    ({'kick': 'x...x...', 'snare': '..x...x.', 'hat': 'xoxoxoxo'}, {'kick': 'x..xx..x', 'snare': '..X...X.', 'ride': 'xoxoxoxo'},
     {'kick': 'x.....x..x..', 'snare': '...x.....x..', 'hat': 'xooxooxooxoo'}, {'kick': 'xxxx', 'brush': '..x...x.'}),
    scale='blues', swing=.66, drumless=.25, drums=-3, level=-18, tilt=-1., room=.35, swell=2, crackle=.2)
STYLES['classical'] = Style(
    (60, 136), {'major': ('I V I IV I IV V I', 'I vi IV V I ii V I', 'I IV V7 I vi ii V7 I', 'I V vi iii IV I IV V'),
                'minor': ('i iv V i bVI iv V i', 'i V i iv i iv V i', 'i bVII bIII bVI iv i V V')},
    (Part('left hand', ('piano', 'piano', 'strings', 'cello'),
          ('1 5 3 5 1 5 3 5', '1 3 5 8 5 3 5 3', 'c - - - c - - -', '1 5 10 5 8 5 10 5', '1 . c . c . c .'), 48, -5, .95),
     Part('middle', ('strings', 'clarinet'), ('c - - - - - - -', 'c - - - c - - -'), 55, -9, 1., chance=.5),
     Part('bass', ('cello',), ('1 - - - - - - -', '1 - - - 5 - - -'), 36, -6, 1., chance=.6),
     Part('melody', ('piano', 'violin', 'flute', 'violin', 'clarinet'), (), 69, 0, .98, sing=(1.4, 2, 1.1)),
     Part('answer', ('flute', 'violin', 'piano'), (), 74, -3, .95, 'cs', .6, (2.2, 4, .9))),
    drumless=1., level=-27, tilt=-2.1, room=1.3, swell=7)
STYLES['country'] = Style(
    (92, 138), {'major': ('I I IV I I I V V', 'I IV I V I IV V I', 'I V IV I I V IV V', 'I I IV IV V V I I', 'vi IV I V IV I V V')},
    (Part('bass', ('upright bass', 'electric bass'), ('1 - 5 -', '1 - 5 - | 1 - 5 6', '1 . 5 .'), 28, 0, .8),
     Part('strum', ('acoustic guitar',), ('. . c . . . c c', '. . c c . . c c', 'c . c c . c c c'), 52, -3, .9),
     Part('roll', ('banjo', 'clean guitar'),
          ('5 3 8 5 10 8 5 3', '3 5 8 10 3 5 10 8', '1 3 5 8 3 5 8 3 1 3 5 8 3 5 8 5'), 52, -4, .9, chance=.7),
     Part('steel', ('steel guitar', 'fiddle'), ('c - - - - - - -', '3+8 - - - 5+10 - - -'), 60, -8, 1., chance=.6),
     Part('voice', ('voice',), (), 59, 2, .9, 'vc', 1., (1.1, 2, 1.)),
     Part('solo', ('fiddle', 'steel guitar', 'clean guitar', 'banjo'), (), 69, 0, .9, 'is', 1., (2., 2, 1.1))),
    ({'kick': 'x.......x.......', 'snare': 'ooxoXoxoooxoXoxo'}, {'kick': 'x.......x.......', 'brush': 'ooxoxoxoooxoxoxo', 'rim': '....x.......x...'},
     {'kick': 'x.....x.x.......', 'snare': '....X.......X...', 'hat': 'x.x.x.x.x.x.x.x.'}),
    scale='major pentatonic', drumless=.15, drums=-4, level=-14.5, tilt=.7, room=.25)
STYLES['disco'] = Style(
    (110, 130), {'minor': ('i7 i7 iv7 iv7', 'i bVII bVI V', 'i7 IV7 i7 IV7', 'i bVI bVII i'),
                 'major': ('ii7 V7 Imaj7 vi7', 'I vi ii V', 'Imaj7 iii7 IVmaj7 V')},
    (Part('bass', ('electric bass', 'synth bass', 'picked bass'),
          ('1 8 1 8 1 8 1 8', '1 . 8 . 1 8 . 8 1 . 8 . 5 . b7 8', '1 1 8 1 1 8 1 8 | 1 1 8 1 5 5 b7 8'), 28, 1, .7),
     Part('guitar', ('clean guitar',), ('. . c c . c . . . . c c . c . c', 'c . c c . c c . c . c c . c c .'), 60, -6, .4),
     Part('strings', ('strings', 'string stabs'), ('c - - - - - - -', '8 - - - - - 10 - | 9 - - - 8 - - -'), 67, -5, 1., 'cs'),
     Part('stabs', ('brass', 'string stabs', 'electric piano'), ('. . . c . . c .', 'c . . c . . c . | . . c . c . . .'), 60, -4, .5, 'ivc', .8),
     Part('voice', ('soul voice', 'voice'), (), 64, 1, .9, 'vc', 1., (1.3, 4, 1.2)),
     Part('solo', ('string stabs', 'synth lead', 'brass'), (), 72, -2, .9, 'is', 1., (1.8, 4, 1.4))),
    ({'kick': 'x...x...x...x...', 'clap': '....x.......x...', 'open': '..x...x...x...x.', 'hat': 'xo.oxo.oxo.oxo.o'},
     {'kick': 'x...x...x...x...', 'snare': '....X.......X..o', 'open': '..x...x...x...x.', 'tambourine': 'x.xxx.xxx.xxx.xx'},
     {'kick': 'x...x...x...x...', 'snare': '....x.......x...', 'open': '..x...x...x...x.', 'hat': 'x...x...x...x...', 'cowbell': 'x.....x...x.....'}),
    fills=True, drums=1, level=-16, tilt=1.2, room=.35)
STYLES['hiphop'] = Style(
    (82, 104), {'minor': ('i7 iv7', 'i7 bVI', 'i bVII bVI V', 'i i i bVI'), 'dorian': ('i7 IV7', 'i7 i7 IV7 IV7')},
    (Part('bass', ('sub bass', 'sub bass', 'electric bass'),
          ('1 - - . . . 1 . . . 1 - . . 5 .', '1 - - - . . . . . 1 . 1 - - . .', '1 - . 1 . . . . 8 . . 1 - . b7 .'), 28, 3, .95),
     Part('loop', ('electric piano', 'vibraphone', 'strings', 'piano', 'clean guitar'),
          ('c - - . . c - . . . c - - . . .', '8 . 5 . 3 . 5 . 1 . 5 . 3 . 5 .',
           'c - - - - - - - . . . . 8 . 5 .', '8 - - 10 - - 9 - - - 8 - 5 - - -'), 57, -3, .9),
     Part('rap', ('rap',), (), 47, 2, .8, 'v', 1., (2.8, 4, .35)),
     Part('hook', ('soul voice', 'rap', 'choir pad'), (), 57, 0, .9, 'c', 1., (1.5, 4, .8)),
     Part('stab', ('synth lead', 'brass', 'string stabs'),
          ('. . . . . . . . 8 . . 8 . . . .', '8 . . . . . . . . . . . . . . . | . . . . . . 8 . . . . . . . . .'), 60, -7, .5, 'ics', .6)),
    ({'kick': 'x..x..x...x.....', 'snare': '....X.......X...', 'hat': 'x.x.x.x.x.x.x.x.'},
     {'kick': 'x.x....x..xx....', 'snare': '....X..o.o..X...', 'hat': 'xoxoxoxoxoxoxoxo'},
     {'sub kick': 'x.....x...x..x..', 'clap': '....X.......X...', 'hat': 'x.xxx.x.x.xxx.xo'},
     {'sub kick': 'x..x......x.....', 'snare': '....X.......X..o', 'shaker': 'xoxoxoxoxoxoxoxo', 'open': '..............x.'}),
    scale='minor pentatonic', swing=.58, drums=3, level=-14.5, tilt=-.8, room=.15, crackle=.8)
STYLES['jazz'] = Style(
    (104, 210), {'major': ('ii7 V7 Imaj7 vi7', 'ii7 V7 Imaj7 Imaj7 ii7 V7 Imaj7 VI7', 'Imaj7 vi7 ii7 V7 iii7 VI7 ii7 V7'),
                 'minor': ('ii7b5 V7 i7 i7', 'i7 iv7 ii7b5 V7', 'i7 i7 iv7 iv7 ii7b5 V7 i7 V7')},
    (Part('bass', ('upright bass',), ('walk',), 28, 1, .95),
     Part('chords', ('piano', 'piano', 'clean guitar', 'vibraphone'),
          ('c - . c . . . . | . . . c - . . .', '. . . c . . c .', 'c . . c . . . . | . c . . . . c -', 'c . c . c . c .'), 55, -7, .8),
     Part('theme', ('saxophone', 'trumpet', 'clarinet', 'piano'), (), 62, 0, .95, 'vc', 1., (1.2, 2, 1.3)),
     Part('solo', ('saxophone', 'trumpet', 'vibraphone', 'piano', 'clarinet'), (), 64, 0, .9, 'is', 1., (1.8, 2, 1.5))),
    ({'ride': 'x.xox.xo', 'pedal': '..x...x.', 'kick': 'o...o...'}, {'ride': 'x.xox.xo', 'pedal': '..x...x.', 'snare': '...o...o'},
     {'brush': 'xoxoxoxo', 'pedal': '..x...x.'}),
    swing=.65, drumless=.2, drums=-8, level=-22, tilt=-1.8, room=.5, swell=4, crackle=.1)
STYLES['metal'] = Style(
    (110, 190), {'minor': ('i i bVI bVII', 'i bVI bIII bVII', 'i i i bVI'), 'phrygian': ('i bII i bVI', 'i i bII bIII')},
    (Part('bass', ('picked bass',), ('1 1 1 1 1 1 1 1', '1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1'), 28, -2),
     Part('chug', ('muted guitar',),
          ('1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1', '1+5 . 1+5 1+5 . 1+5 1+5 . 1+5 . 1+5 1+5 . 1+5 1+5 1+5',
           '1+5 1+5 1+5 . 1+5 1+5 1+5 . 1+5 1+5 1+5 . 1+5 . b2 .'), 40, 3, .8, 'ivs'),
     Part('power', ('distorted guitar',), ('p - - - - - - -', 'p - - p - - p -', 'p p p p p p p p', '1+5+8 - - - b3+b7 - 1+5 -'), 40, 2, 1., 'cis'),
     Part('voice', ('growl', 'growl', 'rough voice'), (), 50, 0, .9, 'vc', 1., (1.2, 2, .6)),
     Part('solo', ('lead guitar',), (), 71, 1, .9, 's', 1., (3., 4, 1.3))),
    ({'kick': 'xxxxxxxxxxxxxxxx', 'snare': '....X.......X...', 'hat': 'x...x...x...x...'},
     {'kick': 'x.xxx.xxx.xxx.xx', 'snare': '....X.......X...', 'ride': 'x.x.x.x.x.x.x.x.'},
     {'kick': 'x...x...x...x...', 'snare': '..X...X...X...X.', 'hat': 'x.x.x.x.x.x.x.x.'},
     {'kick': 'x..x..x.x..x..x.', 'snare': '........X.......', 'crash': 'x...x...x...x...'}),
    fills=True, drums=0, level=-17, tilt=.7, room=.25)
STYLES['pop'] = Style(
    (92, 130), {'major': ('I V vi IV', 'vi IV I V', 'I vi IV V', 'IV I V vi', 'I IV vi V')},
    (Part('bass', ('synth bass', 'electric bass'), ('1 1 1 1 1 1 1 1', '1 - - 1 - - 1 -', '1 . . 1 . . 1 . 1 . . . 5 . 1 .'), 28, 0, .9),
     Part('pad', ('synth pad', 'choir pad', 'strings'), ('c - - - - - - -',), 55, -7, 1.),
     Part('keys', ('piano', 'acoustic guitar', 'electric piano', 'synth lead'),
          ('c . . c . . c .', '8 5 3 5 8 5 3 5', 'c - c - c - c c', '8 . 5 8 . 5 10 . 8 . 5 8 . 5 10 .'), 60, -5, .8),
     Part('voice', ('voice', 'soul voice'), (), 64, 3, .95, 'vc', 1., (1.4, 2, 1.)),
     Part('hook', ('synth lead', 'brass', 'string stabs'), (), 74, -2, .8, 'ics', .9, (1.6, 2, 1.1))),
    ({'kick': 'x.......x.x.....', 'clap': '....x.......x...', 'hat': 'x.x.x.x.x.x.x.x.'},
     {'kick': 'x...x...x...x...', 'clap': '....X.......X...', 'shaker': 'xoxoxoxoxoxoxoxo'},
     {'kick': 'x.....x...x.....', 'snare': '....X.......X...', 'hat': 'xoxoxoxoxoxoxoxo', 'tambourine': '....x.......x...'}),
    fills=True, drums=1, level=-14, tilt=1.3, room=.4, swell=2)
STYLES['reggae'] = Style(
    (66, 88), {'major': ('I IV I IV', 'I V vi IV', 'I ii IV I'), 'minor': ('i iv i iv', 'i bVII i bVII', 'i iv bVII i'), 'dorian': ('i IV i IV',)},
    (Part('bass', ('electric bass', 'sub bass'),
          ('. . 1 1 3 - 5 - | 1 - . 5 - 6 5 -', '1 - . 1 . 3 5 - | . . 8 - 5 - 3 -', '1 - 1 . 5 - . 3 | 1 - - . . . 5 3', '1 . . 1 5 . . 5'), 28, 4, .9),
     Part('skank', ('clean guitar', 'piano', 'organ'), ('. c . c . c . c', '. . c . . . c . . . c . . . c c'), 57, -2, .35),
     Part('bubble', ('organ',), ('. . c c . . c . . . c c . . c .', '. c c . . c c . . c c . . c c .'), 52, -8, .5, chance=.7),
     Part('voice', ('voice', 'soul voice'), (), 59, 1, .95, 'vc', 1., (1.5, 4, 1.3)),
     Part('solo', ('harmonica', 'trumpet', 'brass', 'clean guitar', 'organ'), (), 67, -2, .9, 'is', 1., (1.1, 2, 1.2))),
    ({'kick': '....x.......x...', 'rim': '....X.......X...', 'hat': 'x.x.x.x.x.x.x.x.'},
     {'kick': 'x...x...x...x...', 'rim': '....X.......X...', 'hat': 'x.xxx.x.x.xxx.x.'},
     {'kick': '....x.......x...', 'snare': '....X......oX...', 'hat': 'x.oxx.oxx.oxx.ox', 'rim': '...x..x.........'}),
    fills=True, swing=.56, drums=-1, level=-20, tilt=-1., room=.5, crackle=.1)
STYLES['rock'] = Style(
    (100, 150), {'major': ('I bVII IV I', 'I IV V IV', 'I I IV V', 'I V IV IV'), 'minor': ('i bVI bVII i', 'i bVII bVI bVII', 'i bIII bVII iv')},
    (Part('bass', ('picked bass', 'electric bass'), ('1 1 1 1 1 1 1 1', '1 - - 1 1 - 5 b7', '1 . 1 1 . 1 1 .'), 28, 0, .9),
     Part('rhythm', ('overdriven guitar', 'overdriven guitar', 'acoustic guitar'),
          ('p p p p p p p p', 'p - . p - p p -', 'p - - p - - p - | p - p - 1+6 - p -', '1+5 1+5 1+6 1+5 1+5 1+5 1+6 1+5'), 40, 1, .9),
     Part('riff', ('overdriven guitar', 'clean guitar'),
          ('1 . 1 b3 . 4 . 1 | 1 . b7 . 8 b7 5 .', '8 5 10 5 9 5 8 5', '1 . . 8 b7 . 5 4'), 52, -3, .9, 'ic', .7),
     Part('organ', ('organ', 'piano'), ('c - - - - - - -', 'c c c c c c c c'), 57, -9, 1., chance=.35),
     Part('voice', ('rough voice', 'voice'), (), 61, 1, .9, 'vc', 1., (1.2, 2, 1.)),
     Part('solo', ('lead guitar', 'overdriven guitar'), (), 68, 1, .9, 's', 1., (2., 4, 1.3))),
    ({'kick': 'x.....x.x.x.....', 'snare': '....X.......X...', 'hat': 'x.x.x.x.x.x.x.x.'},
     {'kick': 'x.......x.......', 'snare': '....X.......X...', 'ride': 'x.x.x.x.x.x.x.x.'},
     {'kick': 'x..x..x...x.....', 'snare': '....X..o....X...', 'open': 'x...x...x...x...'},
     {'kick': 'x.x...x.x.x...x.', 'snare': '....X.......X...', 'hat': 'x.x.x.x.x.x.x.x.', 'cowbell': 'x...x...x...x...'}),
    scale='minor pentatonic', fills=True, drums=1, level=-15.5, tilt=-.8, room=.35, swell=2.5)
