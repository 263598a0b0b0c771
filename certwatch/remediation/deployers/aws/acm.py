"""A certificate that was imported into ACM: imported anew under the same ARN, so that whatever uses it goes on with it."""

from typing import Any

from certwatch.model.certificate import Certificate
from certwatch.plugins.deployer import DeployFailed, Material
from certwatch.remediation.deployers.aws.access import AWSConfig, ask, split
from certwatch.remediation.deployers.aws.place import Place
from certwatch.remediation.deployers.former import is_former, not_as_planned
from certwatch.x509.der import read
from certwatch.x509.pem import blocks


class Imported:
    """Blocking. All raise DeployFailed."""

    def __init__(self, account: Any, place: Place, config: AWSConfig) -> None:
        self._client = account.client("acm", place.region)
        self._arn = f"arn:{account.partition}:acm:{place.region}:{place.account}:certificate/{place.id}"

    def present(self, former: Certificate) -> tuple[bytes, ...]:
        said = ask(self._client, "GetCertificate", CertificateArn=self._arn)
        pem = f"{said['Certificate']}\n{said.get('CertificateChain') or ''}".encode()
        return tuple(each.data for each in blocks(pem) if each.is_certificate and each.data)

    def deploy(self, former: Certificate, material: Material) -> None:
        described = ask(self._client, "DescribeCertificate", CertificateArn=self._arn)["Certificate"]
        if described.get("Type") != "IMPORTED":
            raise DeployFailed(
                "permission",
                f"is of type {described.get('Type')}: ACM renews it by itself, and only what was imported can be replaced",
            )
        present = self._leaf()
        new = material.certificate.fingerprint_sha256
        if present.fingerprint_sha256 not in (former.fingerprint_sha256, new) and not _is_ours(
            present, material
        ):
            raise not_as_planned()
        if present.fingerprint_sha256 == new:
            # Of the plan there are other places that use it. Imports are counted by AWS.
            return
        leaf, *above = split(material.chain_pem)
        more = {"CertificateChain": b"".join(above)} if above else {}
        ask(
            self._client,
            "ImportCertificate",
            CertificateArn=self._arn,
            Certificate=leaf,
            PrivateKey=material.key_pem,
            **more,
        )
        if self._leaf().fingerprint_sha256 != new:
            raise DeployFailed("other", "ACM took the certificate and shows another one")

    def undo(self, former: Certificate) -> None:
        chain = self.present(former)
        if is_former(chain, former):
            return
        raise DeployFailed(
            "other",
            "ACM gives no private key back, so that the former certificate cannot be imported again. The new one stays",
        )

    def forget(self, former: Certificate) -> None:
        """Nothing is kept."""

    def _leaf(self) -> Certificate:
        pem = str(ask(self._client, "GetCertificate", CertificateArn=self._arn)["Certificate"]).encode()
        return read(next((each.data for each in blocks(pem) if each.data), b""))


def _is_ours(present: Certificate, material: Material) -> bool:
    """Imported by a roll-out that a crash ended: of the same issuer and for the same names."""
    return present.issuer_der == material.certificate.issuer_der and set(present.names) == set(
        material.certificate.names
    )
