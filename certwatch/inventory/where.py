"""A condition on entries of the inventory, as `Query.where` takes it."""

from collections.abc import Callable, Iterator
from datetime import datetime

from certwatch.expressions import compile
from certwatch.expressions.fields import Subject
from certwatch.inventory.store import Entry
from certwatch.model.location import Location


def where_filter(text: str, now: datetime) -> Callable[[Entry], bool]:
    """Holds for a certificate if the condition holds at one of its places: those that serve it; if none does, those
    that did. A condition that does not speak of a location is asked once. Raises ExpressionError."""
    expression = compile(text, scope="list")

    def subjects(entry: Entry) -> Iterator[Subject]:
        if not expression.reads_location:
            yield Subject(certificate=entry.certificate, location=None, now=now)
            return
        live = [place for place in entry.places if place.ended_at is None] or entry.places
        for place in live:
            yield Subject(
                certificate=entry.certificate,
                location=Location(uri=place.location, labels=place.labels),
                collectors=place.collectors,
                owner=place.owner,
                error=place.error.kind if place.error is not None else "",
                now=now,
            )

    return lambda entry: any(map(expression.matches, subjects(entry)))
