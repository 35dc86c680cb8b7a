"""The own-song page: a notebook of the course, shown by Voila on this computer alone.

Songs come in by ipywidgets' `FileUpload`, one at a time, through the websocket of the page, whose limit of 10 MB is raised
(voila-dashboards/voila#807). What is shown of a song is HTML from the template `song.html`, in which every text is escaped.
"""

import json
import logging
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from genre_nbs.app.course import course_folder
from genre_nbs.genres import genre_colors, genre_title
from genre_nbs.io.decode import AudioError
from genre_nbs.io.html import data_uri, environment

HOST, PORT = "127.0.0.1", 8866
MOST_BYTES = 200 * 10**6  # of one song
MORE_BYTES = 10**6  # of a message, for what stands around the song
PLAYED_SECONDS = 1800.0  # of a longer song, the player holds the beginning
IDLE_SECONDS = 3600  # after which the Python process of a page that nobody looks at is ended
MODEL = "GENRE_NBS_MODEL"  # environment variable that names the model file to the notebook
CLOSEST = 5  # training songs that are named
SEEN = 0.1  # the legend names genres that reach this probability somewhere
POINTS = 600  # of the waveform, more than a phone has pixels
POLICY = (  # what the page may load: itself, and nothing from elsewhere, so no song and no name leaves this computer
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: data: blob:; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)


# --- the server


def free_port(port=None):
    "A port of this computer on which nobody listens: `port`, or the first one from 8866. Raises `ValueError` where there is none."
    for number in [port] if port else range(PORT, PORT + 50):
        with socket.socket() as probe:
            if os.name == "posix":  # a page that was just stopped does not keep its port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, number))
            except OSError:
                continue
        return number
    raise ValueError(f"port {port} is in use, or may not be used; choose another one with --port" if port else "no free port was found")


def serve(model=None, port=None, open_browser=True, ready=print):
    """Show the page until it is stopped, on this computer alone; `ready(address)` is called when it can be opened.

    Raises `ValueError` where Voila or ipywidgets is not installed, the port is in use, or the file is no model.
    """
    try:
        import ipywidgets  # noqa: F401 - the notebook needs it
        from tornado.ioloop import IOLoop
        from voila.app import Voila
    except ImportError as error:
        raise ValueError(f"the page needs {error.name or 'Voila'}, which is not installed: pip install 'genre_nbs[app]'") from error
    if model is not None:
        from genre_nbs.songs import load_model

        load_model(model)  # a file that is none is said here and not in the page
        os.environ[MODEL] = str(Path(model).resolve())
    voila = Voila(ip=HOST, port=free_port(port), port_retries=0, open_browser=open_browser, log_level=logging.ERROR, **server_settings())
    voila.initialize([str(course_folder() / "app.ipynb")])
    IOLoop.current().add_callback(lambda: ready(f"http://{HOST}:{voila.port}/"))
    voila.start()


def server_settings():
    "How Voila is set: songs of 200 MB may come in, nothing comes from elsewhere, and no settings of a folder are read."
    from jupyter_client.kernelspec import KernelSpecManager
    from traitlets.config import Config

    class ThisPython(KernelSpecManager):
        "Knows one kernel: the Python that runs now, which has this package."

        kernel_dirs = []

        def get_kernel_spec(self, kernel_name):
            spec = super().get_kernel_spec(kernel_name)
            spec.argv.append("--log-level=ERROR")
            return spec

    config = Config(
        VoilaConfiguration={
            "kernel_spec_manager_class": ThisPython,
            "file_allowlist": [],
            "allow_template_override": "NO",
            "allow_theme_override": "NO",
        },
        ZMQChannelsWebsocketConnection={"limit_rate": False},  # a player may be larger than the 1 MB a second of a usual notebook
        MappingKernelManager={"cull_idle_timeout": IDLE_SECONDS, "cull_interval": 60},
    )
    tornado_settings = {
        "websocket_max_message_size": MOST_BYTES + MORE_BYTES,
        "ws_ping_interval": 0,  # no pings: a busy browser would be taken for a lost one, and a lost one closes its connection on this computer
        "allow_remote_access": False,  # requests under another name than these are refused: they come from foreign pages (DNS rebinding)
        "local_hostnames": [HOST, "localhost"],
        "disable_check_xsrf": True,  # Voila ends Python when its page is closed, without this mark; nobody else knows the number of a kernel
        "headers": {"Content-Security-Policy": POLICY},
    }
    return {"config": config, "config_file_paths": [], "tornado_settings": tornado_settings}


# --- the notebook


def show_page():
    "Show the page in a notebook. Says in one line where ipywidgets is not installed."
    from IPython.display import display, HTML

    try:
        page = SongPage()
    except ImportError:
        return HTML("<p>The page needs ipywidgets and Voila: <code>pip install 'genre_nbs[app]'</code></p>")
    display(HTML(environment().get_template("page.html").render(most_bytes=MOST_BYTES)), page.widget)


class SongPage:
    "The widgets of the page: where songs are dropped, and what came of each, the newest first."

    def __init__(self, model=None):
        import ipywidgets as widgets

        self.model = model or os.environ.get(MODEL)
        self.loading, self.count = ThreadPoolExecutor(1).submit(self.load), 0  # while the songs are still being chosen
        self.upload = widgets.FileUpload(multiple=True, description="Choose songs", icon="").add_class("songs-upload")
        self.done = widgets.HTML(done_mark(0)).add_class("songs-hidden")
        self.cards = widgets.VBox().add_class("songs-cards")
        self.upload.observe(lambda change: self.take(change["new"]), "value")
        drop = widgets.VBox([widgets.HTML(DROP_TEXT), self.upload, self.done]).add_class("songs-drop")
        self.widget = widgets.VBox([drop, self.cards]).add_class("songs-page")

    def take(self, files):
        "Add what the model says of each file, and say that they are done."
        from ipywidgets import HTML

        for file in files:
            self.cards.children = (HTML(self.card(file["name"], file["content"])), *self.cards.children)
            self.count += 1
        if files:
            self.upload.value = ()
            self.done.value = done_mark(self.count)

    def card(self, name, content):
        "What the page shows of one file, as HTML; for a bad file a sentence."
        try:
            with TemporaryDirectory() as folder:
                path = Path(folder) / f"song{safe_suffix(name)}"
                path.write_bytes(content)
                return self.song(name, path)
        except (ValueError, OSError, MemoryError) as error:
            reason = said_of(error, path)
        except Exception as error:  # a page that is silent and waits would be worse
            reason = f"{type(error).__name__}: {error} (this is a fault of genre-nbs)"
        return environment().get_template("song.html").render(name=name, reason=sentence(reason))

    def song(self, name, path):
        "What the page shows of one song, as HTML. Raises `AudioError` or `ValueError` for one that cannot be used."
        from genre_nbs.songs import listen

        classifier, neighbours = self.loading.result()
        prediction, (y, sr) = listen(path, classifier), load_beginning(path)
        return song_html(name, prediction, y, sr, closest_songs(neighbours, prediction.timeline))

    def load(self):
        "The model that was named, or the one of the package, and the songs that it learned from, where they are known."
        from genre_nbs.app.neighbours import read_neighbours
        from genre_nbs.songs import load_model, shipped_path

        model = self.model or shipped_path()
        return load_model(model), read_neighbours(model)


DROP_TEXT = (
    f"<p class='songs-lead'>Drop songs here: mp3, m4a, wav, flac, ogg and most others, up to {MOST_BYTES // 10**6} MB each. They stay on this computer.</p>"
    "<p class='songs-now' role='status' aria-live='polite'></p><div class='songs-refused'></div>"
)


def done_mark(count):
    "How many files are done, for the script of the page, which then sends the next one."
    return f"<i class='songs-done' data-done='{count}'></i>"


def safe_suffix(name):
    "The ending of a file name, if it is a plain one."
    match = re.search(r"\.[A-Za-z0-9]{1,5}\Z", name)
    return match[0].lower() if match else ""


def said_of(error, path):
    "What to say of an error: what is wrong with the file, or else what the error says."
    if isinstance(error, AudioError):
        return f"This file {error.reason}"
    return str(error).replace(f"{path}: ", "This file ") or "There is not enough memory for this song"


def sentence(reason):
    "A reason as a sentence in one line."
    text = " ".join(str(reason).split())[:300]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def load_beginning(path):
    "The waveform of a song, or of its first half hour, and its sample rate in Hz."
    from genre_nbs.audio import load_audio

    return load_audio(path, duration=PLAYED_SECONDS)


# --- what is shown of a song


def closest_songs(neighbours, timeline):
    "(name, genre) of the training songs that the model finds closest; none where they are not known."
    from genre_nbs.app.neighbours import song_vector

    closest = neighbours.closest(song_vector(timeline), CLOSEST) if neighbours else []
    return [(track, genre_title(genre)) for track, genre in closest]


def song_html(name, prediction, y, sr, neighbours=()):
    "What the page shows of a song: the prediction, a player, the genre over time that follows it, and the closest training songs."
    from genre_nbs.audio import audio_bytes

    colors, seconds, played = dict(zip(prediction.genres, genre_colors(prediction.genres), strict=True)), prediction.seconds, len(y) / sr
    seen = [
        genre
        for genre, p in zip(prediction.genres, prediction.timeline.max(0), strict=True)
        if p >= SEEN or genre in dict(prediction.top(3))
    ]
    best = zip(prediction.times, prediction.timeline.argmax(1), prediction.timeline.max(1), strict=True)
    shown = {
        "answer": prediction.text[:1].upper() + prediction.text[1:],
        "top": [(genre_title(genre), f"{p:.0%}", round(100 * p, 1), colors[genre]) for genre, p in prediction.top(3)],
        "audio": data_uri(audio_bytes(y, sr), "audio/mpeg"),
        "length": clock(seconds),
        "cut": clock(played) if played < seconds - 1 else "",
        "wave": wave_points(prediction.envelope),
        "areas": list(zip(area_points(prediction.times, prediction.timeline, seconds), colors.values(), strict=True)),
        "legend": [(genre_title(genre), colors[genre]) for genre in seen[::-1]],  # from the top downwards
        "ticks": [(clock(t), 100 * t / seconds) for t in tick_times(seconds)],
        "timeline": json.dumps([[round(float(t), 2), genre_title(prediction.genres[i]), round(100 * float(p))] for t, i, p in best]),
        "neighbours": neighbours,
    }
    return (
        environment()
        .get_template("song.html")
        .render(name=name, reason=None, sure=prediction.sure, note=prediction.note, seconds=seconds, **shown)
    )


def clock(seconds):
    "A time as one reads it on a player: 75 is 1:15."
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def tick_times(seconds):
    "At most six times from 0 on, as far apart as a clock shows them; none so near to the end that its text would stand out."
    step = next((step for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800) if seconds / step <= 6), 3600)
    return range(0, int(0.88 * seconds) + 1, step)


def svg_points(x, y):
    "Points of a polygon for SVG, on a picture of 1000 by 100."
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def wave_points(envelope):
    "The waveform as a polygon: up along the largest samples of each part of a song, back along the smallest ones."
    high, low = np.array([(part[:, 1].max(), part[:, 0].min()) for part in np.array_split(envelope, min(POINTS, len(envelope)))]).T
    x, scale = np.linspace(0, 1000, len(high)), 48 / max(np.abs(envelope).max(), 1e-9)
    return svg_points(np.concatenate([x, x[::-1]]), 50 - scale * np.concatenate([high, low[::-1]]))


def area_points(times, proba, seconds):
    "Stacked areas as polygons, one for each genre, the first at the bottom: heights are probabilities, held up to both ends of the song."
    x = 1000 * np.concatenate([[0], times, [seconds]]) / seconds
    edges = 100 - 100 * np.pad(np.cumsum(proba, 1), ((1, 1), (1, 0)), mode="edge")  # (n + 2, genres + 1), down from the top
    edges[:, 0] = 100
    return [svg_points(np.concatenate([x, x[::-1]]), np.concatenate([a, b[::-1]])) for a, b in zip(edges.T, edges.T[1:], strict=False)]
