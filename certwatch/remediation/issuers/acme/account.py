"""Our account at an ACME CA: its key is made once, and kept before the CA is told, so that a crash makes no second one."""

import json
import os
from base64 import urlsafe_b64decode
from datetime import UTC
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import requests
from acme import client, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from certwatch.model.clock import system_clock
from certwatch.remediation.issuers.acme.config import AcmeConfig

HTTP_SECONDS = 30
#: Seconds; who says more is asked again then all the same.
LONGEST_WAIT = 7 * 86400.0


class AccountFailed(Exception):
    """What cannot be read or written here, and why."""


class TooMany(Exception):
    """The CA has a limit, and it is reached. `retry_after`: seconds, by its own word; None: it said none."""

    def __init__(self, problem: messages.Error, retry_after: float | None) -> None:
        super().__init__(str(problem.detail or problem.code))
        self.retry_after = retry_after


class Network(client.ClientNetwork):
    """The library's, which forgets until when a CA wants to be left alone (RFC 8555, 6.6)."""

    @classmethod
    def _check_response(
        cls, response: requests.Response, content_type: str | None = None
    ) -> requests.Response:
        try:
            return super()._check_response(response, content_type)
        except messages.Error as problem:
            if problem.code != "rateLimited":
                raise
            raise TooMany(problem, _seconds(response.headers.get("Retry-After"))) from problem


def _seconds(said: str | None) -> float | None:
    """Of a Retry-After (RFC 9110, 10.2.3): seconds, or a date."""
    if not said:
        return None
    if said.strip().isascii() and said.strip().isdigit():
        return min(float(said), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(said)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max(0.0, (at - system_clock()).total_seconds()), LONGEST_WAIT)


class Account:
    def __init__(self, config: AcmeConfig, folder: Path) -> None:
        self._config = config
        name = sha256(f"{config.directory} {config.binding or ''}".encode()).hexdigest()[:32]
        self.path = folder / f"acme-{name}.json"

    def open(self) -> client.ClientV2:
        """Blocking: registers where that was not done. Raises AccountFailed, and what the library raises."""
        held = self._read()
        key = JWK.from_json(held["key"])
        if not isinstance(key, JWKEC):
            raise AccountFailed(f"{self.path}: has no key on a curve")
        net = Network(key, alg=ES256, user_agent="certwatch", timeout=HTTP_SECONDS, verify_ssl=True)
        if self._config.trust_file is not None:
            # The library hands this on to requests, which takes a path as well.
            net.verify_ssl = self._config.trust_file  # type: ignore[assignment]
        made = client.ClientV2(client.ClientV2.get_directory(self._config.directory, net), net)
        uri = held.get("uri")
        if uri is None:
            uri = self._register(made, key)
            self._write({**held, "uri": uri})
        net.account = messages.RegistrationResource(uri=uri, body=messages.Registration())
        return made

    def forget(self) -> None:
        """The CA does not know it any more; the key is kept."""
        held = self._read()
        held.pop("uri", None)
        self._write(held)

    def _register(self, opened: client.ClientV2, key: JWK) -> str:
        binding = None
        if self._config.binding is not None and self._config.binding_key_file is not None:
            binding = messages.ExternalAccountBinding.from_data(
                account_public_key=key.public_key(),
                kid=self._config.binding,
                hmac_key=_line(self._config.binding_key_file),
                directory=opened.directory,
            )
        wanted = messages.NewRegistration(
            contact=tuple(f"mailto:{each}" for each in self._config.email),
            terms_of_service_agreed=True,
            external_account_binding=binding,
        )
        try:
            return str(opened.new_account(wanted).uri)
        except errors.ConflictError as known:
            return str(known.location)

    def _read(self) -> dict[str, Any]:
        try:
            held = json.loads(self.path.read_text())
            if not isinstance(held, dict) or not isinstance(held.get("key"), dict):
                raise ValueError("no account")
            return held
        except FileNotFoundError:
            key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
            fresh = {"directory": self._config.directory, "key": key.to_json()}
            self._write(fresh)
            return fresh
        except (OSError, ValueError) as error:
            raise AccountFailed(f"{self.path}: is not an ACME account: {error}") from error

    def _write(self, held: dict[str, Any]) -> None:
        fresh = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(held, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise AccountFailed(f"{self.path}: {error.strerror}") from error


def _line(path: str) -> str:
    """Raises AccountFailed."""
    try:
        text = Path(path).read_text().strip()
        urlsafe_b64decode(text + "==")
    except (OSError, ValueError) as error:
        raise AccountFailed(f"{path}: has no key in base64url: {error}") from error
    return text
