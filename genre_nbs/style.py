"One style for all figures of the course: as wide as the page, readable at arm's length, in colours that survive printing."

STYLE = {
    "figure.figsize": (9.5, 4.0),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "image.cmap": "magma",
    "lines.linewidth": 1.8,
}


def use_style(
    picture_format: str = "png",  # of figures in a notebook: "png" or "svg" for lines, "jpeg" for spectrograms
):
    """Set the style of this notebook's figures, and let it pass over marked cells that cannot run here (`marks`).

    Outside a notebook only the style is set.
    """
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if (shell := get_ipython()) is not None:
        from genre_nbs.marks import respect_marks

        respect_marks(shell)
        set_matplotlib_formats(picture_format, **({"pil_kwargs": {"quality": 85}} if picture_format == "jpeg" else {}))
