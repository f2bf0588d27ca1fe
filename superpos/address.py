"""Where the book and its code lie: the one setting from which README, Colab cells and the site take their links.

After a change here, or of `__version__`, run `make address`: it writes both wherever a file has to name them.
"""

from superpos import __version__

__all__ = ["REPOSITORY", "SITE", "colab", "download", "release", "rows"]

REPOSITORY = "https://github.com/superpos/superpos"
SITE = "https://superpos.github.io/superpos/"


def release() -> str:
    """The tag of the release that this is, as v1.2.3."""
    return f"v{__version__}"


def rows(file: str) -> str:
    """Where committed rows can be read, as of verdicts.csv."""
    return f"{REPOSITORY}/blob/main/book/results/{file}"


def download(chapter: str) -> str:
    """Where the notebook of a chapter can be fetched."""
    return f"{REPOSITORY}/raw/main/notebooks/{chapter}.ipynb"


def colab(chapter: str) -> str:
    """Where a chapter opens in Colab."""
    path = REPOSITORY.removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{path}/blob/main/notebooks/{chapter}.ipynb"
