"""Files in forms, where none belong."""

from typing import Any, NoReturn

from django.core.files.uploadhandler import FileUploadHandler, SkipFile


class NoFiles(FileUploadHandler):
    """Passes over every file: no page has a field for one, and nothing shall fill the disk."""

    def new_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise SkipFile

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        pass

    def file_complete(self, file_size: int) -> None:
        pass
