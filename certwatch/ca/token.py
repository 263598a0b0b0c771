"""The door to PKCS#11 tokens: the one module that knows the binding.

Beware of the binding (python-pkcs11): it initialises libraries as if the program had one thread, and yet lets go of the
interpreter's lock. So libraries are initialised here, with operating system locking (PKCS#11 v2.40, 5.4).
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pkcs11
import pkcs11._pkcs11 as binding
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.util import ec as ec_parameters

from certwatch.ca.failure import CAError
from certwatch.ca.pkcs11_uri import TokenURI
from certwatch.ca.signer import Mechanism as OurMechanism
from certwatch.ca.signer import PublicKey

_OS_LOCKING = 2
_ALREADY_INITIALIZED = 0x191

_MECHANISMS: Mapping[OurMechanism, Mechanism] = {
    "ecdsa": Mechanism.ECDSA,
    "rsa-sha256": Mechanism.SHA256_RSA_PKCS,
    "rsa-sha384": Mechanism.SHA384_RSA_PKCS,
    "rsa-sha512": Mechanism.SHA512_RSA_PKCS,
    "eddsa": Mechanism.EDDSA,
}
#: A PIN that is wrong is never tried again: hardware locks itself.
_PIN = (
    pkcs11.PinIncorrect,
    pkcs11.PinLocked,
    pkcs11.PinExpired,
    pkcs11.PinInvalid,
    pkcs11.PinLenRange,
    pkcs11.UserPinNotInitialized,
)
#: Opening anew does not help.
_LASTING = (
    pkcs11.MechanismInvalid,
    pkcs11.MechanismParamInvalid,
    pkcs11.KeyTypeInconsistent,
    pkcs11.FunctionNotSupported,
)
_CURVES: Mapping[str, tuple[str, type[ec.EllipticCurve]]] = {
    "ec-p256": ("secp256r1", ec.SECP256R1),
    "ec-p384": ("secp384r1", ec.SECP384R1),
}

#: tpm2-pkcs11 (1.9) makes a pair only when its public half says nothing of verifying, and that it encrypts; what the private
#: half may do is as for every other token.
_PUBLIC_OF_TPMS: Mapping[Attribute, Any] = {
    Attribute.VERIFY: None,
    Attribute.ENCRYPT: True,
    Attribute.WRAP: None,
}

#: The curve's name as a PrintableString (PKCS#11 v3.0, 2.3.10).
_EDWARDS25519 = b"\x13\x0cedwards25519"


class TokenGone(Exception):
    """Handles or the token itself are lost: what is open is to be dropped and opened anew."""


class _InitArgs(ctypes.Structure):
    _fields_ = (
        ("create", ctypes.c_void_p),
        ("destroy", ctypes.c_void_p),
        ("lock", ctypes.c_void_p),
        ("unlock", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    )


class _Library(binding.lib):
    def __init__(self, so: str) -> None:
        self._path = so
        super().__init__(so)

    def initialize(self) -> None:
        status = ctypes.CDLL(self._path).C_Initialize(ctypes.byref(_InitArgs(flags=_OS_LOCKING)))
        if status not in (0, _ALREADY_INITIALIZED):
            raise pkcs11.GeneralError(f"C_Initialize: 0x{status:x}")


class Module:
    """One PKCS#11 library in this process. Calls may come from any thread; `reset` waits until none is inside."""

    def __init__(self, path: str) -> None:
        self.path = path
        #: Counts resets: what was opened in an earlier generation is dead.
        self.generation = 0
        self._pid = os.getpid()
        self._inside = 0
        self._changed = threading.Condition()
        self._resetting = False
        with translated(path):
            self._library = _Library(path)

    def using(self) -> "_Using":
        """`with` it: inside, the library."""
        if os.getpid() != self._pid:
            raise CAError(
                "token", f"{self.path}: a forked process must not use its parent's token. Start a new one"
            )
        return _Using(self)

    def reset(self, generation: int) -> None:
        """C_Finalize and C_Initialize: the only thing that some libraries recover by. Once for all who ask with the same
        generation."""
        with self._changed:
            while self._inside or self._resetting:
                self._changed.wait()
            if self.generation != generation:
                return
            self._resetting = True
        try:
            ctypes.CDLL(self.path).C_Finalize(None)
            with translated(self.path):
                self._library.initialize()
        finally:
            with self._changed:
                self.generation += 1
                self._resetting = False
                self._changed.notify_all()


class _Using:
    """Not a generator: it is entered for each signature."""

    __slots__ = ("_module",)

    def __init__(self, module: Module) -> None:
        self._module = module

    def __enter__(self) -> Any:
        module = self._module
        with module._changed:
            while module._resetting:
                module._changed.wait()
            module._inside += 1
        return module._library

    def __exit__(self, *exc: object) -> None:
        module = self._module
        with module._changed:
            module._inside -= 1
            if not module._inside:
                module._changed.notify_all()


_modules: dict[str, Module] = {}
_modules_lock = threading.Lock()


def module_of(path: str) -> Module:
    """One a process for each library: initialising it twice is an error of PKCS#11."""
    with _modules_lock:
        if path not in _modules:
            if not os.path.exists(path):
                raise CAError("token", f"{path}: there is no such PKCS#11 library. Correct module-path")
            _modules[path] = Module(path)
        return _modules[path]


@contextmanager
def translated(where: str) -> Iterator[None]:
    """The binding's errors become ours: CAError for what stays, TokenGone for what opening anew may cure."""
    try:
        yield
    except _PIN as error:
        raise CAError(
            "pin",
            f"{where}: {type(error).__name__}. It is not tried again, since tokens lock themselves: give the right PIN",
        ) from error
    except _LASTING as error:
        raise CAError("token", f"{where}: the token cannot do this ({type(error).__name__})") from error
    except pkcs11.PKCS11Error as error:
        raise TokenGone(f"{where}: {type(error).__name__} {error}".strip()) from error


class TokenSource:
    """One key in one token, and how to come to it."""

    def __init__(self, uri: TokenURI, pin: Callable[[], str]) -> None:
        self.uri = uri
        self.name = uri.public
        self._pin = pin
        self.module = module_of(uri.module_path)
        #: Holds the login, which is the application's and not a session's. Owned under `_lock`.
        self._anchor: Any = None
        self._generation = -1
        self._lock = threading.Lock()

    def _token(self, library: Any) -> Any:
        wanted = {"token_label": self.uri.token, "token_serial": self.uri.serial and self.uri.serial.encode()}
        found = list(
            library.get_tokens(**{name: value for name, value in wanted.items() if value is not None})
        )
        if not found:
            raise TokenGone(f"{self.name}: there is no such token")
        if len(found) > 1:
            raise CAError("usage", f"{self.name}: {len(found)} tokens are called so. Add serial=")
        return found[0]

    def session(self, library: Any, *, rw: bool = False) -> Any:
        """Inside `module.using()`. Logs in once a generation."""
        token = self._token(library)
        with self._lock:
            if self._generation != self.module.generation or self._anchor is None:
                try:
                    self._anchor = token.open(user_pin=self._pin())
                except pkcs11.UserAlreadyLoggedIn:
                    # Another key of the same token has done it.
                    self._anchor = token.open()
                self._generation = self.module.generation
        return token.open(rw=rw)

    def forget(self) -> None:
        with self._lock:
            self._anchor = None

    def key(self, session: Any) -> Any:
        template: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
        if self.uri.id is not None:
            template[Attribute.ID] = self.uri.id
        if self.uri.object is not None:
            template[Attribute.LABEL] = self.uri.object
        found = list(session.get_objects(template))
        if len(found) != 1:
            many = "no such key" if not found else f"{len(found)} such keys"
            raise TokenGone(f"{self.name}: {many} in the token")
        return found[0]

    def public_key(self) -> PublicKey:
        """Raises CAError, TokenGone."""
        with self.module.using() as library, translated(self.name):
            session = self.session(library)
            try:
                template: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PUBLIC_KEY}
                if self.uri.id is not None:
                    template[Attribute.ID] = self.uri.id
                if self.uri.object is not None:
                    template[Attribute.LABEL] = self.uri.object
                for each in session.get_objects(template):
                    return _public_of(each)
            finally:
                session.close()
        raise CAError("token", f"{self.name}: the token has no public key beside the private one")

    def attest(self) -> dict[str, bool]:
        """What the token says of the key."""
        with self.module.using() as library, translated(self.name):
            session = self.session(library)
            try:
                key = self.key(session)
                return {
                    name: bool(key[attribute])
                    for name, attribute in (
                        ("sensitive", Attribute.SENSITIVE),
                        ("always_sensitive", Attribute.ALWAYS_SENSITIVE),
                        ("extractable", Attribute.EXTRACTABLE),
                        ("never_extractable", Attribute.NEVER_EXTRACTABLE),
                        ("local", Attribute.LOCAL),
                    )
                }
            finally:
                session.close()

    def generate(self, key_type: str, label: str, id: bytes) -> None:
        """A pair that never leaves the token. Raises CAError, TokenGone."""
        if key_type.startswith("ml-dsa-"):
            # No token that has it could be had to try it with: nothing is said to work that was not seen to.
            raise CAError("token", f"{self.name}: {key_type} is made in key files alone as yet, for trials")
        private = {
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.DECRYPT: False,
            Attribute.UNWRAP: False,
            Attribute.SIGN: True,
        }
        keep: dict[str, Any] = {
            "store": True,
            "id": id,
            "label": label,
            "private_template": private,
            "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
        }
        with self.module.using() as library, translated(self.name):
            session = self.session(library, rw=True)
            try:
                try:
                    _generate(session, key_type, keep)
                except pkcs11.GeneralError:
                    _generate(session, key_type, {**keep, "public_template": _PUBLIC_OF_TPMS})
            finally:
                session.close()

    def open(self) -> "TokenSession":
        """Raises CAError, TokenGone."""
        generation = self.module.generation
        with self.module.using() as library, translated(self.name):
            session = self.session(library)
            return TokenSession(self, session, self.key(session), generation)

    def reset(self, generation: int) -> None:
        self.forget()
        self.module.reset(generation)


class TokenSession:
    """A session with the key found in it. One thread at a time."""

    def __init__(self, source: TokenSource, session: Any, key: Any, generation: int) -> None:
        self._source, self._session, self._key = source, session, key
        self.generation = generation

    def sign(self, mechanism: OurMechanism, data: bytes) -> bytes:
        source = self._source
        with source.module.using(), translated(source.name):
            if self.generation != source.module.generation:
                raise TokenGone(f"{source.name}: the session is from before a restart of the token")
            raw = cast("bytes", self._key.sign(data, mechanism=_MECHANISMS[mechanism]))
        if mechanism != "ecdsa":
            return raw
        half = len(raw) // 2
        if not half or len(raw) % 2:
            raise TokenGone(f"{source.name}: a signature of {len(raw)} bytes")
        return utils.encode_dss_signature(
            int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
        )

    def close(self) -> None:
        source = self._source
        if self.generation != source.module.generation:
            return
        try:
            with source.module.using(), translated(source.name):
                self._session.close()
        except (TokenGone, CAError):
            pass  # it is gone already


def _generate(session: Any, key_type: str, keep: Mapping[str, Any]) -> None:
    if key_type.startswith("rsa-"):
        session.generate_keypair(KeyType.RSA, int(key_type.removeprefix("rsa-")), **keep)
        return
    if key_type == "ed25519":
        encoded, kind = _EDWARDS25519, KeyType.EC_EDWARDS
    else:
        encoded, kind = ec_parameters.encode_named_curve_parameters(_CURVES[key_type][0]), KeyType.EC
    parameters = session.create_domain_parameters(kind, {Attribute.EC_PARAMS: encoded}, local=True)
    parameters.generate_keypair(**keep)


def _public_of(key: Any) -> PublicKey:
    kind = key[Attribute.KEY_TYPE]
    if kind == KeyType.RSA:
        exponent = int.from_bytes(key[Attribute.PUBLIC_EXPONENT], "big")
        return rsa.RSAPublicNumbers(exponent, int.from_bytes(key[Attribute.MODULUS], "big")).public_key()
    wrapped = key[Attribute.EC_POINT]
    # A DER OCTET STRING (PKCS#11 v2.40, 2.3.3); both kinds of point are shorter than 128 bytes.
    point = wrapped[2:] if wrapped[:1] == b"\x04" and len(wrapped) == wrapped[1] + 2 else wrapped
    if kind == KeyType.EC_EDWARDS:
        return Ed25519PublicKey.from_public_bytes(point)
    curve = ec.SECP256R1() if len(point) == 65 else ec.SECP384R1()
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
