"""What CAA records say of a CA (RFC 8659, 4; RFC 8657, 3)."""

import pytest

from certwatch.pki.caa import Permission, Standing, identities_of, permission

OURS = ("letsencrypt.org",)
ONE, TWO = "https://acme.example/acct/1", "https://acme.example/acct/2"


@pytest.mark.parametrize(
    ("records", "wildcard", "standing", "accounts"),
    [
        ([], False, "open", []),
        ([("iodef", "mailto:a@example.com")], False, "open", []),
        ([("issue", "letsencrypt.org")], False, "allowed", []),
        ([("issue", " LetsEncrypt.org. ")], False, "allowed", []),
        ([("issue", "letsencrypt.org; validationmethods=dns-01")], False, "allowed", []),
        ([("issue", ";")], False, "forbidden", []),
        ([("issue", "")], False, "forbidden", []),
        ([("issue", "pki.goog")], False, "forbidden", []),
        ([("issue", "pki.goog"), ("issue", "letsencrypt.org")], False, "allowed", []),
        ([("issue", "letsencrypt.org")], True, "allowed", []),
        ([("issue", "letsencrypt.org"), ("issuewild", ";")], True, "forbidden", []),
        ([("issue", "letsencrypt.org"), ("issuewild", ";")], False, "allowed", []),
        ([("issuewild", ";")], False, "open", []),
        ([("issue", f"letsencrypt.org; accounturi={ONE}")], False, "bound", [ONE]),
        (
            [("issue", f"letsencrypt.org;validationmethods=http-01; accounturi = {ONE} ")],
            False,
            "bound",
            [ONE],
        ),
        (
            [
                ("issue", f"letsencrypt.org; accounturi={ONE}"),
                ("issue", f"letsencrypt.org; accounturi={TWO}"),
            ],
            False,
            "bound",
            [ONE, TWO],
        ),
        (
            [("issue", f"letsencrypt.org; accounturi={ONE}"), ("issue", "letsencrypt.org")],
            False,
            "allowed",
            [],
        ),
        ([("issue", f"pki.goog; accounturi={ONE}")], False, "forbidden", []),
        # Two in one record: nobody has both.
        ([("issue", f"letsencrypt.org; accounturi={ONE}; accounturi={TWO}")], False, "bound", [""]),
    ],
)
def test_what_records_say_of_a_ca(
    records: list[tuple[str, str]], wildcard: bool, standing: Standing, accounts: list[str]
) -> None:
    found = permission(records, OURS, is_wildcard=wildcard)
    assert (found.standing, found.accounts) == (standing, frozenset(accounts))


def test_who_may_is_named() -> None:
    found = permission([("issue", "pki.goog"), ("issue", "Digicert.com")], OURS, is_wildcard=False)
    assert found == Permission(standing="forbidden", allowed=("digicert.com", "pki.goog"))


def test_a_ca_is_known_by_its_name_and_the_config_goes_before() -> None:
    assert identities_of("CN=R11,O=Let's Encrypt,C=US", {}) == ("letsencrypt.org",)
    assert identities_of("CN=Corp", {}) == ()
    assert identities_of("CN=R11,O=Let's Encrypt,C=US", {"*R11*": ("Corp.example",)}) == ("corp.example",)
