"""Write the tables of README from the files in results/.

python runners/tables.py            replace what stands between the markers
python runners/tables.py --check    exit with 1 where README and results differ
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from spread import RESULTS
from tables_grammar import grammar
from tables_images import choices, images
from tables_pieces import pieces
from tables_predicting import between, comparison, depth, literal, main_job, records, stream
from tables_sleep import rollouts, sleep
from tables_speed import bench, bench_looks, dtypes, time_to, where

README = RESULTS.parent.parent / "README.md"


#: name → the results it is made of, and how
TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "main_job": ("main_job", main_job),
    "compare_aesop": ("compare_aesop", lambda: comparison("aesop")),
    "compare_aesop_book": ("compare_aesop_book", lambda: comparison("aesop_book")),
    "depth": ("depth", depth),
    "between": ("between", between),
    "stream": ("stream", stream),
    "grammar": ("grammar", grammar),
    "literal": ("literal", literal),
    "pieces": ("pieces", pieces),
    "images": ("images", images),
    "images_choices": ("choose_images", choices),
    "bench": ("bench", bench),
    "bench_looks": ("bench_looks", bench_looks),
    "where": ("where", where),
    "dtypes": ("dtypes", dtypes),
    "time_to": ("time_to", time_to),
    "records": ("records", records),
    "sleep": ("sleep", sleep),
    "rollouts": ("rollouts", rollouts),
}


def filled(text: str) -> str:
    """README with every table written anew. Results that are there have a table, and no table is without results."""
    for name, (results, table) in TABLES.items():
        found = re.search(rf"<!-- table {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
        there = (RESULTS / f"{results}.json").exists()
        if there != (found is not None):
            raise SystemExit(
                f"README has {'no place for' if there else 'a place, but there are no results, for'} {name}"
            )
        if found is not None:
            text = text[: found.start(1)] + table() + "\n" + text[found.end(1) :]
    return text


if __name__ == "__main__":
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    if "--check" in sys.argv[1:]:
        sys.exit(before != after)
    README.write_text(after, encoding="utf-8")
