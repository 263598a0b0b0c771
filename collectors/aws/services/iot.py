"""IoT Core: certificates of devices, and CAs that devices' certificates are registered by. They never change, only whether
they are active does."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from certwatch.doors.aws import AWSError, Client
from certwatch.model.observation import Fact, Observation
from collectors.aws.place import location
from collectors.aws.region import Region
from collectors.aws.service import Service

_PAGE = {"PageSize": 250}
Describe = Callable[[Client, str], Mapping[str, Any]]


def look(region: Region) -> Iterator[Observation]:
    client = region.client("iot")
    for page in client.pages("ListCACertificates", PaginationConfig=_PAGE):
        for each in page.get("certificates") or ():
            yield from _certificate(region, client, each, ("ca",), _describe_ca)
    for page in client.pages("ListCertificates", PaginationConfig=_PAGE):
        for each in page.get("certificates") or ():
            yield from _certificate(region, client, each, (), _describe)


def _describe(client: Client, id: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = client.call("DescribeCertificate", certificateId=id)["certificateDescription"]
    return found


def _describe_ca(client: Client, id: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = client.call("DescribeCACertificate", certificateId=id)[
        "certificateDescription"
    ]
    return found


def _certificate(
    region: Region, client: Client, each: Mapping[str, Any], path: tuple[str, ...], describe: Describe
) -> Iterator[Observation]:
    arn, id, status = str(each["certificateArn"]), str(each["certificateId"]), str(each.get("status", ""))
    known = region.known.served(location(region.account.id, region.name, "iot", *path, id))
    facts: dict[str, Fact | None] = {
        "aws_status": status,
        "aws_type": "IOT_CA" if path else "IOT_DEVICE",
        "in_use": status == "ACTIVE",
    }
    if known is not None and known.chain:
        chain = tuple(it.der for it in known.chain)
    else:
        try:
            described = describe(client, id)
        except AWSError as error:
            if error.is_absent:
                return
            raise
        chain = region.chain(described.get("certificatePem"))
    yield region.look("iot", *path, id, arn=arn, chain=chain, facts=facts, has_certificate=True)


SERVICE = Service(
    name="iot",
    look=look,
    operations={
        "iot": ("ListCertificates", "DescribeCertificate", "ListCACertificates", "DescribeCACertificate")
    },
    available_as="iot",
)
