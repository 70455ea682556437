"""The dispatchers' door to documents."""

from documents import admin_search  # noqa: F401 - registers its page
