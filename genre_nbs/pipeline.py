"From a collection on disk to a trained and judged classifier: what the command line and the demo carry out."

from dataclasses import dataclass

from genre_nbs.classifier import GenreClassifier, train_classifier
from genre_nbs.datasets import DataError, Examples, load_examples
from genre_nbs.evaluation import Evaluation, evaluate
from genre_nbs.splitting import split_examples
from genre_nbs.training import History


@dataclass
class Trained:
    "What came of a training: the classifier, and everything needed to report on it."

    classifier: GenreClassifier
    history: History
    train: Examples
    valid: Examples
    evaluations: dict  # 'example' and 'track' -> Evaluation on the validation side


def check_two_genres(examples):
    "The examples, if they hold two genres at least. Raises `DataError` otherwise."
    present = {examples.genres[label] for label in set(examples.y.tolist())}
    if len(present) < 2:
        raise DataError(f"at least two genres are needed to train, found only {', '.join(present)}")
    return examples


def train_on(data, recipe, valid=None, split=None, valid_size=0.3, seed=0, jobs=1, progress=False, **changes):
    """Read `data`, train `recipe` on it and judge the result on the validation side.

    `valid` is a collection of its own; without it a part of `data` is kept apart by `split`, which is by artist where
    the artists are known and by track otherwise. Raises `DataError`, `SplitError` or `LeakError` for data that does not serve.
    """
    examples = check_two_genres(load_examples(data, recipe.representation, jobs=jobs, progress=progress))
    if valid is None:
        train, valid = split_examples(examples, split or default_split(examples), valid_size, seed)
    else:
        train, valid = examples, load_examples(valid, recipe.representation, examples.genres, jobs, progress)
    classifier, history = train_classifier(recipe, train, valid, seed=seed, progress=progress, **changes)
    return Trained(classifier, history, train, valid, judge(classifier, valid))


def default_split(examples):
    "By artist where the artists are known and every genre has two, else by track."
    if examples.artist is None:
        return "track"
    artists = {genre: set(examples.artist[examples.y == label]) for label, genre in enumerate(examples.genres)}
    return "artist" if all(len(names) > 1 for names in artists.values()) else "track"


def judge(classifier, examples, by=("example", "track")) -> dict[str, Evaluation]:
    "Scores of a classifier on examples, by example and by track."
    proba = classifier.predict_proba_examples(examples.x)
    return {way: evaluate(proba, examples.y, examples.genres, examples.track, by=way) for way in by}
