"All recipes by name: what `genre-nbs train --recipe` and the notebooks choose from."

from genre_nbs.mel_cnn import MEL, MEL_BEST
from genre_nbs.mlp import MLP, MLP_ATHENS
from genre_nbs.picture_cnn import PICTURE_BEST, PICTURE_FINAL, PICTURE_FIRST
from genre_nbs.song_features import BEST, SONG_BEST

RECIPES = {recipe.name: recipe for recipe in (MLP, MLP_ATHENS, PICTURE_FIRST, PICTURE_FINAL, PICTURE_BEST, MEL, MEL_BEST, SONG_BEST, BEST)}


def find_recipe(name):
    "The recipe called `name`. Raises `ValueError`, which lists them all, when there is none."
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
