"Model files of every kind: what is in one decides which class reads it."

from genre_nbs.songs import load_model

__all__ = ["load_model"]
