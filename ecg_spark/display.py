"""What a notebook shows: numbers, tables, and the progress of a run."""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import islice, repeat
from typing import Any

import numpy as np

_CELL = "text-align:left;vertical-align:top;padding:.2em .9em .2em 0"
_QUIET = "opacity:.65"
_WAITS, _RUNS = "waits", "runs"
_ENTRIES = 6
"""A value of a summary with more entries is not shown in one line."""


def number(value: Any) -> str:
    """Return a number for a reader: thousands separated, three significant digits, – if missing.

    Example:
        >>> number(0.12345), number(None)
        ('0.123', '–')
    """
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return "–"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return _apart(f"{int(value):,}")
    if isinstance(value, float | np.floating):
        real = float(value)
        return _apart(f"{real:,.0f}") if abs(real) >= 100 else f"{real:.3g}"
    return str(value)


def _apart(digits: str) -> str:
    return digits.replace(",", "\u202f")  # a narrow space at which no line breaks


def words(value: Any) -> str:
    """Return a value of a study or summary in one line, without user and password in an address.

    Example:
        >>> words({"server": "http://me:secret@mlflow:5000", "folds": [0, 1]})
        'server http://mlflow:5000, folds 0, 1'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    return re.sub(r"://[^/@\s]*@", "://", number(value))


def in_a_row(parts: Sequence[str]) -> str:
    """Return words separated by commas, with `and` before the last.

    Example:
        >>> in_a_row(["P", "QRS", "T"])
        'P, QRS and T'
    """
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def line(summary: Mapping[str, Any]) -> str:
    """Return the counts of a summary in one line, without long values and ids of runs."""
    shown = []
    for key, value in summary.items():
        short = value != "" and not isinstance(value, list | float)
        if isinstance(value, Mapping):
            short = 0 < len(value) <= _ENTRIES and not any(
                isinstance(item, Mapping | list) for item in value.values()
            )
        if short and value is not None and not key.endswith("_id"):
            shown.append(f"{key.replace('_', ' ')}: {words(value)}")
    return " · ".join(shown)


def whole(title: str, summary: Mapping[str, Any]) -> str:
    """Return all of a summary as HTML; long values can be unfolded."""
    short, long = {}, ""
    for key, value in summary.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping) and len(value) > _ENTRIES:
            long += folded(name, table("", ("", ""), value.items()))
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            long += folded(name, table("", list(value[0]), [list(row.values()) for row in value]))
        else:
            short[name] = value
    return table(title, ("", ""), short.items()) + long


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as HTML that is legible on light and dark backgrounds.

    Args:
        title: a caption, or empty for none.
        heads: the names of the columns; all empty for a table without a header.
        rows: the values, shown as `words` writes them.
    """
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row, _styles()))}</tr>" for row in rows)
    caption = f"<p><b>{escape(title)}</b></p>" if title else ""
    head = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    return f"<div>{caption}<table>{head}<tbody>{body}</tbody></table></div>"


def _styles() -> Iterator[str]:
    yield f"{_CELL};white-space:nowrap"
    yield from repeat(_CELL)


def _cell(value: Any, style: str) -> str:
    return f'<td style="{style}">{escape(words(value))}</td>'


def folded(title: str, content: str) -> str:
    """Return HTML that a reader can unfold."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def quiet(text: str) -> str:
    """Return a less prominent line, as HTML."""
    return f'<p style="{_QUIET}">{escape(text)}</p>'


class Progress(logging.Handler):
    """The state of each step of a run, in a table that a notebook keeps up to date.

    While the block runs, it shows the last line that ecg-spark logged, and every warning. Outside a
    notebook it shows nothing; configure logging to see the lines.

    Args:
        steps: the names of the steps in the order in which they run.
    """

    LOGGERS = ("ecg_spark", "models", "jobs")

    def __init__(self, steps: Iterable[str]) -> None:
        super().__init__(logging.INFO)
        self._states = dict.fromkeys(steps, _WAITS)
        self._said, self._warnings = "", list[str]()
        self._levels: dict[str, int] = {}
        self._update: Callable[[str], None] | None = None

    def __enter__(self) -> "Progress":
        self._start_next()
        self._update = _live(self._html())
        if self._update is not None:
            for name in self.LOGGERS:
                logger = logging.getLogger(name)
                self._levels[name] = logger.level
                logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
                logger.addHandler(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
            logging.getLogger(name).removeHandler(self)
        if kind is not None:
            stopped = [step for step, state in self._states.items() if state == _RUNS]
            self._states |= dict.fromkeys(stopped, "stopped")
            self._show()

    def done(self, summary: Mapping[str, Any]) -> None:
        """Show that a step has ended and the next one has started.

        Args:
            summary: what the step returned, with `step` and either `skipped` or `seconds`.
        """
        ended = summary.get("skipped") or f"done in {summary['seconds']:.0f} s"
        self._states[str(summary["step"])], self._said = ended, ""
        self._start_next()
        self._show()

    def _start_next(self) -> None:
        waiting = (step for step, state in self._states.items() if state == _WAITS)
        self._states |= dict.fromkeys(islice(waiting, 1), _RUNS)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line that was logged."""
        if record.levelno >= logging.WARNING:
            self._warnings.append(record.getMessage())
        else:
            self._said = record.getMessage()
        self._show()

    def _show(self) -> None:
        if self._update is not None:
            self._update(self._html())

    def _html(self) -> str:
        return table("", ("step", ""), self._states.items()) + "".join(
            map(quiet, [*self._warnings, *filter(None, [self._said])])
        )


def _live(html: str) -> Callable[[str], None] | None:
    """Show HTML in a notebook and return a function that replaces it; None outside a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if ipython is None or not hasattr(shell, "kernel"):
        return None
    handle = ipython.display.display(ipython.display.HTML(html), display_id=True)
    return lambda changed: handle.update(ipython.display.HTML(changed))
