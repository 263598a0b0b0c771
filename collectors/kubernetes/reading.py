"""What readers of objects are given, and what they give back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from certwatch.x509 import pem
from certwatch.x509.pbe import Work
from collectors.file.contents import Contents, failed, one_line
from collectors.kubernetes import material
from collectors.kubernetes.config import KubernetesConfig, matches
from collectors.kubernetes.objects import Meta, Unreadable, text
from collectors.kubernetes.place import Place, location
from collectors.kubernetes.purse import Purses

#: Of one key of an object: Kubernetes itself allows no more than a mebibyte in a Secret or ConfigMap.
MAX_BYTES = 4 << 20
#: Of one object, and of those that cannot be read; more is told and left out.
MAX_PLACES = 5000
MAX_FAILED = 100
MAX_SHARED = 2000
MAX_SHARED_BYTES = 8 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One object, read."""

    meta: Meta
    places: tuple[Place, ...] = ()
    #: "certificate/succeeded", …: an outcome that is counted when an object first has it. Empty: none.
    outcome: str = ""
    #: Not all of it was looked at: the next scan looks again.
    is_postponed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Of one cluster, for all its resources. Used in threads; nothing of it changes but the passphrases."""

    cluster: str
    config: KubernetesConfig
    #: Blocking: the value under a key of another Secret (NAMESPACE/NAME). None: it cannot be had.
    fetch: Callable[[str, str], bytes | None] = lambda secret, key: None
    #: Certificates of CAs stand in nearly every object: each is kept once. Whoever finds it too full empties it.
    shared: dict[bytes, bytes] = field(default_factory=dict)
    purses: Purses = field(default_factory=Purses)

    def where(self, kind: str, meta: Meta, key: str = "") -> str:
        name = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
        return one_line(f"{self.cluster}: {kind} {name}" + (f": {key}" if key else ""))

    def places(
        self,
        kind: str,
        meta: Meta,
        key: str,
        data: bytes,
        *,
        private_key: material.Key = lambda: None,
        passphrases: Callable[[], Sequence[str]] = lambda: (),
        work: Work | None = None,
    ) -> list[Place]:
        """What is under one key (or name of a part) of an object."""
        where = self.where(kind, meta, key)
        found = material.contents(
            where,
            key,
            data[:MAX_BYTES],
            private_key=private_key,
            passphrases=passphrases,
            work=work or self.purses.of(meta.namespace),
        )
        return [self.place(kind, meta, key, each) for each in found]

    def place(self, kind: str, meta: Meta, key: str, part: Contents) -> Place:
        leaf = part.chain[:1] if part.facts.get("arrangement") == "chain" else ()
        others = [(self._share(each), each) for each in part.chain[len(leaf) :]]
        return Place(
            location=location(self.cluster, meta.namespace, kind, meta.name, key=key, entry=part.entry),
            chain=(*leaf, *(kept for kept, _ in others)),
            facts=part.facts,
            error=part.error,
            own_bytes=sum(map(len, leaf)) + sum(len(kept) for kept, given in others if kept is given),
        )

    def _share(self, der: bytes) -> bytes:
        if len(der) > MAX_SHARED_BYTES:
            return der
        if len(self.shared) >= MAX_SHARED:
            self.shared.clear()
        return self.shared.setdefault(der, der)

    def bundle(self, kind: str, meta: Meta, key: str, data: bytes) -> list[Place]:
        """Certificates that are trusted; that there are none is nothing of note."""
        if not data.strip():
            return []
        if not any(block.is_certificate or block.problem for block in pem.blocks(data)):
            part = failed(
                "no-certificate", f"{self.where(kind, meta, key)}: no certificate in it. Check what wrote it"
            )
            return [self.place(kind, meta, key, part)]
        return self.places(kind, meta, key, data)

    def passphrases(self, meta: Meta, key: str, beside: Callable[[str], bytes | None]) -> tuple[str, ...]:
        """Those that are configured for this key of this object, in order. `beside` reads another key of it."""
        name = f"{meta.namespace}/{meta.name}/{key}"
        found: list[str] = []
        for each in self.config.passphrases:
            if not any(fnmatchcase(name, glob) for glob in each.objects):
                continue
            if each.passphrase is not None:
                found.append(each.passphrase.get_secret_value())
            elif each.secret is None and each.key is not None:
                value = beside(each.key)
                if value is not None:
                    found.append(value.decode("utf-8", "replace").rstrip("\r\n"))
            elif each.secret is not None and each.key is not None:
                secret = each.secret if "/" in each.secret else f"{meta.namespace}/{each.secret}"
                value = self.fetch(secret, each.key)
                if value is not None:
                    found.append(value.decode("utf-8", "replace").rstrip("\r\n"))
        return tuple(dict.fromkeys(found))

    def wants_name(self, name: str) -> bool:
        return not matches(name, self.config.exclude_names)

    def owner(self, meta: Meta) -> str:
        """Empty: the object does not say."""
        return owner_of(meta, self.config.owner_keys)

    def object_labels(self, meta: Meta) -> dict[str, str]:
        return {
            key: meta.labels[key] for key in self.config.object_labels if meta.labels and key in meta.labels
        }


def owner_of(meta: Meta, keys: Iterable[str]) -> str:
    """By label, else by annotation; the first key that is there."""
    for key in keys:
        if meta.labels and meta.labels.get(key):
            return meta.labels[key]
        raw = meta.annotations.get(key) if meta.annotations else None
        if raw is not None:
            try:
                value = text(raw).strip()
            except Unreadable:
                continue
            if value:
                return value[:200]
    return ""


Labels = Mapping[str, str]
