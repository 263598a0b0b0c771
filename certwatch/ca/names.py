"""Names as they are asked for ("dns:www.example.com"): are they well-formed, and may this requester have them?"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from cryptography import x509

from certwatch.ca.failure import CAError
from certwatch.ca.profiles import MOST_NAMES, Profile
from certwatch.config.ca import NameKeys
from certwatch.model.shown import shown

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_SPIFFE_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")


def refused(name: str, why: str) -> CAError:
    return CAError("refused", f"{shown(name)[:300]}: {why}")


def normal(name: str) -> str:
    """A name in the form that it is compared and written in. Raises CAError "refused"."""
    kind, colon, value = name.partition(":")
    if not colon or not value or len(name) > 2048:
        raise refused(name, "is not a name like dns:www.example.com, ip:10.0.0.1, email:…, uri:…")
    if kind == "dns":
        return f"dns:{_host(name, value)}"
    if kind == "ip":
        try:
            address = ip_address(value)
        except ValueError as error:
            raise refused(name, "is not an IP address") from error
        if "%" in value:
            raise refused(name, "an address with a zone means something on one machine only")
        return f"ip:{address}"
    if kind == "email":
        mailbox, at, domain = value.rpartition("@")
        if not at or _MAILBOX.fullmatch(mailbox) is None:
            raise refused(name, "is not an e-mail address")
        return f"email:{mailbox}@{_host(name, domain)}"
    if kind == "uri":
        return f"uri:{_uri(name, value)}"
    raise refused(name, "names of this kind are not put into certificates (dns, ip, email, uri are)")


def _host(name: str, value: str) -> str:
    # Before the small letters: those of some other scripts are ASCII's (U+212A becomes "k").
    host = value.lower().removesuffix(".") if value.isascii() and not value.endswith("..") else ""
    labels = host.removeprefix("*.").split(".")
    if (
        len(host) > 253
        or any(_LABEL.fullmatch(each) is None or not _is_real(each) for each in labels)
        or (host.startswith("*.") and len(labels) < 2)
    ):
        raise refused(
            name, "is not a host name (RFC 1123; other scripts as xn--…; a wildcard is the whole first label)"
        )
    if labels[-1].isdigit():
        raise refused(name, "is an address: ask for ip:…")
    return host


def _is_real(label: str) -> bool:
    """Of one in another script: it is written as that script's name is, and no other way (RFC 5891, 4.4)."""
    if not label.startswith("xn--"):
        return True
    try:
        text = label[4:].encode().decode("punycode")
        return not text.isascii() and f"xn--{text.encode('punycode').decode()}" == label
    except (ValueError, OverflowError):
        return False


def _uri(name: str, value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise refused(name, "is not a URI")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise refused(name, "is not a URI") from error
    if not parts.scheme or not host:
        raise refused(name, "is not a URI with a scheme and a host")
    if any(unquote(each) in (".", "..") for each in parts.path.split("/")):
        raise refused(name, "has a path that leads elsewhere than it says (. or ..)")
    if parts.scheme == "spiffe" and (
        parts.query or parts.fragment or "@" in parts.netloc or ":" in parts.netloc or len(value) > 2048
        or (parts.path and _SPIFFE_PATH.fullmatch(parts.path) is None)
        or parts.netloc != parts.netloc.lower()
    ):  # fmt: skip
        raise refused(name, "is not a SPIFFE ID: spiffe://trust.domain/path, nothing else")
    return value


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """Normal, each once, in order. Raises CAError "refused"."""
    found = tuple(dict.fromkeys(normal(each) for each in names))
    if len(found) > MOST_NAMES:
        raise CAError("refused", f"{len(found)} names: at most {MOST_NAMES} in a certificate")
    return found


def general_name(name: str) -> x509.GeneralName:
    kind, _, value = name.partition(":")
    if kind == "dns":
        return x509.DNSName(value)
    if kind == "ip":
        return x509.IPAddress(ip_address(value))
    if kind == "email":
        return x509.RFC822Name(value)
    return x509.UniformResourceIdentifier(value)


def name_of(general: x509.GeneralName) -> str:
    """Raises CAError "refused" for kinds that are never put into certificates."""
    if isinstance(general, x509.DNSName):
        return f"dns:{general.value}"
    if isinstance(general, x509.IPAddress):
        return f"ip:{general.value}"
    if isinstance(general, x509.RFC822Name):
        return f"email:{general.value}"
    if isinstance(general, x509.UniformResourceIdentifier):
        return f"uri:{general.value}"
    raise CAError(
        "refused",
        f"the request has a name of a kind that is not put into certificates ({type(general).__name__})",
    )


def check_allowed(names: Sequence[str], profile: Profile, requester: str, *, local: bool) -> None:
    """Raises CAError "refused", naming the first that is not allowed. `local`: somebody on this machine asks."""
    for name in names:
        kind = name.partition(":")[0]
        if kind not in profile.kinds:
            takes = ", ".join(profile.kinds) or "none"
            raise refused(name, f"a certificate of profile {profile.name} has no such name (kinds: {takes})")
    if not profile.names:
        if not local:
            raise CAError(
                "refused",
                f"profile {profile.name} says of no name who may have it: set ca: profiles: {profile.name}: names",
            )
        return
    rules = [each for each in profile.names if any(_is_requester(one, requester) for one in each.requesters)]
    if not rules:
        # Also who asks for no name at all: a subject is something to have, too.
        raise CAError(
            "refused",
            f'profile {profile.name} gives nothing to "{shown(requester)[:100]}" (its names: requesters)',
        )
    for name in names:
        if not any(_allows(rule, name) for rule in rules):
            raise refused(
                name, f'profile {profile.name} does not give this name to "{shown(requester)[:100]}"'
            )


def _is_requester(pattern: str, requester: str) -> bool:
    return requester.startswith(pattern[:-1]) if pattern.endswith("*") else requester == pattern


def below(name: str, pattern: str) -> bool:
    """`example.com`: this one; `.example.com`: all below it."""
    return name.endswith(pattern) and len(name) > len(pattern) if pattern.startswith(".") else name == pattern


def _allows(rule: NameKeys, name: str) -> bool:
    kind, _, value = name.partition(":")
    if kind == "dns":
        if value.startswith("*."):
            # What a wildcard covers is below its base.
            base = value[2:]
            return rule.wildcards and any(
                below(base, each) or f".{base}" == each for each in rule.dns if each.startswith(".")
            )
        return any(below(value, each) for each in rule.dns)
    if kind == "ip":
        return any(ip_address(value) in ip_network(each) for each in rule.ip)
    if kind == "email":
        address = value.lower()
        return any(address.endswith(each) if each.startswith("@") else address == each for each in rule.email)
    return any(_begins(value, each) for each in rule.uri)


def _begins(uri: str, pattern: str) -> bool:
    """`spiffe://example.com/web` is this one and what is below it, and neither /webmaster nor another host's. Only where a "*"
    says so the last part goes on: `spiffe://example.com/web-*`."""
    if pattern.endswith("*"):
        # The host is whole in any case.
        return pattern.count("/") > 2 and uri.startswith(pattern[:-1])
    return uri == pattern or uri.startswith(pattern if pattern.endswith("/") else f"{pattern}/")


def check_constraints(names: Sequence[str], issuer: x509.Certificate) -> None:
    """What the issuer's own name constraints (RFC 5280, 4.2.1.10) forbid is refused here, not by clients later."""
    constraints = _constraints_of(issuer)
    if constraints is None:
        return
    for name in names:
        permitted = [each for each in constraints.permitted_subtrees or () if _same_kind(each, name)]
        if permitted and not any(_within(name, each) for each in permitted):
            raise refused(name, "is outside of what the issuer is permitted (its name constraints)")
        excluded = [each for each in constraints.excluded_subtrees or () if _same_kind(each, name)]
        if any(_within(name, each) or _covers(name, each) for each in excluded):
            raise refused(name, "is excluded by the issuer's name constraints")


@lru_cache(64)
def _constraints_of(issuer: x509.Certificate) -> x509.NameConstraints | None:
    try:
        return issuer.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None


_KINDS = {
    x509.DNSName: "dns",
    x509.IPAddress: "ip",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "uri",
}


def _same_kind(constraint: x509.GeneralName, name: str) -> bool:
    return _KINDS.get(type(constraint)) == name.partition(":")[0]


def _covers(name: str, constraint: x509.GeneralName) -> bool:
    """A wildcard stands for what is excluded as well: *.example.com is also secret.example.com."""
    kind, _, value = name.partition(":")
    if kind != "dns" or not value.startswith("*."):
        return False
    held = str(constraint.value).lower().removeprefix(".")
    return held.partition(".")[2] == value[2:]


def _within(name: str, constraint: x509.GeneralName) -> bool:
    kind, _, value = name.partition(":")
    if kind == "ip":
        address = ip_address(value)
        return address.version == constraint.value.version and address in constraint.value
    held = str(constraint.value).lower()
    if not held:
        return True  # every name of its kind (RFC 5280, 4.2.1.10)
    if kind == "dns":
        host = value.removeprefix("*.")
        return host == held or host.endswith("." + held.removeprefix("."))
    if kind == "email":
        mailbox = value.lower()
        domain = mailbox.rpartition("@")[2]
        return mailbox == held if "@" in held else below(domain, held)
    return below((urlsplit(value).hostname or "").lower(), held)
