"""Transfer Family: certificates of AS2 partners and of one's own, and FTPS servers with what they show."""

from collections.abc import Iterator, Mapping
from typing import Any

from certwatch.doors.aws import AWSError, Client
from certwatch.model.observation import Observation
from collectors.aws.place import location
from collectors.aws.region import Region, targets
from collectors.aws.service import Service


def look(region: Region) -> Iterator[Observation]:
    client = region.client("transfer")
    for page in client.pages("ListCertificates"):
        for each in page.get("Certificates", ()):
            seen = _certificate(region, client, each)
            if seen is not None:
                yield seen
    for page in client.pages("ListServers"):
        for each in page.get("Servers", ()):
            seen = _server(region, client, str(each["ServerId"]))
            if seen is not None:
                yield seen


def _certificate(region: Region, client: Client, each: Mapping[str, Any]) -> Observation | None:
    id, arn = str(each["CertificateId"]), str(each["Arn"])
    known = region.known.served(location(region.account.id, region.name, "transfer", id))
    facts = {
        "aws_status": each.get("Status"),
        "aws_type": each.get("Type"),
        "aws_usage": each.get("Usage"),
        "in_use": each.get("Status") in ("ACTIVE", "PENDING_ROTATION"),
    }
    if known is not None and known.chain:
        # It cannot be exchanged under its id.
        return region.look("transfer", id, arn=arn, chain=tuple(it.der for it in known.chain), facts=facts)
    try:
        found = client.call("DescribeCertificate", CertificateId=id)["Certificate"]
    except AWSError as error:
        if error.is_absent:
            return None
        raise
    chain = region.chain(found.get("Certificate"), found.get("CertificateChain"))
    return region.look(
        "transfer", id, arn=arn, chain=chain, facts=facts, tags=_tags(found), has_certificate=True
    )


def _server(region: Region, client: Client, id: str) -> Observation | None:
    """None: it shows no certificate (SFTP only), or it is gone."""
    try:
        server = client.call("DescribeServer", ServerId=id)["Server"]
    except AWSError as error:
        if error.is_absent:
            return None
        raise
    certificate = str(server.get("Certificate") or "")
    if "FTPS" not in server.get("Protocols", ()) or not certificate:
        return None
    arn, held = str(server["Arn"]), region.held(certificate)
    region.used(certificate, arn)
    host = f"{id}.server.transfer.{region.name}.amazonaws.com"
    return region.look(
        "transfer",
        "server",
        id,
        arn=arn,
        chain=held.chain,
        error=held.error,
        facts={
            "aws_certificate": certificate,
            "aws_security_policy": server.get("SecurityPolicyName"),
            **targets(host, 21, protocol="ftp"),
        },
        tags=_tags(server),
    )


def _tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {str(tag["Key"]): str(tag["Value"]) for tag in found.get("Tags", ())}


SERVICE = Service(
    name="transfer",
    look=look,
    operations={
        "transfer": ("ListCertificates", "DescribeCertificate", "ListServers", "DescribeServer"),
        "acm": ("GetCertificate",),
    },
    available_as="transfer",
)
