"""The live table of a run at a terminal: where it is, how fast, how well it predicts, the goodness in every layer."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ffseq.progress import duration

#: Columns of the table at most: wider it is not easier to read.
WIDEST = 90


@dataclass(frozen=True)
class Board:
    """What is known of a run now.

    step of total updates, done: the share of the run; left: seconds; rate: characters a second; phase: where in wake
    and sleep, if there is that; train, validation, best: bits per character; positive, negative: mean goodness of each
    layer named in `layers`. What is not known yet is None.
    """

    step: int
    total: int
    done: float
    left: float
    rate: float
    phase: str
    train: float | None
    validation: float | None
    best: float | None
    layers: list[str]
    positive: list[float] | None
    negative: list[float] | None

    def drawn(self) -> RenderableType:
        """The table. Its last line is empty: what a terminal shows of a Ctrl-C stands there, and is drawn over."""
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(ratio=1)
        head.add_column(justify="right", no_wrap=True)
        bar = ProgressBar(total=1.0, completed=min(self.done, 1.0))
        head.add_row(bar, f"{self.step:,} of {self.total:,}  {duration(self.left)} left")
        head.add_row(Text(self.phase, style="magenta"), f"{self.rate:,.0f} characters/s")
        bits = Text("bits per character: ", no_wrap=True)
        bits.append(f"train {_number(self.train)}  ").append(
            f"validation {_number(self.validation)}", style="bold cyan"
        )
        bits.append(f"  best {_number(self.best)}")
        goodness = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for column in ("goodness", "positives", "negatives", "apart"):
            goodness.add_column(column, justify="left" if column == "goodness" else "right", no_wrap=True)
        nothing: list[float | None] = [None] * len(self.layers)
        for name, up, down in zip(self.layers, self.positive or nothing, self.negative or nothing, strict=True):
            apart = None if up is None or down is None else up - down
            cells = (_number(up, "green"), _number(down, "red"), _number(apart))
            goodness.add_row(name, *cells)
        return Constrain(Group(head, bits, goodness, Text("")), WIDEST)


def _number(value: float | None, style: str = "") -> Text:
    return Text("-" if value is None else f"{value:.3f}", style=style)
