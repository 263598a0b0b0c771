"""IAM policies, made of what is asked: `deploy/aws/` is written by `python -m tools.cloud_policies`."""

from collections.abc import Iterable, Mapping
from typing import Any

from collectors.aws import tags
from collectors.aws.accounts import OPERATIONS as ACCOUNTS
from collectors.aws.config import USUAL, ServiceName
from collectors.aws.operations import BY_NAME
from collectors.aws.services import acm_pca_issued

#: IAM's word for a boto3 service, where they differ.
_PREFIXES = {
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "resourcegroupstaggingapi": "tag",
    "apigateway": "apigateway",
    "apigatewayv2": "apigateway",
}
#: API Gateway's actions are HTTP methods.
_BY_METHOD = frozenset({"apigateway", "apigatewayv2"})
#: Only with an audit bucket.
_AUDIT = frozenset([*(f"acm-pca:{each}" for each in acm_pca_issued.OPERATIONS), "s3:GetObject"])

ROLE = "certwatch"
BUCKET = "YOUR-AUDIT-BUCKET"


def action(service: str, operation: str) -> str:
    prefix = _PREFIXES.get(service, service)
    return f"{prefix}:GET" if service in _BY_METHOD else f"{prefix}:{operation}"


def actions(*tables: Mapping[str, Iterable[str]]) -> list[str]:
    return sorted(
        {
            action(service, each)
            for table in tables
            for service, operations in table.items()
            for each in operations
        }
    )


def _statement(name: str, actions: Iterable[str], resource: str = "*") -> dict[str, Any]:
    return {"Sid": name, "Effect": "Allow", "Action": sorted(actions), "Resource": resource}


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _sid(name: str) -> str:
    return "".join(each.capitalize() for each in name.split("-"))


def policies() -> dict[str, dict[str, Any]]:
    """By the name of the file."""
    always = actions(tags.OPERATIONS, {"account": ACCOUNTS["account"]})
    usual = [
        _statement(_sid(name), set(actions(BY_NAME[name].operations)) - _AUDIT)
        for name in USUAL
        if set(actions(BY_NAME[name].operations)) - _AUDIT
    ]
    extra: list[ServiceName] = [each for each in BY_NAME if each not in USUAL]  # type: ignore[misc]
    found = {
        "policy.json": _document(_statement("RegionsAndTags", always), *usual),
        "policy-organization.json": _document(
            _statement("Accounts", actions({"organizations": ACCOUNTS["organizations"]})),
            _statement("Roles", ["sts:AssumeRole"], f"arn:aws:iam::*:role/{ROLE}"),
        ),
        "policy-audit.json": _document(
            _statement("Reports", _AUDIT - {"s3:GetObject"}),
            _statement("Bucket", ["s3:GetObject"], f"arn:aws:s3:::{BUCKET}/*"),
        ),
    }
    for name in extra:
        found[f"policy-{name}.json"] = _document(_statement(_sid(name), actions(BY_NAME[name].operations)))
    return found


def role_template() -> dict[str, Any]:
    """A CloudFormation template of the role that is taken on in an account."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": {"Ref": "Principal"}},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}},
            }
        ],
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "certwatch, read-only",
        "Parameters": {
            "Principal": {
                "Type": "String",
                "Description": "ARN of the role or user that certwatch runs as",
            },
            "ExternalId": {
                "Type": "String",
                "MinLength": 2,
                "Description": "external_id of the config",
            },
        },
        "Resources": {
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": ROLE,
                    "MaxSessionDuration": 3600,
                    "AssumeRolePolicyDocument": trust,
                    "Policies": [{"PolicyName": ROLE, "PolicyDocument": policies()["policy.json"]}],
                },
            }
        },
        "Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}}},
    }
