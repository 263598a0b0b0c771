"""What the values of a secret become with a new certificate: each in the form that it had. No I/O."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certwatch.plugins.deployer import DeployFailed, Material
from certwatch.remediation.material import joined_pem, split_pem
from certwatch.x509.der import read
from certwatch.x509.keyed import Entry, Value, entries, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the settings say of where things stand; None: where they are found."""

    private_key: str | None = None
    chain: str | None = None

    def of(self, held: Mapping[str, object], key: str) -> list[str]:
        """All that a new certificate is written to, the certificate's own first. Raises DeployFailed."""
        entry = _found(held, key, self)
        return list(dict.fromkeys((key, *self.above(entry), self.key_beside(entry))))

    def above(self, entry: Entry) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*([self.chain] if self.chain else []), *entry.above)))

    def key_beside(self, entry: Entry) -> str:
        name = self.private_key or entry.private_key
        if name is None:
            raise DeployFailed(
                "not-found", f"has no private key beside {entry.key}. Say under which key: private_key"
            )
        return name


def fingerprint(der: bytes) -> str:
    return read(der).fingerprint_sha256.hex()


def the_entry(held: Mapping[str, object], key: str, keys: Keys) -> Entry | None:
    found = entries(held, lambda each: each == key, above=[keys.chain] if keys.chain else [])
    return next(iter(found), None)


def values_for(held: Mapping[str, object], key: str, keys: Keys, material: Material) -> dict[str, object]:
    """`held`: what the secret had with the former certificate. Raises DeployFailed."""
    entry = _found(held, key, keys)
    leaf, *rest = split_pem(material.chain_pem)
    above, private = keys.above(entry), keys.key_beside(entry)
    _check_shared(held, entry, above, rest)
    values: dict[str, object] = {
        key: _written(
            held.get(key), [leaf] if above else [leaf, *rest], material.key_pem if private == key else b""
        )
    }
    for number, name in enumerate(above):
        former = value_of(held.get(name))
        # A key for the issuer alone beside one for all that is above (Vault's own issuing_ca and ca_chain).
        one = number > 0 and former is not None and not former.is_list and _count(held, name) == 1
        values[name] = _written(held.get(name), rest[:1] if one else rest, b"")
    if private != key:
        values[private] = _written(held.get(private), [], material.key_pem)
    return values


def _found(held: Mapping[str, object], key: str, keys: Keys) -> Entry:
    entry = the_entry(held, key, keys)
    if entry is None or not entry.chain:
        raise DeployFailed("not-found", f"has no certificate under {key}")
    return entry


def _count(held: Mapping[str, object], name: str) -> int:
    return sum(len(each.chain) for each in entries({name: held.get(name)}, lambda each: True))


def _check_shared(
    held: Mapping[str, object], entry: Entry, above: Sequence[str], rest: Sequence[bytes]
) -> None:
    """Raises DeployFailed: another certificate would get the chain of this one."""
    if tuple(entry.chain[1:]) == tuple(rest):
        return
    for other in entries(held, lambda each: True):
        shared = set(other.above) & set(above)
        if other.key != entry.key and shared:
            raise DeployFailed(
                "other",
                f"{min(shared)} is the chain of {other.key} too, and the new issuer is another. Give each its own",
            )


def _written(former: object, chain: Sequence[bytes], key_pem: bytes) -> object:
    """As the former value was: PEM, a list of PEM, or base64 of PEM or DER."""
    value = value_of(former) or Value(data=b"-----BEGIN ")
    if isinstance(former, list):
        return [joined_pem([each]).decode() for each in chain]
    if value.is_pem:
        text = joined_pem(chain) + key_pem
        return b64encode(text).decode() if value.is_base64 else text.decode()
    return b64encode(b"".join(chain) + (_der(key_pem) if key_pem else b"")).decode()


def _der(key_pem: bytes) -> bytes:
    key = load_pem_private_key(key_pem, None)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
