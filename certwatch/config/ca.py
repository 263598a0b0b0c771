"""The keys of `ca:`, as models: where the embedded CA is, what it may make, and for whom."""

from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from certwatch.config.schema import NAME_PATTERN, Keys
from certwatch.plugins.duration import Duration

Usage = Literal["server", "client", "mtls", "code-signing", "email", "ocsp", "intermediate"]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise ValueError(f'"{value}" is not a network: write 10.0.0.0/8 ({error})') from error


def _pattern(value: str) -> str:
    text = value.lower()
    if not text or any(each.isspace() for each in text) or "*" in text:
        raise ValueError(
            f'"{value}" is not a name: write www.example.com for this one, .example.com for all below it'
        )
    return text


def _oid(value: str) -> str:
    if not all(part.isdigit() for part in value.split(".")) or value.count(".") < 2:
        raise ValueError(f'"{value}" is not an object identifier like 1.3.6.1.4.1.99999.1')
    return value


def _web(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("not a web address: it begins with http:// or https://")
    return value.rstrip("/")


Texts = Annotated[list[str], BeforeValidator(_listed)]
Patterns = Annotated[list[Annotated[str, AfterValidator(_pattern)]], BeforeValidator(_listed)]
Networks = Annotated[list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_listed)]
WebAddress = Annotated[str, AfterValidator(_web)]


class NameKeys(Keys):
    """Who may have which names."""

    #: Requesters that this is for; "*" ends a prefix, alone it is everybody.
    requesters: Texts = Field(default_factory=lambda: ["*"])
    #: Host names; with a dot in front all below it.
    dns: Patterns = Field(default_factory=list)
    #: Networks.
    ip: Networks = Field(default_factory=list)
    #: Addresses; with an @ in front all of a domain.
    email: Patterns = Field(default_factory=list)
    #: Beginnings of URIs, like spiffe://example.com/.
    uri: Texts = Field(default_factory=list)
    #: Also *.example.com, where example.com or all below it is allowed.
    wildcards: bool = False


class ProfileKeys(Keys):
    """What a kind of certificate looks like, and who gets it. What is not given is as in the built-in profile of the
    same name, or of `usage`."""

    usage: Usage | None = None
    #: Of a certificate when nobody asks for another.
    lifetime: Duration | None = None
    #: The longest that may be asked for.
    longest: Duration | None = None
    #: How far validity begins before now, for clocks that are behind.
    backdate: Annotated[Duration, Field(le=timedelta(hours=24))] | None = None
    #: Kinds of keys that are taken; rsa means 2048 to 4096 bits.
    key_types: (
        list[
            Literal["ec-p256", "ec-p384", "ec-p521", "rsa", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"]
        ]
        | None
    ) = None
    #: Who may have which names. Empty: every name, for people on this machine alone.
    names: list[NameKeys] | None = None
    #: Attributes that a subject may have beside its common name: O, OU, C, L, ST.
    subject: Annotated[list[Literal["O", "OU", "C", "L", "ST"]], BeforeValidator(_listed)] | None = None
    #: People who must approve, none of them the requester.
    approvals: Annotated[int, Field(ge=0, le=5)] | None = None
    #: Which intermediates make it: those of this environment. Empty: those without one.
    environment: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    #: Policy identifiers.
    policies: list[Annotated[str, AfterValidator(_oid)]] | None = None
    #: Servers with these certificates must staple (RFC 7633).
    must_staple: bool | None = None
    #: Of an intermediate: how many CAs below it.
    path_length: Annotated[int, Field(ge=0, le=5)] | None = None
    #: Of an intermediate: names it may issue for (critical name constraints), as domains and networks.
    permitted: Texts | None = None
    excluded: Texts | None = None


def _server(value: str) -> str:
    bare = value[1:].partition("]")[0] if value.startswith("[") else value
    host, _, port = (
        value.rpartition(":") if value.startswith("[") or value.count(":") == 1 else (bare, "", "53")
    )
    try:
        ip_address(host.strip("[]") or bare)
        if not 0 < int(port or 53) < 65536:
            raise ValueError("port")
    except ValueError as error:
        raise ValueError(
            f'"{value}" is not a name server: write 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:53'
        ) from error
    return value


Port = Annotated[int, Field(ge=1, le=65535)]


class AcmeKeys(Keys):
    """The ACME server, on the CA's listener at /acme/directory."""

    #: Where clients reach it, if that is not the address that they say: https://ca.example.com/acme.
    url: WebAddress = ""
    #: Profiles that clients may ask for; the first is what they get if they name none.
    profiles: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)] = Field(
        default_factory=lambda: ["server"]
    )
    #: Accounts are made only with an external binding (certwatch ca binding NAME).
    require_binding: bool = False
    #: Private networks in which names may be validated. The public internet always may.
    networks: Networks = Field(default_factory=list)
    #: Name servers to ask. Empty: the system's.
    resolvers: Annotated[list[Annotated[str, AfterValidator(_server)]], BeforeValidator(_listed)] = Field(
        default_factory=list
    )
    #: Where http-01 is looked for; other than 80 only for trials.
    http_port: Port = 80
    #: Where tls-alpn-01 is looked for; other than 443 only for trials.
    tls_port: Port = 443
    #: Of one account.
    orders_per_hour: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    #: Of one name at one account: then it is refused for the rest of the hour.
    failures_per_hour: Annotated[int, Field(ge=1, le=10_000)] = 5
    #: Terms that must be agreed to.
    terms: WebAddress = ""
    #: What tells people about this CA.
    website: WebAddress = ""


class CaKeys(Keys):
    """The embedded CA."""

    #: Its folder: ledger, certificates, lock.
    directory: Annotated[str, Field(min_length=1)] | None = None
    #: PKCS#11 URI (RFC 7512) of the token that new keys are made in.
    token: str | None = None
    #: Tokens that hold the same keys, asked when the first does not answer.
    more_tokens: Texts = Field(default_factory=list)
    #: The token's PIN, where its URI has no pin-source.
    pin: SecretStr | None = None
    #: Key file for new keys, for trials.
    key_file: Annotated[str, Field(min_length=1)] | None = None
    #: Passphrase of key files.
    key_passphrase: SecretStr | None = None
    #: By name: settings, over the built-in profiles. Or a file that holds them.
    profiles: dict[Annotated[str, Field(pattern=NAME_PATTERN)], ProfileKeys] | str = Field(
        default_factory=dict
    )
    #: Where relying parties reach `listen`, as stands in every certificate: CRLs, OCSP, issuers.
    url: WebAddress = ""
    #: Where the daemon answers relying parties, by plain HTTP: host:port.
    listen: str | None = None
    #: Where it takes requests, by TLS with a certificate of its own: host:port.
    listen_tls: str | None = None
    #: Names in that certificate. Empty: this host's, and the address's.
    hostnames: Texts = Field(default_factory=list)
    #: Requesters whose client certificates may approve and revoke.
    admins: Texts = Field(default_factory=list)
    #: Requesters whose client certificates may read the ledger's entries over HTTP.
    auditors: Texts = Field(default_factory=list)
    #: By person, the names that they come by (ann: ["email:ann@example.com", "uri:spiffe://example.com/ann"]): who asked under
    #: one of them does not approve under another.
    people: dict[str, Texts] = Field(default_factory=dict)
    #: How long a CRL is valid.
    crl_lifetime: Duration = timedelta(days=7)
    #: How often a new one is made.
    crl_every: Duration = timedelta(days=1)
    #: Also a delta CRL, for clients that know deltas (RFC 5280, 5.2.4).
    crl_delta: bool = False
    #: Certificates of one CRL: the next ones go to a new one. Counts for certificates made from now on.
    crl_partition_size: Annotated[int, Field(ge=10, le=1_000_000)] = 100_000
    #: More than 1: so many CRLs from the first certificate on, that certificates are spread over.
    crl_partitions: Annotated[int, Field(ge=1, le=256)] = 1
    #: How long an answer of the OCSP responder holds.
    ocsp_lifetime: Annotated[Duration, Field(ge=timedelta(minutes=5), le=timedelta(days=7))] = timedelta(
        hours=4
    )
    #: Lint what would be signed, and sign nothing that has faults.
    lint: bool = True
    #: Let ACME clients fetch certificates by themselves.
    acme: AcmeKeys | None = None
