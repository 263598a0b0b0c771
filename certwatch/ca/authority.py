"""One CA in one process: its lock, its ledger, its issuers and their keys."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca import database, ledger
from certwatch.ca.certificate import Issuer
from certwatch.ca.failure import CAError
from certwatch.ca.keys import KeyRing, Secrets
from certwatch.ca.lint import Lint
from certwatch.ca.readers import Readers
from certwatch.ca.settings import CASettings
from certwatch.model.clock import Clock
from certwatch.telemetry.metrics import CA_SIGNATURES, CA_WAITING

#: Called with the name of each step that a crash could come after; tests crash there.
Step = Callable[[str], None]


def _go_on(step: str) -> None:
    return


class Authority:
    """`with` it. Its methods may be called from any thread and take turns: one act at a time."""

    def __init__(
        self,
        settings: CASettings,
        secrets: Secrets,
        clock: Clock,
        *,
        create: bool = False,
        step: Step = _go_on,
    ) -> None:
        """Raises CAError: "not-found" without `create`, "locked" when another process has it, "ledger"."""
        self.settings = settings
        self.clock = clock
        self.step = step
        self.keys = KeyRing(secrets, more_tokens=settings.more_tokens)
        #: Held by whoever acts; guards the connection.
        self.turn = threading.RLock()
        #: Held while a CRL is made, which may take seconds. Never taken by who holds `turn`.
        self.crl_turn = threading.RLock()
        #: Told after a revocation which CRL is due. None: whoever revokes makes it. The daemon has a task for it.
        self.crl_due: Callable[[Issuer, int], None] | None = None
        directory = settings.directory
        if create:
            with database.translate(directory):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not database.file_of(directory).exists():
            raise CAError(
                "not-found", f"{directory}: there is no CA. Make one: certwatch ca init --name NAME --root"
            )
        self._lock = database.Lock(directory)
        #: For what only reads: does not wait for its turn.
        self.readers = Readers(directory)
        #: Issuers (by number) about which no OCSP answer is given, until when by the monotonic clock: an exercise.
        self.ocsp_paused: dict[int, float] = {}
        self.lint = Lint(wanted=settings.lint)
        try:
            if create:
                database.create(directory)
                ledger.create(directory)
            self.connection = database.open_existing(directory)
            try:
                with database.translate(database.file_of(directory)):
                    database.upgrade(self.connection)
                self.ledger = ledger.Ledger(directory, self.connection)
                self.settle_interrupted()
                self._count_waiting()
            except BaseException:
                self.connection.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        with self.turn:
            self.readers.close()
            self.connection.close()
            self._lock.release()

    @contextmanager
    def act(self) -> Iterator["ledger._Act"]:
        """One transaction with its entries; see `Ledger.act`."""
        with self.turn, self.ledger.act(self.clock()) as act:
            yield act

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.turn, database.translate(self.ledger.path):
            return self.connection.execute(sql, values).fetchall()

    def settle_interrupted(self) -> None:
        """A crash, or a full disk, between intent and entry: the certificate may have been signed, and left nobody's hands. It counts as
        issued and revoked, so that nothing unrecorded can ever be trusted."""
        interrupted = self.rows("SELECT serial FROM certificates WHERE state = 'intended'")
        if not interrupted:
            return
        with self.act() as act:
            act.connection.execute(
                "UPDATE certificates SET state = 'lost', revoked = ?, reason = 'unspecified' WHERE state = 'intended'",
                (act.instant,),
            )
            act.append("interrupted", [{"serial": serial.hex()} for (serial,) in interrupted])
            act.append(
                "revocation",
                [
                    {"serial": serial.hex(), "reason": "unspecified", "by": "certwatch"}
                    for (serial,) in interrupted
                ],
            )

    def _count_waiting(self) -> None:
        [(waiting,)] = self.rows("SELECT count(*) FROM requests WHERE state = 'waiting'")
        CA_WAITING.set(waiting)

    def issuers(self, *, retired: bool = False) -> list[Issuer]:
        """Those that have a certificate, oldest first."""
        found = []
        for id, name, kind, key, der, chain, environment, ended in self.rows(
            "SELECT id, name, kind, key, certificate, chain, environment, retired FROM issuers"
            " WHERE certificate IS NOT NULL ORDER BY id"
        ):
            if ended is None or retired:
                found.append(
                    Issuer(
                        id=id,
                        name=name,
                        kind=kind,
                        key=key,
                        certificate=x509.load_der_x509_certificate(der),
                        chain=bytes(chain),
                        environment=environment,
                        retired=ended is not None,
                    )
                )
        return found

    def issuer(
        self, name: str | None = None, *, environment: str | None = None, retired: bool = False
    ) -> Issuer:
        """The named one; else the newest intermediate in use, of an environment if one is given ("": of none), else the newest
        root. Raises CAError."""
        issuers = self.issuers(retired=retired)
        if name is not None:
            for each in issuers:
                if each.name == name:
                    return each
            known = ", ".join(each.name for each in issuers) or "none"
            raise CAError("usage", f'no issuer is called "{name}" (known: {known})')
        if not issuers:
            raise CAError(
                "not-found",
                f"{self.settings.directory}: no issuer has a certificate yet. See certwatch ca init",
            )
        intermediates = [each for each in issuers if each.kind == "intermediate"]
        fit = [each for each in intermediates if environment is None or each.environment == environment]
        if intermediates and not fit:
            known = ", ".join(dict.fromkeys(each.environment for each in intermediates if each.environment))
            wanted = f"for {environment}" if environment else "without an environment"
            raise CAError(
                "usage",
                f"no intermediate {wanted} (known: {known or 'none'}). Set the profile's environment, or name the issuer",
            )
        if environment and not fit:
            raise CAError(
                "usage", f"no intermediate for {environment}: certwatch ca init --intermediate --environment"
            )
        return (fit or issuers)[-1]

    def newest_list(self, issuer: Issuer) -> tuple[int, int]:
        """The number of the issuer's newest CRL, and how many certificates belong to it."""
        rows = self.rows(
            "SELECT shard, certificates FROM shards WHERE issuer = ? ORDER BY shard DESC LIMIT 1", issuer.id
        )
        return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)

    def signing(self, issuer: Issuer, purpose: str, sign: Callable[[Any], Any]) -> Any:
        """Have the issuer's key used, counted. Raises CAError."""
        return self.signing_by(issuer.key, issuer.certificate, issuer.name, purpose, sign)

    def signing_by(
        self,
        reference: str,
        certificate: x509.Certificate,
        name: str,
        purpose: str,
        sign: Callable[[Any], Any],
    ) -> Any:
        """Have the key of a certificate used, counted under an issuer's name. Raises CAError."""
        try:
            key = self.keys.open(reference)
            if key.public_key() != certificate.public_key():
                raise CAError("token", f"{reference}: is not the key of the certificate of {name}")
            result = sign(key)
        except CAError as error:
            CA_SIGNATURES.labels(name, purpose, error.kind).inc()
            raise
        CA_SIGNATURES.labels(name, purpose, "ok").inc()
        return result


def instant(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)


def chain_pem(certificate: x509.Certificate, issuer: Issuer) -> bytes:
    """As a server presents it: leaf first, the root left out."""
    above = issuer.certificate.public_bytes(Encoding.PEM) if issuer.kind != "root" else b""
    return certificate.public_bytes(Encoding.PEM) + above + issuer.chain


def chain_of(authority: Authority, serial: bytes) -> bytes:
    """Of a certificate that was issued: PEM, as a server presents it. Raises CAError "not-found"."""
    rows = authority.rows("SELECT der, issuer FROM certificates WHERE serial = ? AND der IS NOT NULL", serial)
    if not rows:
        raise CAError("not-found", f"{serial.hex()}: this CA has made no certificate with this serial number")
    [(der, issuer)] = rows
    above = next(each for each in authority.issuers(retired=True) if each.id == issuer)
    return chain_pem(x509.load_der_x509_certificate(der), above)
