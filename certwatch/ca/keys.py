"""From where a key is said to be to a key that signs."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from certwatch.ca import key_file, pkcs11_uri
from certwatch.ca.failure import CAError
from certwatch.ca.signer import ForeignKey, KeyType, foreign_key

if TYPE_CHECKING:
    from certwatch.ca.token import TokenSource

FILE = "file:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What opens keys. Asked for when a key is opened, and not kept."""

    #: Of key files. Raises CAError "pin".
    passphrase: Callable[[], bytes]
    #: Of the token, where its URI names no source for it. None: there is none.
    pin: Callable[[], str | None]


class KeyRing:
    """The keys of one CA, opened on first use, kept open."""

    def __init__(self, secrets: Secrets, *, more_tokens: Sequence[str] = ()) -> None:
        self._secrets = secrets
        #: Other tokens that hold the same keys.
        self._more = [pkcs11_uri.parse(each) for each in more_tokens]
        self._open: dict[str, ForeignKey] = {}

    def open(self, reference: str) -> ForeignKey:
        """Raises CAError."""
        if reference not in self._open:
            if reference.startswith(FILE):
                self._open[reference] = key_file.load(
                    Path(reference.removeprefix(FILE)), self._secrets.passphrase()
                )
            else:
                self._open[reference] = self._in_token(pkcs11_uri.parse(reference))
        return self._open[reference]

    def create(self, place: str, key_type: KeyType, label: str) -> str:
        """Make a key at a place ("file:/path", or the URI of a token), and say where it is. Raises CAError."""
        if place.startswith(FILE):
            path = Path(place.removeprefix(FILE)).absolute()
            self._open[f"{FILE}{path}"] = key_file.create(path, key_type, self._secrets.passphrase())
            return f"{FILE}{path}"
        uri = pkcs11_uri.parse(place)
        id = hashlib.sha256(os.urandom(32)).digest()[:8]
        from certwatch.ca.token import TokenGone

        source = self._source(uri.with_key(label=uri.object or label, id=id))
        try:
            source.generate(key_type, uri.object or label, id)
            said = source.attest()
        except TokenGone as error:
            raise CAError("token", f"{error}. See that the token is there and initialised") from error
        if said["extractable"] or not (said["sensitive"] and said["local"]):
            raise CAError("token", f"{source.name}: the token says that this key can leave it: {said}")
        return source.name

    def _source(self, uri: pkcs11_uri.TokenURI) -> "TokenSource":
        from certwatch.ca.token import TokenSource

        return TokenSource(uri, lambda: self._pin(uri))

    def _pin(self, uri: pkcs11_uri.TokenURI) -> str:
        if uri.pin_value is not None:
            return uri.pin_value
        if uri.pin_source is not None:
            path = uri.pin_source.removeprefix("file:")
            try:
                pin = Path(path).read_text().removesuffix("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise CAError("pin", f"{path}: the PIN cannot be read from it") from error
            if pin:
                return pin
            raise CAError("pin", f"{path}: is empty: write the token's PIN into it")
        pin_given = self._secrets.pin()
        if pin_given is None:
            raise CAError(
                "pin", f"{uri.public}: no PIN. Add pin-source=file:/path to the URI, or set CERTWATCH_CA_PIN"
            )
        return pin_given

    def _in_token(self, uri: pkcs11_uri.TokenURI) -> ForeignKey:
        try:
            from certwatch.ca.key_pool import PooledSigner
            from certwatch.ca.token import TokenGone
        except ImportError as error:
            raise CAError(
                "token", 'keys in tokens need python-pkcs11. Install it: pip install "certwatch[ca]"'
            ) from error
        from dataclasses import replace

        others = [replace(each, object=uri.object, id=uri.id) for each in self._more]
        sources = [self._source(each) for each in [uri, *others]]
        failure: Exception | None = None
        for source in sources:
            try:
                public = source.public_key()
                break
            except (TokenGone, CAError) as error:
                failure = error
        else:
            if isinstance(failure, CAError):
                raise failure
            raise CAError("token", f"{failure}. See that the token is there") from failure
        return foreign_key(PooledSigner(uri.public, sources), public)

    def attest(self, reference: str) -> dict[str, bool] | None:
        """What the token says of a key. None: the key is in a file."""
        if reference.startswith(FILE):
            return None
        from certwatch.ca.token import TokenGone

        try:
            return self._source(pkcs11_uri.parse(reference)).attest()
        except TokenGone as error:
            raise CAError("token", str(error)) from error
