import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.ca.failure import CAError
from certwatch.ca.names import check_allowed, check_constraints, checked, general_name, name_of, normal
from certwatch.ca.profiles import profiles_of
from certwatch.config.ca import ProfileKeys
from certwatch.plugins.testing import make_ca


@pytest.mark.parametrize(
    ("given_", "normal_"),
    [
        ("dns:WWW.Example.COM.", "dns:www.example.com"),
        ("dns:*.example.com", "dns:*.example.com"),
        ("dns:localhost", "dns:localhost"),
        ("ip:10.0.0.01", None),
        ("ip:2001:DB8::0:1", "ip:2001:db8::1"),
        ("ip:fe80::1%eth0", None),
        ("email:ops@Example.com", "email:ops@example.com"),
        ("uri:spiffe://example.com/payments/api", "uri:spiffe://example.com/payments/api"),
        ("uri:spiffe://example.com/a/../b", None),
        ("uri:spiffe://example.com:8443/a", None),
        ("uri:spiffe://example.com/a?b", None),
        ("dns:a_b.example.com", None),
        ("dns:-a.example.com", None),
        ("dns:10.0.0.1", None),
        ("dns:w*.example.com", None),
        ("dns:*", None),
        ("dns:a..b", None),
        ("dns:exämple.com", None),
        ("dns:" + "a" * 64 + ".com", None),
        ("www.example.com", None),
        ("dirname:x", None),
        ("dns:www.example.com\x00.evil.com", None),
        # Its small letter is ASCII's k.
        ("dns:\N{KELVIN SIGN}.example.com", None),
        ("email:a@\N{KELVIN SIGN}.example.com", None),
        ("dns:xn--exmple-cua.com", "dns:xn--exmple-cua.com"),
        ("dns:xn--zzzzzz.example.com", None),
        ("dns:xn--.example.com", None),
        ("dns:xn--abc-.example.com", None),
        ("uri:https://example.com/a/../b", None),
        ("uri:https://example.com/a/%2E%2e/b", None),
    ],
)
def test_names_are_made_normal_or_refused(given_: str, normal_: str | None) -> None:
    if normal_ is None:
        with pytest.raises(CAError) as raised:
            normal(given_)
        assert raised.value.kind == "refused"
    else:
        assert normal(given_) == normal_


@given(
    st.sampled_from(["dns:", "ip:", "email:", "uri:", ""]).flatmap(
        lambda kind: st.text(max_size=80).map(kind.__add__)
    )
)
def test_any_text_is_a_name_that_can_be_written_or_refused(text: str) -> None:
    try:
        made = normal(text)
    except CAError as error:
        assert error.kind == "refused"
        assert error.message.isprintable()
    else:
        assert normal(made) == made
        assert name_of(general_name(made)) == made


PROFILE = profiles_of(
    {
        "server": ProfileKeys.model_validate(
            {
                "names": [
                    {"requesters": ["web-*"], "dns": [".example.com", "example.net"], "ip": ["10.1.0.0/16"]},
                    {"requesters": ["edge"], "dns": [".example.com"], "wildcards": True},
                ]
            }
        )
    }
)["server"]
CLIENTS = profiles_of(
    {
        "client": ProfileKeys.model_validate(
            {
                "names": [
                    {
                        "requesters": ["web-*"],
                        "uri": [
                            "spiffe://example.com/web",
                            "https://example.com",
                            "spiffe://example.com/job-*",
                        ],
                    },
                    {"requesters": ["any"], "uri": ["https://*"], "email": ["@example.com"]},
                ]
            }
        )
    }
)["client"]


@pytest.mark.parametrize(
    ("requester", "name", "allowed"),
    [
        ("web-1", "uri:spiffe://example.com/web", True),
        ("web-1", "uri:spiffe://example.com/web/a", True),
        ("web-1", "uri:spiffe://example.com/webmaster", False),
        ("web-1", "uri:spiffe://example.com/job-7", True),
        ("web-1", "uri:https://example.com/a", True),
        ("web-1", "uri:https://example.com.evil.example/a", False),
        ("web-1", "uri:https://example.com@evil.example/a", False),
        ("web-1", "uri:https://example.com:8443/a", False),
        ("any", "uri:https://evil.example/a", False),
        ("any", "email:a@example.com", True),
        ("any", "email:a@sub.example.com", False),
        ("any", "email:a@evil-example.com", False),
    ],
)
def test_a_uri_pattern_ends_where_a_part_ends(requester: str, name: str, allowed: bool) -> None:
    if allowed:
        check_allowed([name], CLIENTS, requester, local=False)
    else:
        with pytest.raises(CAError, match="does not give"):
            check_allowed([name], CLIENTS, requester, local=False)


def test_who_is_given_no_name_is_given_no_certificate_without_names_either() -> None:
    check_allowed([], CLIENTS, "web-1", local=False)
    with pytest.raises(CAError, match="gives nothing"):
        check_allowed([], CLIENTS, "stranger", local=False)


@pytest.mark.parametrize(
    ("requester", "name", "allowed"),
    [
        ("web-1", "dns:www.example.com", True),
        ("web-1", "dns:a.b.example.com", True),
        ("web-1", "dns:example.com", False),
        ("web-1", "dns:evilexample.com", False),
        ("web-1", "dns:example.net", True),
        ("web-1", "dns:www.example.net", False),
        ("web-1", "dns:*.example.com", False),
        ("edge", "dns:*.example.com", True),
        ("edge", "dns:*.a.example.com", True),
        ("edge", "dns:*.com", False),
        ("other", "dns:www.example.com", False),
        ("web-1", "ip:10.1.2.3", True),
        ("web-1", "ip:10.2.0.1", False),
        ("web-1", "ip:2001:db8::1", False),
        ("web-1", "email:a@example.com", False),
    ],
)
def test_who_may_have_which_name(requester: str, name: str, allowed: bool) -> None:
    if allowed:
        check_allowed([name], PROFILE, requester, local=True)
    else:
        with pytest.raises(CAError):
            check_allowed([name], PROFILE, requester, local=True)


def test_a_profile_without_names_serves_people_on_this_machine_alone() -> None:
    plain = profiles_of({})["server"]
    check_allowed(["dns:www.example.com"], plain, "anybody", local=True)
    with pytest.raises(CAError, match="says of no name"):
        check_allowed(["dns:www.example.com"], plain, "anybody", local=False)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("dns:www.example.com", True),
        ("dns:example.com", True),
        # It covers secret.example.com, which is excluded.
        ("dns:*.example.com", False),
        ("dns:*.www.example.com", True),
        ("dns:*.secret.example.com", False),
        ("dns:www.example.org", False),
        ("dns:secret.example.com", False),
        ("dns:a.secret.example.com", False),
        ("ip:10.0.0.1", True),
        ("ip:192.0.2.1", False),
        ("email:a@example.com", True),  # no constraint of this kind
        ("uri:spiffe://example.com/a", False),
    ],
)
def test_the_issuers_own_name_constraints_are_kept(name: str, allowed: bool) -> None:
    from ipaddress import ip_network

    from cryptography import x509

    constraints = x509.NameConstraints(
        [x509.DNSName("example.com"), x509.IPAddress(ip_network("10.0.0.0/8"))],
        # Empty: all of its kind.
        [x509.DNSName("secret.example.com"), x509.UniformResourceIdentifier("")],
    )
    issuer = make_ca("Constrained", extensions=[(constraints, True)]).certificate
    if allowed:
        check_constraints([name], issuer)
    else:
        with pytest.raises(CAError):
            check_constraints([name], issuer)


def test_each_name_stands_once_and_there_is_a_bound() -> None:
    assert checked(["dns:A.example", "dns:a.example"]) == ("dns:a.example",)
    with pytest.raises(CAError, match="at most 100"):
        checked(f"dns:h{n}.example.com" for n in range(101))
