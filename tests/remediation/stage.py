"""Servers in miniature for roll-outs: files that are read at every handshake, an inventory, an issuer that can misbehave."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from certwatch.config.remediation import PolicyKeys
from certwatch.inventory.store import Reader
from certwatch.model.certificate import Certificate
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation
from certwatch.plugins.deployer import DeployerContext
from certwatch.plugins.issuer import CertificateRequest, IssueFailed, IssuerConfig
from certwatch.plugins.testing import FakeClock, Issued, make_ca, make_certificate
from certwatch.remediation.affected import Affected, affected_one
from certwatch.remediation.apply import carry_out
from certwatch.remediation.book import Book
from certwatch.remediation.deployers.files import FilesConfig, FilesDeployer
from certwatch.remediation.material import split_pem
from certwatch.remediation.plan import Draft
from certwatch.remediation.policy import Policy
from certwatch.remediation.propose import propose_one
from certwatch.remediation.records import Plan
from certwatch.remediation.world import World
from tests.support.inventories import Tried, fingerprint, opened

CA = make_ca("Issuing CA", key_number=501)
WWW = "dns:www.example.com"


class Crash(BaseException):
    """The process is gone."""


class OwnIssuer:
    """Signs with a CA of the test."""

    Config: ClassVar[type[IssuerConfig]] = IssuerConfig

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        #: Raised by the next calls, one each.
        self.failures: list[IssueFailed] = []
        #: Instead of those of the CSR.
        self.names: Sequence[str] | None = None
        self.issued: list[bytes] = []
        self.revoked: list[tuple[bytes, str]] = []

    async def issue(self, request: CertificateRequest) -> bytes:
        if self.failures:
            raise self.failures.pop(0)
        csr = x509.load_pem_x509_csr(request.csr_pem)
        names: x509.GeneralNames | Sequence[x509.GeneralName] = (
            [x509.DNSName(each.partition(":")[2]) for each in self.names]
            if self.names is not None
            else list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        )
        now = self.clock()
        made = (
            x509.CertificateBuilder()
            .subject_name(csr.subject)
            .issuer_name(CA.certificate.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=90))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(CA.key, hashes.SHA256())
        )
        pem = made.public_bytes(serialization.Encoding.PEM) + CA.pem
        self.issued.append(pem)
        return pem

    async def revoke(self, certificate: Certificate, reason: str) -> None:
        self.revoked.append((certificate.fingerprint_sha256, reason))


@dataclass
class Stage:
    folder: Path
    tried: Tried
    book: Book
    issuer: OwnIssuer
    former: Issued
    #: By the URI that clients see: the file that its server reads.
    files: dict[str, Path]
    policy: Policy
    #: Servers that go on with what they had.
    stuck: dict[str, bytes] = field(default_factory=dict)
    looked_again: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: Each step that was reached, in order.
    steps: list[str] = field(default_factory=list)
    crash_at: str | None = None
    #: What is to be expected in CT logs, and why.
    expected: list[tuple[Certificate, str]] = field(default_factory=list)
    #: Done once when that step is reached.
    meanwhile: dict[str, Callable[[], Any]] = field(default_factory=dict)

    @property
    def clock(self) -> FakeClock:
        return self.tried.clock

    def presented(self, uri: str) -> tuple[bytes, ...]:
        data = self.stuck.get(uri) or self.files[uri].read_bytes()
        return tuple(split_pem(data))

    async def look(self, uris: Sequence[str]) -> Mapping[str, Observation]:
        if "look" in self.meanwhile:
            self.meanwhile.pop("look")()
        found = {}
        for uri in uris:
            path = self.files.get(uri)
            if uri.startswith("file://"):
                path = Path(uri.removeprefix("file://"))
                chain = tuple(split_pem(path.read_bytes()))
            elif path is not None:
                chain = self.presented(uri)
            else:
                continue
            found[uri] = Observation(location=LocationURI(uri), observed_at=self.clock(), chain=chain)
        return found

    async def step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.meanwhile:
            self.meanwhile.pop(name)()
        if name == self.crash_at:
            self.crash_at = None
            raise Crash(name)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        yield self.tried.reader

    def world(self) -> World:
        """As a process has it that has just begun: it knows no key."""
        return World(
            book=self.book,
            policies={self.policy.name: self.policy},
            reading=self.reading,
            clock=self.clock,
            look=self.look,
            look_again=self.looked_again.extend,
            note=lambda event, fields: self.notes.append(event),
            expect=lambda certificate, why: self.expected.append((certificate, why)),
            step=self.step,
        )

    def affected(self) -> Affected:
        found = affected_one(self.tried.reader, fingerprint(self.former.der), self.clock())
        assert found is not None
        return found

    def plan(self, **more: Any) -> Plan:
        draft = propose_one(self.affected(), [self.policy], for_findings=False)
        assert isinstance(draft, Draft), draft
        plan = self.book.add(draft, self.clock(), by="certwatch", **more)
        assert plan is not None
        return plan

    async def carry_out(self, plan: Plan, *, crashes: int = 0) -> Plan:
        """Begun again, by a new process, after each crash."""
        while True:
            try:
                return await carry_out(self.world(), plan.id)
            except Crash:
                if crashes == 0:
                    raise
                crashes -= 1

    def leaves(self) -> set[bytes]:
        return {self.presented(uri)[0] for uri in self.files}

    def rests(self) -> list[str]:
        """What a roll-out left lying about."""
        return [each.name for each in self.folder.iterdir() if "certwatch" in each.name]


def policy_of(
    issuer: OwnIssuer, folder: Path, clock: FakeClock, *, reload: Sequence[str] = (), **keys: Any
) -> Policy:
    keys = {"name": "web", "issuer": {}, "deploy": [{}], "approve": "automatic", **keys}
    keys.setdefault("verify", {"within": "0.4s"})
    deployer = FilesDeployer(
        FilesConfig(paths=[f"{folder}/*.pem"], reload=list(reload)), DeployerContext(clock=clock)
    )
    return Policy(keys=PolicyKeys(**keys), when=None, issuer=issuer, deployers=(deployer,))


@contextmanager
def stage(folder: Path, *, servers: int = 1, combined: bool = False, names: Sequence[str] = (WWW,),
          days_left: float = 5, **policy: Any) -> Iterator[Stage]:  # fmt: skip
    """`servers` that serve one certificate, each from a file of its own."""
    with opened("sqlite", folder) as tried:
        clock = tried.clock
        former = make_certificate(
            names=names,
            issuer=CA,
            not_before=clock() - timedelta(days=85),
            not_after=clock() + timedelta(days=days_left),
            key_number=502,
        )
        web = folder / "web"
        web.mkdir()
        files = {}
        looks = []
        for number in range(servers):
            path = web / f"{number}.pem"
            path.write_bytes(former.pem + (former.key_pem if combined else b""))
            path.chmod(0o640)
            if not combined:
                (web / f"{number}.key").write_bytes(former.key_pem)
                (web / f"{number}.key").chmod(0o644)
            uri = f"tls://192.0.2.{number + 1}:443/?sni=www.example.com"
            files[uri] = path
            looks += [
                tried.look(uri, former, CA, labels={"environment": "staging"}),
                tried.look(f"file://{path}", former, CA, labels={"environment": "staging"}),
            ]
        tried.record(*looks)
        issuer = OwnIssuer(clock)
        book = Book(folder / "book")
        try:
            yield Stage(
                folder=web,
                tried=tried,
                book=book,
                issuer=issuer,
                former=former,
                files=files,
                policy=policy_of(issuer, web, clock, **policy),
            )
        finally:
            book.close()


def with_keys(policy: Policy, **keys: Any) -> Policy:
    return replace(policy, keys=policy.keys.model_copy(update=keys))
