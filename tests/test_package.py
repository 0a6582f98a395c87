"""What an installed ffseq consists of."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_a_wheel_carries_every_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = {".".join(one.parent.relative_to(ROOT).parts) for one in (ROOT / "ffseq").rglob("__init__.py")}
    assert found <= set(listed)
