"""Ranges of URIs, in SQL by which both stores find them: SQLite by its index over whole URIs, PostgreSQL, where an index's
entry has an end, by one over their beginnings."""

#: Characters, as in postgresql/schema/0002_any_length.sql.
_BEGINNING = 600


def between(column: str, low: str, high: str) -> str:
    """A condition over a column of URIs; `low` and `high` are SQL, and occur twice each, in turns."""
    return (
        f"{column} BETWEEN {low} AND {high} AND substr({column}, 1, {_BEGINNING})"
        f" BETWEEN substr({low}, 1, {_BEGINNING}) AND substr({high}, 1, {_BEGINNING})"
    )
