"""What contradicts itself is refused before anything is read, with what to do."""

from typing import Any

import pytest

from collectors.ca_database.config import CADatabaseConfig


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"preset": "step-ca", "path": "/root/.step/db"}, "open to step-ca alone"),
        ({"preset": "step-ca"}, "preset step-ca needs url"),
        ({"preset": "certbot", "url": "https://x"}, "preset certbot needs path"),
        ({"preset": "vault", "url": "https://x", "path": "/x"}, "has no path"),
        ({"preset": "vault", "url": "https://x", "token": "t", "role_id": "r", "secret_id": "s"}, "not both"),
        ({"preset": "vault", "url": "https://x", "role_id": "r"}, "belong together"),
        ({"preset": "dogtag", "url": "https://x", "token": "t"}, "token is for preset vault and ejbca-rest"),
        ({"preset": "cfssl", "url": "sqlite://", "trust": "/x"}, "trust is for preset vault"),
        ({"preset": "sql", "url": "sqlite://"}, "preset sql needs query"),
        ({"preset": "ejbca-rest", "url": "https://x", "client_key": "/k"}, "belongs to client_certificate"),
        ({"preset": "adcs", "path": "/x", "mount": "pki"}, "mount is for preset vault, not for adcs"),
    ],
)
def test_what_does_not_fit_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CADatabaseConfig.model_validate(keys)


def test_no_secret_is_shown() -> None:
    config = CADatabaseConfig.model_validate({"preset": "vault", "url": "https://x", "token": "hidden"})
    assert "hidden" not in repr(config) + config.model_dump_json()
