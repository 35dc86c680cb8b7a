"Build the package: everything it says of itself is read from settings.ini."

from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(HERE / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]
EXTRAS = ("app", "cluster", "kaggle", "bench", "dev")
STATUS = {"3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}
ROOMS = ("app", "fast", "io", "practice")
MINORS = range(int(cfg["min_python"].split(".")[1]), 14)

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license="Apache-2.0",
    classifiers=[
        f"Development Status :: {STATUS[cfg['status']]}",
        "Intended Audience :: Education",
        "Framework :: Jupyter",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in MINORS),
    ],
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require={extra: cfg[f"{extra}_requirements"].split() for extra in EXTRAS},
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"],
    },
    # The notebooks travel inside the wheel as genre_nbs/course, for `genre-nbs lab`.
    packages=["genre_nbs", *(f"genre_nbs.{room}" for room in ROOMS), "genre_nbs.course"],
    package_dir={"genre_nbs.course": "nbs"},
    package_data={"genre_nbs": ["templates/*.html", "data/*.md5"], "genre_nbs.course": ["*.ipynb", "results/*"]},
    zip_safe=False,
)
