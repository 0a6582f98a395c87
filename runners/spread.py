"""What all tables need: where results are, and a mean with its deviation."""

from __future__ import annotations

import statistics
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
