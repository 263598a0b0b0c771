"""What probes of every kind share: the module made ready, the address chosen, TLS begun and judged."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from certwatch.doors.dns import Family, Resolver
from certwatch.doors.failure import LookFailed
from certwatch.doors.handshake import Client, Handshake
from certwatch.doors.stream import Stream
from certwatch.doors.trust_files import load_trust
from certwatch.model.clock import Clock
from certwatch.pki.trust import TrustStore
from certwatch.x509 import der as der_reader
from certwatch.x509 import pem
from exporters.prometheus.probe.answer import (
    Answer,
    chain_samples,
    cipher_text,
    labelled,
    ssl_chain_samples,
    staple_samples,
    version_text,
)
from exporters.prometheus.probe.judged import Judged, Judgements
from exporters.prometheus.probe.modules import IPProtocol, ModuleKeys, TLSKeys

#: Bytes taken from one server.
MAX_BYTES = 16 << 20


class ProbeFailed(Exception):
    """The probe's answer is: no success. The message says why, for who asks with debug=true."""


@dataclass(slots=True)
class Looking:
    """One probe under way."""

    ready: "Ready"
    target: str
    #: The request's own word for the name to ask for. Empty: none.
    hostname: str
    answer: Answer = field(default_factory=Answer)
    #: What happened, for debug=true.
    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass(slots=True)
class Ready:
    """A module with what its TLS needs. Owned by the event loop."""

    name: str
    module: ModuleKeys
    client: Client
    judgements: Judgements
    #: What is said of a chain, by the chain's judgement.
    samples: dict[int, tuple[Judged, Mapping[str, str]]]
    #: ssl_exporter's metrics are wanted as well.
    ssl_metrics: bool
    clock: Clock

    @property
    def tls(self) -> TLSKeys:
        return {"http": self.module.http.tls_config, "tcp": self.module.tcp.tls_config}.get(
            self.module.prober, self.module.tls_config
        )

    def of_chain(self, judged: Judged) -> Mapping[str, str]:
        known = self.samples.get(id(judged))
        if known is not None and known[0] is judged:
            return known[1]
        said = chain_samples(judged)
        if self.ssl_metrics:
            said |= ssl_chain_samples(judged)
        if len(self.samples) > 4096:
            self.samples.clear()
        self.samples[id(judged)] = (judged, said)
        return said


def make_ready(
    name: str, module: ModuleKeys, system: Callable[[], TrustStore], *, ssl_metrics: bool, clock: Clock
) -> Ready:
    """Blocking: reads the module's files. Raises ProbeFailed with what is wrong with them."""
    ready = Ready(name, module, Client(), None, {}, ssl_metrics, clock)  # type: ignore[arg-type]
    keys = ready.tls
    try:
        if keys.ca_file or keys.ca:
            data = Path(keys.ca_file).read_bytes() if keys.ca_file else keys.ca.encode()
            anchors = [der_reader.read(block.data) for block in pem.blocks(data) if block.is_certificate]
            if not anchors:
                raise ProbeFailed(f"module {name}: {keys.ca_file or 'ca'}: no certificate in it")
            trust = TrustStore.from_certificates(f"module {name}", anchors)
        else:
            trust = system()
        ready.client.restrict(
            min_version=keys.min_version or "TLS12", max_version=keys.max_version or "TLS13"
        )
        if keys.cert_file or keys.cert:
            chain = Path(keys.cert_file).read_bytes() if keys.cert_file else keys.cert.encode()
            key = Path(keys.key_file).read_bytes() if keys.key_file else keys.key.encode()
            ready.client.present(chain, key)
    except OSError as error:
        raise ProbeFailed(f"module {name}: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise ProbeFailed(f"module {name}: {error}") from error
    ready.judgements = Judgements(trust)
    return ready


def system_trust() -> TrustStore:
    """Blocking."""
    return load_trust({"system": ("system",)})["system"]


async def address_of(looking: Looking, host: str, preferred: IPProtocol, fallback: bool) -> tuple[str, float]:
    """The one address that is looked at, and how long finding it took. Raises ProbeFailed."""
    wanted = "ip4" if preferred == "ip4" else "ip6"
    began = time.perf_counter()
    if _is_address(host):
        addresses: tuple[str, ...] = (host,)
    else:
        family: Family = "any" if fallback else "ipv4" if wanted == "ip4" else "ipv6"
        resolver = Resolver(family=family, timeout=120, threads=1)
        try:
            addresses = (await resolver.resolve(host)).addresses
        except LookFailed as failure:
            raise ProbeFailed(failure.message) from failure
        finally:
            await resolver.close()
    taken = time.perf_counter() - began
    fits = [each for each in addresses if (":" in each) == (wanted == "ip6")]
    if not fits and not fallback:
        raise ProbeFailed(f"{host}: has no address of {wanted}, and ip_protocol_fallback is off")
    chosen = (fits or list(addresses))[0]
    looking.say(f"{host} is looked at as {chosen}")
    looking.answer.address(chosen, taken)
    return chosen, taken


@lru_cache(maxsize=4096)
def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def begin_tls(looking: Looking, stream: Stream, name: str, *, leave: bool = False) -> None:
    """The handshake, and what is said of what was presented, also where it or the chain is refused. `name`: what the
    certificate must speak for. `leave`: nothing comes after it. Raises ProbeFailed."""
    ready = looking.ready
    failure: LookFailed | None = None
    try:
        await stream.start_tls(ready.client, _sni(name), alpn=False, leave=leave)
    except LookFailed as error:
        failure = error
    handshake = stream.handshake
    judged = await _tell(looking, handshake, name) if handshake is not None else None
    if failure is not None:
        raise ProbeFailed(failure.message) from failure
    if judged is not None and judged.fault:
        if not ready.tls.insecure_skip_verify:
            raise ProbeFailed(judged.fault)
        looking.say(f"not verified: {judged.fault}")


@lru_cache(maxsize=4096)
def _sni(name: str) -> str | None:
    """None: it is an address (RFC 6066, 3), or no name that could be sent."""
    if _is_address(name.strip("[]")):
        return None
    try:
        sent = name.rstrip(".").encode("ascii" if name.isascii() else "idna").decode()
    except UnicodeError:
        return None
    return sent if 0 < len(sent) <= 253 else None


async def _tell(looking: Looking, handshake: Handshake, name: str) -> Judged | None:
    presented, answer, ready = handshake.presented(), looking.answer, looking.ready
    if not presented.chain:
        return None
    judged = await ready.judgements.of(presented.chain, name, ready.clock())
    for metric, lines in ready.of_chain(judged).items():
        answer.put_labelled(metric, lines)
    facts = handshake.facts()
    version = version_text(str(facts.get("tls_version", "")))
    answer.put_labelled("probe_tls_version_info", f'probe_tls_version_info{{version="{version}"}} 1\n')
    if ready.module.prober != "tcp" and "cipher" in facts:
        cipher = cipher_text(str(facts["cipher"]))
        answer.put_labelled("probe_tls_cipher_info", labelled("probe_tls_cipher_info", {"cipher": cipher}))
    if ready.ssl_metrics:
        answer.put_labelled("ssl_tls_version_info", f'ssl_tls_version_info{{version="{version}"}} 1\n')
        for metric, lines in staple_samples(presented.stapled_ocsp).items():
            answer.put_labelled(metric, lines)
    return judged
