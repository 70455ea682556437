"""Files on this machine, named by their content."""

import os
import tempfile
from contextlib import suppress
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.utils.deconstruct import deconstructible

FILE_MODE, FOLDER_MODE = 0o640, 0o750
UNFINISHED = ".unfinished-"


@deconstructible(path="documents.files.content.ContentStorage")
class ContentStorage(FileSystemStorage):
    """Django's, but a file is there whole or not at all, whatever happens meanwhile.

    It is written under another name, brought to the disk, and then gets its own. Whoever saves a
    name that is taken saves the same content again.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            file_permissions_mode=FILE_MODE, directory_permissions_mode=FOLDER_MODE, **kwargs
        )

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        folder = os.path.dirname(self.path(name))
        self._make_folder(folder)
        descriptor, unfinished = tempfile.mkstemp(prefix=UNFINISHED, dir=folder)
        try:
            with open(descriptor, "wb") as file:
                for piece in content.chunks():
                    file.write(piece)
                file.flush()
                os.fchmod(descriptor, FILE_MODE)
                os.fsync(descriptor)
            os.replace(unfinished, self.path(name))
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
            raise
        _sync(folder)
        return name

    def _make_folder(self, folder: str) -> None:
        """Each folder with its mode, whatever the umask, and known to the one that it is in."""
        if os.path.isdir(folder):
            return
        parent = os.path.dirname(folder)
        self._make_folder(parent)
        with suppress(FileExistsError):
            os.mkdir(folder)
            os.chmod(folder, FOLDER_MODE)
        _sync(parent)


def _sync(folder: str) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
