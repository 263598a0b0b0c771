"""The policies in deploy/aws are made of what is asked, and are enough: moto enforces them."""

import json
from typing import Any

import boto3
import pytest
import yaml

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.testing import collect, make_certificate
from collectors.aws import AWSCollector, policy
from collectors.aws.operations import ALL, permitted
from tests.support.aws import AWS, OWN, imported, role
from tools.cloud_policies import files

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

OTHER = "222222222222"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def test_the_files_are_those_that_the_table_makes() -> None:
    for path, text in files().items():
        assert path.read_text() == text, "run: python -m tools.cloud_policies"


def test_the_role_has_the_policy_that_the_file_has() -> None:
    (path,) = [each for each in files() if each.parts[-2:] == ("aws", "role.yaml")]
    made = yaml.safe_load(path.read_text())["Resources"]["Role"]["Properties"]
    assert made["Policies"][0]["PolicyDocument"] == policy.policies()["policy.json"]
    assert made["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]


async def test_the_stack_makes_the_role_that_is_taken_on(aws: AWS) -> None:
    (path,) = [each for each in files() if each.parts[-2:] == ("aws", "role.yaml")]
    given = {"Principal": f"arn:aws:iam::{OWN}:user/certwatch", "ExternalId": "ours"}
    aws.client("cloudformation", account=OTHER).create_stack(
        StackName="certwatch",
        TemplateBody=path.read_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    iam = aws.client("iam", account=OTHER)
    (trusted,) = iam.get_role(RoleName="certwatch")["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"AWS": given["Principal"]}
    assert trusted["Condition"] == {"StringEquals": {"sts:ExternalId": "ours"}}
    held = iam.get_role_policy(RoleName="certwatch", PolicyName="certwatch")["PolicyDocument"]
    # moto gives it as Python would print it.
    assert yaml.safe_load(str(held)) == policy.policies()["policy.json"]
    imported(aws.client("acm", "us-east-1", OTHER), make_certificate(key_number=21))
    said = await collect(
        AWSCollector, aws.settings(services=["acm"], roles=[{"role": role(OTHER), "external_id": "ours"}])
    )
    assert [each.labels["account"] for each in said if isinstance(each, Observation)] == [OTHER]
    assert not [each for each in said if isinstance(each, Incomplete)]


def test_nothing_is_permitted_that_writes() -> None:
    """But for a report that a private CA writes, which is asked for by name."""
    writing = {
        f"{service}:{operation}"
        for service, operations in permitted().items()
        for operation in operations
        if not operation.startswith(("List", "Describe", "Get", "Lookup"))
    }
    assert writing == {"acm-pca:CreateCertificateAuthorityAuditReport"}
    for service, operations in permitted().items():
        known = boto3.client(service, region_name="us-east-1").meta.service_model.operation_names
        assert operations <= set(known), service


def test_no_policy_gives_more_than_is_asked() -> None:
    given = {
        action
        for document in policy.policies().values()
        for statement in document["Statement"]
        for action in statement["Action"]
    }
    asked = {
        policy.action(service, each) for service, operations in permitted().items() for each in operations
    }
    assert given == asked | {"sts:AssumeRole"}


#: moto miscalculates the signatures of their requests, whoever signs.
NOT_ENFORCED = ("api-gateway", "cloudfront", "iot")
#: moto makes actions of the name that requests are signed for.
MOTO_SAYS = {"tag:GetResources": "tagging:GetResources"}


def user(aws: AWS, *names: str, without: str = "") -> dict[str, str]:
    """Credentials of a user with these policies, as environment variables."""
    iam = aws.client("iam")
    iam.create_user(UserName="certwatch")
    for name in names:
        document = json.loads(json.dumps(policy.policies()[name]))
        for statement in document["Statement"]:
            statement["Action"] = [
                MOTO_SAYS.get(each, each) for each in statement["Action"] if each != without
            ]
        iam.put_user_policy(
            UserName="certwatch",
            PolicyName=name.removesuffix(".json"),
            PolicyDocument=json.dumps(document),
        )
    key = iam.create_access_key(UserName="certwatch")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


async def looked(
    aws: AWS, monkeypatch: pytest.MonkeyPatch, credentials: dict[str, str], **more: Any
) -> list[Any]:
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    settings = aws.settings(regions=["eu-west-1"], **more)
    with aws.enforcing():
        return await collect(AWSCollector, settings)


def fill(aws: AWS) -> None:
    """Something of each service that has to be described one by one."""
    web = make_certificate(key_number=21)
    imported(aws.client("acm", "eu-west-1"), web)
    aws.client("iam").upload_server_certificate(
        ServerCertificateName="x", CertificateBody=web.pem.decode(), PrivateKey=web.key_pem.decode()
    )
    aws.client("iot", "eu-west-1").register_certificate_without_ca(
        certificatePem=web.pem.decode(), status="ACTIVE"
    )
    aws.client("secretsmanager", "eu-west-1").create_secret(Name="tls/a", SecretString=web.pem.decode())
    aws.client("ssm", "eu-west-1").put_parameter(Name="/tls/a", Value=web.pem.decode(), Type="String")


async def test_the_policies_are_enough(aws: AWS, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(aws)
    aws.answer("cloudtrail", "LookupEvents", {"Events": []})
    credentials = user(
        aws, "policy.json", "policy-secrets.json", "policy-parameters.json", "policy-kms-signatures.json"
    )
    aws.calls()
    said = await looked(
        aws,
        monkeypatch,
        credentials,
        services=[each.name for each in ALL if each.name not in NOT_ENFORCED],
        secrets={"names": ["tls/"]},
        parameters={"names": ["/tls/"]},
    )
    assert [each for each in said if isinstance(each, Incomplete)] == []
    assert len([each for each in said if isinstance(each, Observation)]) == 4


async def test_every_request_is_in_the_policies(aws: AWS) -> None:
    fill(aws)
    aws.answer("cloudtrail", "LookupEvents", {"Events": []})
    aws.calls()
    settings = aws.settings(
        regions=["eu-west-1"],
        services=[each.name for each in ALL],
        secrets={"names": ["tls/"]},
        parameters={"names": ["/tls/"]},
    )
    said = await collect(AWSCollector, settings)
    assert [each for each in said if isinstance(each, Incomplete)] == []
    assert len([each for each in said if isinstance(each, Observation)]) == 5
    prefixes = {"tagging": "resourcegroupstaggingapi", "elasticloadbalancing": "elb"}
    given = {
        action
        for document in policy.policies().values()
        for statement in document["Statement"]
        for action in statement["Action"]
    }
    for call in aws.calls():
        if call["service"] != "sts":
            service = prefixes.get(call["service"], call["service"])
            assert policy.action(service, call["operation"]) in given


@pytest.mark.parametrize(
    ("action", "scope"),
    [
        ("acm:ListCertificates", f"{OWN}/eu-west-1/acm"),
        ("iam:GetServerCertificate", f"{OWN}/global/iam"),
        ("elasticloadbalancing:DescribeLoadBalancers", f"{OWN}/eu-west-1/elbv2"),
    ],
)
async def test_a_right_that_is_missing_is_one_error_that_names_it(
    aws: AWS, monkeypatch: pytest.MonkeyPatch, action: str, scope: str
) -> None:
    fill(aws)
    said = await looked(
        aws, monkeypatch, user(aws, "policy.json", without=action), services=["acm", "iam", "elbv2"]
    )
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == scope
    assert failed.error.kind == "permission"
    assert action.partition(":")[2] in failed.error.message


async def test_all_accounts_of_an_organisation_are_looked_at_but_those_that_are_left(aws: AWS) -> None:
    organizations = aws.client("organizations")
    organizations.create_organization(FeatureSet="ALL")
    shop, left = (
        organizations.create_account(AccountName=name, Email=f"{name}@example.com")["CreateAccountStatus"][
            "AccountId"
        ]
        for name in ("shop", "left")
    )
    web = make_certificate(key_number=21)
    for account in (OWN, shop, left):
        imported(aws.client("acm", "us-east-1", account), web)
    aws.calls()
    organization = {"role": "certwatch", "external_id": "ours", "exclude": [left]}
    said = await collect(
        AWSCollector, aws.settings(services=["acm"], organization=organization, own_account=True)
    )
    seen = {each.labels["account"]: each for each in said if isinstance(each, Observation)}
    assert set(seen) == {OWN, shop}
    assert seen[shop].labels["account_name"] == "shop"
    assumed = [each["asked"] for each in aws.calls() if each["operation"] == "AssumeRole"]
    assert [(each["RoleArn"], each["ExternalId"]) for each in assumed] == [(role(shop), "ours")]


async def test_an_organisation_that_is_not_to_be_had_is_said(aws: AWS) -> None:
    aws.fail("organizations", "ListAccounts", "AccessDeniedException")
    said = await collect(
        AWSCollector, aws.settings(services=["acm"], organization={"role": "certwatch"}, own_account=True)
    )
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == "organization"
    assert failed.error.kind == "permission"


async def test_regions_are_those_that_the_account_has_enabled(aws: AWS) -> None:
    await collect(AWSCollector, aws.settings(services=["acm"], exclude_regions=["us-east-1"]))
    calls = aws.calls()
    (asked,) = [each["asked"] for each in calls if each["operation"] == "ListRegions"]
    assert asked["RegionOptStatusContains"] == ["ENABLED", "ENABLED_BY_DEFAULT"]
    assert {each["region"] for each in calls if each["service"] == "acm"} == {"eu-west-1"}
