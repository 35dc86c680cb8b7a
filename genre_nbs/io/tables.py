"Tables and arrays that somebody else made: gaps, spellings, and bytes that are no table."

import re
import unicodedata
import warnings

import numpy as np
import pandas as pd

BAD_COLUMNS = ["path", "reason"]
NAMES = ("path", "genre", "track", "artist", "split", "group", "label", "filename")  # columns of text: "None" in them is a word and no gap
BLANKS = ["", "nan", "NaN", "NA", "N/A", "null", "NULL", "None", "<NA>"]  # no number, in columns of numbers
GAPS = {"", "nan", "none", "na", "n/a", "<na>", "null", "nat", "-", "?"}  # what stands where nobody knows


class DataError(ValueError):
    "Data that cannot be used as a whole: nothing there, one genre only, columns missing."


def check_two_genres(
    examples,  # `Examples` to train on
):  # the same
    "The examples, if they hold two genres at least. Raises `DataError` otherwise."
    present = np.unique(examples.y)
    if len(present) < 2:
        raise DataError(f"at least two genres are needed to train, found only {', '.join(examples.genres[label] for label in present)}")
    return examples


def read_csv(
    path,  # a CSV file in UTF-8
) -> pd.DataFrame:
    "A table whose columns of names stay text, and are found however their names are spelled. Raises `DataError` when it cannot be read."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are longer than the header: their cells would change columns
            spelled = {name: column_name(name) for name in pd.read_csv(path, nrows=0, index_col=False)}
            numbers = {name: BLANKS for name, known in spelled.items() if known not in NAMES}
            texts = {name: str for name in spelled if name not in numbers}
            table = pd.read_csv(path, dtype=texts, na_values=numbers, keep_default_na=False, index_col=False)
    except UnicodeError as error:
        raise DataError(f"{path}: is not UTF-8; save the table as CSV in UTF-8") from error
    except pd.errors.ParserWarning as error:
        raise DataError(f"{path}: its rows have more cells than its first line has names of columns") from error
    except (ValueError, OSError, OverflowError) as error:
        raise DataError(f"{path}: cannot be read as a table ({str(error).splitlines()[0] if str(error) else type(error).__name__})") from error
    table = table.rename(columns=spelled)
    if twice := [name for name in NAMES if list(table).count(name) > 1]:
        raise DataError(f"{path}: has two columns called {twice[0]}")
    return table.assign(**{name: table[name].str.strip() for name in NAMES[1:] if name in table})


def column_name(
    name: str,  # as pandas gives it, which numbers a second column of the same name: `genre.1`
) -> str:  # the one of `NAMES` that it spells in other case or with blanks around; another name without the blanks
    "The name of a column."
    known = re.sub(r"\.\d+$", "", name).strip().casefold()
    return known if known in NAMES else name.strip()


def filled_rows(
    table: pd.DataFrame,  # with a column path
) -> pd.DataFrame:  # with the row numbers of before
    "A table without the rows that hold nothing, as spreadsheets leave them at the end."
    blank = np.array(table.path.str.strip() == "")
    blank[blank] = [is_gap(cells).all() for cells in table[blank].to_numpy(dtype=object)]
    return table[~blank]


def plain_name(
    path,  # a path within a collection, as the system gives it
) -> str:  # with / between its parts; bytes that are no UTF-8, and returns, written out as `\\udcff` and `\\r`
    "A name that tables and arrays can hold."
    return path.as_posix().replace("\r", "\\r").encode("utf-8", "backslashreplace").decode()


def listed_names(
    listed: pd.Series,  # the column track of a manifest
    names: list,  # names made of the paths
) -> list:  # the names that count
    "The tracks that a manifest names. Gaps are filled by the path; numbers that begin anew with each album are no names."
    gap = is_gap(listed)
    numbers = listed[~gap].str.fullmatch(r"\d+([/.-]\d+)*").all() and listed[~gap].duplicated().any()
    return [name if missing or numbers else given for given, name, missing in zip(listed, names, gap, strict=True)]


def read_array(path):
    "An array of a `.npy` file, never unpickled. Raises `DataError` when it cannot be read."
    try:
        with open(path, "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
        return checked_text(array) if array.dtype.kind in "US" else array
    except Exception as error:  # a damaged header makes numpy raise errors of many kinds, MemoryError too
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as a plain array ({said})") from error


def checked_text(array):
    "Text whose letters all exist. Raises `ValueError` for code points beyond Unicode, halves of pairs, and bytes that are no UTF-8."
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8")
    letters = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if ((letters > 0x10FFFF) | (letters >= 0xD800) & (letters <= 0xDFFF)).any():
        raise ValueError("it holds letters that do not exist")
    return array


def is_gap(
    values,  # (n,) of anything
) -> np.ndarray:  # (n,) bool
    "Which cells hold no name: blank, `None`, `NA` and their like."
    return np.array([value is None or value is pd.NA or str(value).strip().casefold() in GAPS for value in values], dtype=bool)


def label_names(
    labels,  # (n,) names, or whole numbers
) -> np.ndarray:  # (n,) text; -1 and 1 stay two names when signs are taken out of them
    "Labels as names of genres."
    return np.array([re.sub(r"^\s*-(?=\d)", "minus ", str(label)) for label in labels], dtype=str)


SUBSETS = {
    "train": ("train", "training", "trainset", "tr", "trn", "learn", "learning", "fit"),
    "valid": ("valid", "validation", "validate", "validating", "val", "vali", "vld", "dev", "devel", "development", "cv", "tune", "tuning"),
    "test": ("test", "testing", "testset", "tst", "te", "eval", "evaluation", "evaluate", "heldout", "holdout"),
}
SUBSET_OF = {spelling: name for name, spellings in SUBSETS.items() for spelling in spellings}


def subset_name(
    spelled,  # such as 'Training', 'val', 'dev' or 'test_set'
) -> str:  # 'train', 'valid' or 'test'; another word as it is, '' for a gap
    "The one name of a subset of a split, for all its spellings."
    text = str(spelled).strip()
    letters = re.sub(r"[\W_\d]+", "", text.casefold())
    return SUBSET_OF.get(letters, SUBSET_OF.get(letters.removesuffix("set").removesuffix("data"), "" if is_gap([text])[0] else text))


SPLIT_COLUMNS = ("set", "subset", "partition", "fold")  # what a column split is called elsewhere


def with_split(
    table: pd.DataFrame,  # tracks
) -> tuple:  # the same, and a list of notes
    "Tracks whose split is in a column of another name, where all its words are those of subsets."
    others = [name for name in table if str(name).strip().casefold() in SPLIT_COLUMNS and "split" not in table]
    for name in others:
        words = {subset_name(word) for word in table[name]}
        if "train" in words and words - {""} <= set(SUBSETS):
            return table.rename(columns={name: "split"}), [f"the column {name} names training and other songs, so it is the data's own split"]
    return table, []


def artist_key(name: str) -> str:
    "What two spellings of one artist have in common: `Earth, Wind & Fire` and `Earth Wind and Fire`."
    name = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\W_]+", "", re.sub(r"^the\s+|&|\band\b", "", name)) or name.strip()


def one_spelling(
    names,  # (n,) artists
) -> list:  # the same, each as it is spelled first
    "Artists whose spellings differ in case, punctuation or a leading 'The' alone count as one."
    first = {}
    return [first.setdefault(artist_key(str(name)), str(name).strip()) for name in names]


def fill_names(
    table: pd.DataFrame,  # tracks, with a column track
) -> tuple:  # the same with gaps filled in artist, split and group; and a list of notes that say so where it matters
    "A track without artist counts as an artist of its own, since it might be anybody's. Columns of gaps alone are dropped."
    table, notes = with_split(table)
    table = table.copy()
    if is_gap(table.track).any():
        table["track"] = np.where(is_gap(table.track), table.path.astype(str), table.track)
    for column in ("artist", "split", "group"):
        if column not in table:
            continue
        gap = is_gap(table[column])
        if gap.all():
            table = table.drop(columns=column)
        elif column == "split":
            table["split"] = [subset_name(name) for name in table.split]
        elif column == "group":
            table["group"] = np.where(gap, table.track, table.group.astype(str).str.strip())
        else:
            table["artist"] = np.where(gap, [f"unknown ({track})" for track in table.track], one_spelling(table.artist))
            if gap.any():
                nameless, all_tracks = table.track[gap].nunique(), table.track.nunique()
                notes.append(f"{nameless} of {all_tracks} tracks name no artist: each counts as an artist of its own")
    return table, notes
