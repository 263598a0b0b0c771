"""Everything that the collector may ask of AWS, in one table: the door refuses anything else, and policies are made of it."""

from collections.abc import Iterable, Mapping

from collectors.aws import tags
from collectors.aws.accounts import OPERATIONS as ACCOUNTS
from collectors.aws.config import USUAL, ServiceName
from collectors.aws.service import Service
from collectors.aws.services import (
    acm,
    acm_pca,
    api_gateway,
    cloudfront,
    elb,
    elbv2,
    iam,
    iot,
    kms_signatures,
    parameters,
    rds,
    secrets,
    transfer,
)

#: In the order in which they are looked at: stores before those that use what is in them.
ALL: tuple[Service, ...] = tuple(
    each.SERVICE
    for each in (
        acm,
        acm_pca,
        elb,
        elbv2,
        api_gateway,
        transfer,
        iot,
        rds,
        secrets,
        parameters,
        kms_signatures,
        cloudfront,
        # The last: who uses its certificates is known then.
        iam,
    )
)
BY_NAME: Mapping[str, Service] = {each.name: each for each in ALL}
#: What all of them need.
ALWAYS: tuple[Mapping[str, tuple[str, ...]], ...] = (ACCOUNTS, tags.OPERATIONS)


def permitted() -> dict[str, frozenset[str]]:
    """By boto3's service."""
    found: dict[str, set[str]] = {}
    for table in (*ALWAYS, *(each.operations for each in ALL)):
        for service, operations in table.items():
            found.setdefault(service, set()).update(operations)
    return {service: frozenset(operations) for service, operations in found.items()}


def chosen(names: Iterable[ServiceName] = USUAL) -> list[Service]:
    wanted = set(names)
    return [each for each in ALL if each.name in wanted]
