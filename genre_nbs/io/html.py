"HTML for notebooks and reports: everything escaped, pictures and figures inside the page."

import base64
import io

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


class Html(Markup):
    "HTML that a notebook shows, and that a report takes as it is."

    def _repr_html_(self):
        return str(self)

    def __repr__(self):
        return f"<{type(self).__name__} of {len(self):,} characters>"


def environment():
    "Templates that escape everything, and refuse names that are missing."
    env = Environment(loader=PackageLoader("genre_nbs"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters["cell"] = cell
    return env


def cell(value):
    "One value of a table as text: fractions and probabilities get three digits, a missing value a dash."
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.3f}"
    return "–" if value is None else value


def data_uri(data: bytes, mime: str) -> str:
    "Bytes as an address that holds them."
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def figure_uri(figure) -> str:
    "A matplotlib figure (or one of its Axes) as an SVG data address; the same figure gives the same bytes."
    from matplotlib import rc_context

    figure = getattr(figure, "figure", figure)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "genre_nbs", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", facecolor="white", metadata={"Date": None})
    return data_uri(buffer.getvalue(), "image/svg+xml")


def picture_uri(pixels, height: int = 72) -> str:
    "Pixels, (h, w) or (h, w, 3) uint8, as a small PNG data address; pictures higher than `height` are scaled down."
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))
    if image.height > height:
        image = image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def read_or_dash(make, name):
    "What `make(name)` gives, or a dash with the reason where the song cannot be read."
    try:
        return make(name)
    except (OSError, ValueError) as error:
        return Html(Markup('<span title="{}">–</span>').format(error))


def mistakes_html(mistakes, player=None, picture=None, title=str) -> Html:
    """The table of `worst_mistakes` as HTML, each row with something to hear and to see.

    `player(name)` returns an object with `_repr_html_` (as `genre_nbs.audio.play`), `picture(name)` returns pixels (uint8),
    `title(genre)` the name of a genre for people.
    All names are escaped. A song that cannot be read (`OSError`, `ValueError`) gets a dash with the reason.
    """
    rows = []
    for row in mistakes.to_dict("records"):
        row |= dict(true=title(row["true"]), predicted=title(row["predicted"]), sound=None, pixels=None)
        if player is not None:
            row["sound"] = Markup(read_or_dash(player, row["name"])._repr_html_())
        if picture is not None:
            pixels = read_or_dash(picture, row["name"])
            row["pixels"] = pixels if isinstance(pixels, Html) else Markup('<img src="{}" alt="spectrogram">').format(picture_uri(pixels))
        rows.append(row)
    page = environment().get_template("mistakes.html")
    return Html(page.render(rows=rows, sound=player is not None, picture=picture is not None).strip())
