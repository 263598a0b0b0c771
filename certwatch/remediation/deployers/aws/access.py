"""What the deployers of AWS may ask it, by whose credentials, and how a refusal is told."""

import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import Field

from certwatch.plugins.deployer import DeployerConfig, DeployErrorKind, DeployFailed

#: docs/remediation.md has them as rights.
OPERATIONS = {
    "acm": frozenset({"ImportCertificate", "GetCertificate", "DescribeCertificate"}),
    "iam": frozenset(
        {
            "ListServerCertificates",
            "GetServerCertificate",
            "UploadServerCertificate",
            "DeleteServerCertificate",
        }
    ),
    "account": frozenset({"ListRegions"}),
    "elb": frozenset({"DescribeLoadBalancers", "SetLoadBalancerListenerSSLCertificate"}),
    "elbv2": frozenset(
        {
            "DescribeLoadBalancers",
            "DescribeListeners",
            "DescribeListenerCertificates",
            "ModifyListener",
            "AddListenerCertificates",
            "RemoveListenerCertificates",
        }
    ),
}
#: Where services of no region are asked.
HOME = "us-east-1"
#: What IAM has taken is not known to load balancers at once: tries, and seconds between two.
_TRIES, _PAUSE = 20, 3.0


class AWSConfig(DeployerConfig):
    #: A profile of ~/.aws/config. None: the usual chain (environment, container, instance).
    profile: str | None = None
    #: Role to take on, where the certificate is in another account; its external id.
    role_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    external_id: str | None = None
    #: Accounts whose certificates may be replaced. Empty: all that the credentials reach.
    accounts: tuple[Annotated[str, Field(pattern=r"^\d{12}$")], ...] = ()
    #: Where load balancers are that may use certificates of IAM. Empty: all regions that the account has.
    regions: tuple[Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d+$")], ...] = ()
    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None


@cache
def _door(endpoint_url: str | None) -> Any:
    try:
        from certwatch.doors.aws import Door, Limits
    except ModuleNotFoundError as error:
        raise DeployFailed(
            "other", 'AWS needs boto3. Install it with: pip install "certwatch[aws]"'
        ) from error
    return Door(OPERATIONS, Limits(), endpoint_url=endpoint_url)


def open_account(config: AWSConfig, account: str) -> Any:
    """`certwatch.doors.aws.Account`. Raises DeployFailed."""
    door = _door(config.endpoint_url)
    from certwatch.doors.aws import AWSError, Role

    role = (
        Role(arn=config.role_arn, external_id=config.external_id, session_name="certwatch")
        if config.role_arn
        else None
    )
    try:
        opened = door.account("remediation", id=account, profile=config.profile, role=role)
    except AWSError as error:
        raise _failed(error) from error
    if opened.id != account:
        raise DeployFailed(
            "permission",
            f"the credentials are of account {opened.id}: give role_arn: of account {account}",
        )
    return opened


def ask(client: Any, operation: str, **parameters: Any) -> Any:
    """Raises DeployFailed."""
    from certwatch.doors.aws import AWSError

    try:
        return client.call(operation, **parameters)
    except AWSError as error:
        raise _failed(error) from error


def ask_with_certificate(client: Any, operation: str, **parameters: Any) -> None:
    """Patient with a load balancer that does not know yet what IAM has just taken. Raises DeployFailed."""
    from certwatch.doors.aws import AWSError

    for tries_left in reversed(range(_TRIES)):
        try:
            client.call(operation, **parameters)
            return
        except AWSError as error:
            if not tries_left or not error.code.startswith("CertificateNotFound"):
                raise _failed(error) from error
        time.sleep(_PAUSE)


def pages(
    client: Any, operation: str, *, may_be_gone: bool = False, **parameters: Any
) -> Iterator[Mapping[str, Any]]:
    """`may_be_gone`: what is asked about may have been deleted since it was listed; it has no pages then. Raises
    DeployFailed."""
    from certwatch.doors.aws import AWSError

    try:
        yield from client.pages(operation, **parameters)
    except AWSError as error:
        if may_be_gone and error.is_absent:
            return
        raise _failed(error) from error


def _failed(error: Any) -> DeployFailed:
    kinds: dict[str, DeployErrorKind] = {
        "permission": "permission",
        "not-found": "not-found",
        "timeout": "timeout",
    }
    return DeployFailed(kinds.get(error.kind, "unavailable"), error.message, again=error.kind not in kinds)


def split(chain_pem: bytes) -> list[bytes]:
    """One block each."""
    end = b"-----END CERTIFICATE-----"
    return [each.lstrip() + end + b"\n" for each in chain_pem.split(end)[:-1]]
