"Model files of every kind: what is in one decides which class reads it."

from genre_nbs.io.model_files import read_header


def load_model(path):
    "The classifier in a model file, a `GenreClassifier` or a `SongClassifier`. Raises `ModelError` when the file is none."
    if read_header(path).get("kind") == "songs":
        from genre_nbs.song_features import SongClassifier

        return SongClassifier.load(path)
    from genre_nbs.classifier import GenreClassifier

    return GenreClassifier.load(path)


def proba_and_note(classifier, song):
    "Probabilities for a song file, and a sentence about it where the classifier has one, such as that it holds no high frequencies."
    if hasattr(classifier, "predict_with_note"):
        return classifier.predict_with_note(song)
    return classifier.predict_proba(song), ""
