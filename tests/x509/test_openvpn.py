"""OpenVPN profiles."""

import base64

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from hypothesis import given

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509.openvpn import looks_like, read
from tests.support.damage import damaged

ROOT = make_ca()
MIDDLE = make_ca("Middle", issuer=ROOT, key_number=101)
CLIENT = make_certificate(names=(), subject="client", issuer=MIDDLE)

PROFILE = b"""\
client
dev tun
remote vpn.example.com 1194 udp
<connection>
remote vpn2.example.com 443 tcp
</connection>
# easy-rsa puts the certificate's text before it
<ca>
%s</ca>
<cert>
Certificate:
    Data:
        Version: 3 (0x2)
%s</cert>
<extra-certs>
%s</extra-certs>
<key>
%s</key>
<tls-crypt>
-----BEGIN OpenVPN Static key V1-----
00
-----END OpenVPN Static key V1-----
</tls-crypt>
""" % (ROOT.pem, CLIENT.pem, MIDDLE.pem, CLIENT.key_pem)


def test_inline_blocks_are_an_authority_and_a_chain_with_its_key() -> None:
    assert looks_like(PROFILE)
    for data in (PROFILE, PROFILE.replace(b"\n", b"\r\n")):
        found = read(data)
        assert [(each.name, each.certificates, each.arrangement, each.key) for each in found.entries] == [
            ("ca", (ROOT.der,), "bundle", None),
            ("cert", (CLIENT.der, MIDDLE.der), "chain", "match"),
        ]
        assert found.problems == ()


def test_paths_are_named_as_they_stand() -> None:
    data = b'port 1194\ndev tun\nca ca.crt\ncert "/etc/open vpn/server.crt"\nkey server.key\ndh dh.pem\n'
    assert looks_like(data)
    authority, own = read(data).entries
    assert (authority.name, authority.path, authority.arrangement) == ("ca", "ca.crt", "bundle")
    assert (own.name, own.path, own.key_path) == ("cert", "/etc/open vpn/server.crt", "server.key")


def test_an_inline_keystore_is_opened_with_a_passphrase() -> None:
    store = pkcs12.serialize_key_and_certificates(
        b"me", CLIENT.key, CLIENT.certificate, [MIDDLE.certificate], BestAvailableEncryption(b"secret")
    )
    data = b"dev tun\nremote a\n<pkcs12>\n" + base64.encodebytes(store) + b"</pkcs12>\n"
    (found,) = read(data, ["secret"]).entries
    assert (found.name, found.certificates, found.key) == ("pkcs12/me", (CLIENT.der, MIDDLE.der), "match")
    (problem,) = read(data).problems
    assert problem.kind == "passphrase"


def test_a_block_without_an_end_or_a_certificate_is_named() -> None:
    cut = PROFILE[: PROFILE.index(b"</cert>")]
    found = read(cut)
    assert [each.name for each in found.entries] == ["ca", "cert"]
    assert ["<cert> has no end"] == [problem.message for problem in found.problems]
    (problem,) = read(b"dev tun\n<ca>\nnothing\n</ca>\n").problems
    assert problem.message == "<ca>: no certificate in it"


def test_other_text_is_no_profile() -> None:
    for data in (b"", ROOT.pem, b"ca ca.crt\ncert a.crt\n", b"<html><ca></ca></html>", b"dev tun\n"):
        assert not looks_like(data)


@given(damaged(PROFILE))
def test_any_damage_gives_a_result(data: bytes) -> None:
    looks_like(data)
    read(data)
