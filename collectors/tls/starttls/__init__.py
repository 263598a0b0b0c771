"""What is said before TLS, by protocol: generators of steps (`certwatch.doors.dialogue`), without I/O.

A further protocol is a generator and a row in PROTOCOLS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol as Promise

from certwatch.doors.dialogue import Dialogue
from collectors.tls.starttls.ftp import ftp
from collectors.tls.starttls.ldap import ldap
from collectors.tls.starttls.mail import imap, lmtp, pop3, sieve, smtp
from collectors.tls.starttls.mssql import mssql
from collectors.tls.starttls.mysql import mysql
from collectors.tls.starttls.nntp import nntp
from collectors.tls.starttls.postgres import postgres
from collectors.tls.starttls.rdp import rdp
from collectors.tls.starttls.xmpp import xmpp_client, xmpp_server


class Opening(Promise):
    def __call__(self, where: str, server_name: str | None = None) -> Dialogue:
        """The dialogue for one connection. `where`: the endpoint, for messages; `server_name`: what is asked for (SNI)."""
        ...


@dataclass(frozen=True, slots=True)
class Protocol:
    default_port: int
    dialogue: Opening


#: By the name that targets and `tls://…?protocol=` use.
PROTOCOLS: Mapping[str, Protocol] = {
    "smtp": Protocol(25, smtp),
    "submission": Protocol(587, smtp),
    "lmtp": Protocol(24, lmtp),
    "imap": Protocol(143, imap),
    "pop3": Protocol(110, pop3),
    "sieve": Protocol(4190, sieve),
    "ftp": Protocol(21, ftp),
    "nntp": Protocol(119, nntp),
    "ldap": Protocol(389, ldap),
    "xmpp-client": Protocol(5222, xmpp_client),
    "xmpp-server": Protocol(5269, xmpp_server),
    "postgres": Protocol(5432, postgres),
    "mysql": Protocol(3306, mysql),
    "mssql": Protocol(1433, mssql),
    "rdp": Protocol(3389, rdp),
}

#: The protocol that a port's services speak before TLS, where it is known.
BY_PORT: Mapping[int, str] = {protocol.default_port: name for name, protocol in PROTOCOLS.items()}
