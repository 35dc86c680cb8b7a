"Songs in ten genres, composed by rule and played by numpy: real enough to practise on, free to share, and true about themselves."

from genre_nbs.practice.artists import RESERVED_ARTISTS
from genre_nbs.practice.corpus import practice_corpus, write_corpus
from genre_nbs.practice.songs import practice_song

__all__ = ["RESERVED_ARTISTS", "practice_corpus", "practice_song", "write_corpus"]
