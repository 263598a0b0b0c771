"""A progress bar on standard error, where that is a terminal; elsewhere nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from certwatch.plugins.collector import no_progress

#: Told of looks done and, where known, looks in all.
Told = Callable[[int, int | None], None]


@contextmanager
def progress_bar() -> Iterator[Callable[[str], Told]]:
    """Gives what makes a bar for each collector by its name."""
    if not sys.stderr.isatty():
        yield lambda name: no_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def bar(name: str) -> Told:
            task = progress.add_task(Text(name).markup, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield bar
