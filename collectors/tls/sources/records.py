"""DNS as a source of targets: from what it says to endpoints."""

import base64
import binascii
from collections.abc import Iterable, Iterator

from certwatch.doors.dns_answers import Record, TransferSecret, ask, transfer
from certwatch.doors.failure import LookFailed
from collectors.tls.sources.config import DNSSource, server_address
from collectors.tls.starttls import PROTOCOLS
from collectors.tls.targets import Target, parse

#: Services of SRV records (RFC 2782, 6186, 6120) that begin in the clear, by their label.
SERVICES = {
    "_smtp": "smtp",
    "_submission": "submission",
    "_imap": "imap",
    "_pop3": "pop3",
    "_sieve": "sieve",
    "_nntp": "nntp",
    "_ldap": "ldap",
    "_ftp": "ftp",
    "_xmpp-client": "xmpp-client",
    "_xmpp-server": "xmpp-server",
    "_postgresql": "postgres",
}
#: Of one zone.
MOST_RECORDS = 2_000_000


async def look_up(source: DNSSource, name: str) -> list[Target]:
    """Of one name. Empty: DNS says that there is nothing. Raises LookFailed."""
    server = server_address(source.server) if source.server is not None else None
    found = await ask(name, source.type, server=server, seconds=source.timeout)
    return list(_of_names(found, source))


def zone(source: DNSSource) -> list[Target]:
    """Every host of a zone: names with an address or an alias; and where SRV and MX records lead, by their own ports.
    Blocking. Raises LookFailed."""
    assert source.zone is not None  # noqa: S101 - checked by the config
    found = transfer(
        source.zone,
        server=server_address(source.server) if source.server is not None else None,
        secret=_secret(source),
        seconds=source.timeout,
        most=MOST_RECORDS,
    )
    return list(_of_zone(found, source))


def _of_names(records: Iterable[Record], source: DNSSource) -> Iterator[Target]:
    for each in records:
        if each.kind in ("SRV", "MX"):
            yield from _service(each, source.protocol)
        else:
            # An address of a name, asked for by that name.
            shown = f"[{each.host}]" if ":" in each.host else each.host
            more = f"&protocol={source.protocol}" if source.protocol else ""
            for span in parse(f"localhost:{source.ports}").probed_ports:
                for port in span:
                    yield from _parsed(f"tls://{shown}:{port}/?sni={each.name}{more}")


def _of_zone(records: Iterable[Record], source: DNSSource) -> Iterator[Target]:
    targets: dict[str, Target] = {}
    for each in records:
        if each.kind in ("SRV", "MX"):
            found = _service(each, None)
        elif each.name and not each.name.startswith("_"):
            found = _parsed(_with_protocol(f"{each.name}:{source.ports}", source.protocol))
        else:
            continue
        targets |= {target.text: target for target in found}
    yield from targets.values()


def _service(record: Record, protocol: str | None) -> Iterator[Target]:
    if not record.host or (record.kind == "SRV" and not record.port):
        return
    if record.kind == "MX":
        yield from _parsed(f"{record.host}:25/{protocol or 'smtp'}")
        return
    protocol = protocol or SERVICES.get(record.name.partition(".")[0].lower())
    yield from _parsed(_with_protocol(f"{record.host}:{record.port}", protocol))


def _with_protocol(text: str, protocol: str | None) -> str:
    return f"{text}/{protocol}" if protocol in PROTOCOLS else text


def _parsed(text: str) -> Iterator[Target]:
    # What DNS says may be no host name: it is passed over.
    try:
        yield parse(text)
    except ValueError:
        return


def _secret(source: DNSSource) -> TransferSecret | None:
    key = source.tsig
    if key is None:
        return None
    try:
        secret = base64.b64decode(key.secret.get_secret_value(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise LookFailed("other", f"{source.zone}: the TSIG key's secret is not base64") from error
    return TransferSecret(name=key.name, secret=secret, algorithm=key.algorithm)
