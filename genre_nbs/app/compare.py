"Both comparisons of optimizers, written into a folder as tables and pictures."

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from genre_nbs.comparison import final_runs, lr_trials, SCORES, Study, untuned_runs
from genre_nbs.io.files import atomic_path
from genre_nbs.optimizers import plot_lr_curves, plot_ranking, plot_training_curves, score_table, tuned_table, untuned_table

def save_picture(
    axes, # one of its Axes
    path: str | Path, # PNG file
):
    "Writes the figure, whole or not at all, and closes it."
    try:
        with atomic_path(path) as part: axes.figure.savefig(part, dpi=110)
    finally: plt.close(axes.figure)


def save_table(
    table: pd.DataFrame, # a row for each candidate
    path: str | Path, # CSV file
) -> list: # the rows as dicts that JSON can hold
    "Writes a table, whole or not at all."
    with atomic_path(path) as part: table.round(6).to_csv(part, index_label="candidate", lineterminator="\n")
    return json.loads(table.rename_axis("candidate").reset_index().to_json(orient="records"))


def compare(
    study: Study, # what to compare
    out: str | Path, # folder for course.csv, fair.csv and four pictures
) -> dict: # 'course' and 'fair' (lists of rows), 'files', and 'text' for people
    "Both comparisons. Raises `ValueError` where another process is at work on the study's table, or that file holds something else."
    out, by, label = Path(out), study.plan.by, f"validation {SCORES[study.plan.by]}"
    rows = untuned_runs(study)
    course = untuned_table(rows, by)
    result = {"course": save_table(course, out / "course.csv")}
    save_picture(plot_ranking(score_table(rows, by), f"Learning rate {study.plan.lr:g} for all", label), out / "course.png")
    trials = lr_trials(study)
    finals = final_runs(study, trials)
    fair = tuned_table(trials, finals, by)
    result["fair"] = save_table(fair, out / "fair.csv")
    save_picture(plot_ranking(score_table(finals, by), "Each with the learning rate that was best for it", label), out / "ranking.png")
    save_picture(plot_lr_curves(trials, by)[0, 0], out / "lr_curves.png")
    save_picture(plot_training_curves(finals)[0, 0], out / "training_curves.png")
    names = ("course.csv", "fair.csv", "course.png", "ranking.png", "lr_curves.png", "training_curves.png")
    shown = [table.round(3).astype(object).fillna("").to_string() for table in (course, fair)]
    return result | {"files": [str(study.table), *(str(out / name) for name in names)],
                     "text": f"Learning rate {study.plan.lr:g} for all\n{shown[0]}\n\nEach with its own\n{shown[1]}\n\nWritten: {out}"}
