"""The step of `script/test` that looks for known holes says what is wrong, offline too."""

import importlib.util
from pathlib import Path

import pytest
from django.conf import settings

SCRIPT = Path(settings.BASE_DIR) / "script" / "audit.py"


@pytest.fixture
def audit(monkeypatch):
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_version_below_its_floor_is_named(audit):
    text = "django==5.2.18 \\\n    --hash=sha256:00\ngunicorn==26.0.0 \\\n    --hash=sha256:00\n"
    assert audit.below_their_floor(text) == [
        "django 5.2.18 has known holes: 5.2.19 or newer is needed"
    ]


def test_a_pin_without_hash_is_named(audit):
    text = "django==5.2.19 \\\n    --hash=sha256:00\n    # via x\nredis==8.1.0\n"
    assert audit.without_hashes(text) == ["redis==8.1.0 has no hash"]


def test_what_is_pinned_is_above_its_floors_and_hashed(audit):
    for name in audit.FILES:
        text = (audit.ROOT / name).read_text()
        assert audit.below_their_floor(text) + audit.without_hashes(text) == []
        assert "==" in text


def test_a_service_that_does_not_answer_is_no_fault(audit, monkeypatch):
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    found, skipped = audit.audit("requirements.txt")
    assert found == []
    assert "cannot be asked" in skipped


def test_holes_are_named_and_unknown_packages_counted(audit):
    hole = {"id": "PYSEC-1", "fix_versions": ["5.2.20"], "aliases": [], "description": ""}
    found, skipped = audit.judged(
        [
            {"name": "django", "version": "5.2.19", "vulns": [hole]},
            {"name": "redis", "version": "8.1.0", "vulns": []},
            {"name": "limits", "skip_reason": "Dependency not found"},
        ]
    )
    assert found == ["django 5.2.19: PYSEC-1 (fixed in 5.2.20)"]
    assert skipped == "the advisory service knows nothing of 1 of 3 packages"
