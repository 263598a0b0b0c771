"""URLs of databases as people mistype them: each is told what to do, and no password is."""

from datetime import timedelta

import pytest

from collectors.ca_database.record import ReadFailed
from collectors.ca_database.sql.database import Database

SECRET = "kept-apart"


def failed(url: str) -> ReadFailed:
    with pytest.raises(ReadFailed) as found:
        Database(url, timedelta(seconds=3))
    return found.value


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"postgresql://u:a@{SECRET}@127.0.0.1:1/ca", "Write @ as %40"),
        (f"mysql://u:a@{SECRET}@127.0.0.1:1/ca", "Write @ as %40"),
        (f"postgresql://u:{SECRET}\n@127.0.0.1:1/ca", "Write @ as %40"),
        (f"postgresql://u:{SECRET}@127.0.0.1:port/ca", "not a database's URL"),
        (f"postgresql://u:{SECRET}@[::1/ca", "not a database's URL"),
        (f"mysql://u:{SECRET}@127.0.0.1:1/ca?passwort={SECRET}", "does not take what stands behind ?"),
        (f"mysql://u:{SECRET}@127.0.0.1:1/ca?charset={SECRET}", "does not take what stands behind ?"),
        (f"mysql://u:{SECRET}@127.0.0.1:1/ca?read_timeout={SECRET}", "does not take what stands behind ?"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/ca?passwort={SECRET}", "invalid connection option"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/ca", "refused"),
        (f"postgresql://127.0.0.1:1/ca?password={SECRET}", "refused"),
        (f"mysql://u:{SECRET}@127.0.0.1:1/ca", "refused"),
        (f"oracle://u:{SECRET}@127.0.0.1:1/ca", "oracle is not known"),
        (f"u:{SECRET}", "not a database's URL"),
    ],
)
def test_a_mistake_in_a_url_is_told_without_the_password(url: str, told: str) -> None:
    error = failed(url)
    assert told in error.message
    assert SECRET not in error.message
    assert error.message.isprintable()
