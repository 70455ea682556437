from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "core"
    verbose_name = "Organizations and users"

    def ready(self) -> None:
        from core import safety  # noqa: F401 - registers its check
