"All recipes by name: what `genre-nbs train --recipe` and the notebooks choose from."

from genre_nbs.mlp import MLP, MLP_COURSE

RECIPES = {recipe.name: recipe for recipe in (MLP, MLP_COURSE)}


def find_recipe(name):
    "The recipe called `name`. Raises `ValueError`, which lists them all, when there is none."
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
