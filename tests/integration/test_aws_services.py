"""Each AWS service with its certificates: account, region, who uses them, who answers. moto is real for all but what its
front answers (said where it is)."""

import json
from datetime import timedelta
from typing import Any

import pytest

from certwatch.model.observation import Incomplete, Observation, Unchanged
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock, collect, make_ca, make_certificate
from certwatch.telemetry.metrics import AWS_KMS_SIGNATURES
from collectors.aws import AWSCollector, AWSConfig
from collectors.aws.services import acm_pca_issued
from tests.support.aws import AWS, OWN, imported, tagged

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

ROOT = make_ca("Cloud Root", key_number=140)
CA = make_ca("Cloud CA", issuer=ROOT, key_number=141)
WEB = make_certificate(issuer=CA, key_number=21)
SHOP = make_certificate(names=["dns:shop.example.com"], issuer=CA, key_number=23)
IRELAND = "eu-west-1"
REPORT = "00000000-0000-4000-8000-000000000001"
PARTNER = "cert-0123456789abcdef0"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def look(aws: AWS, *services: str, **more: Any) -> dict[str, Observation]:
    more.setdefault("regions", [IRELAND])
    said = await collect(AWSCollector, aws.settings(services=list(services), **more))
    assert not [each for each in said if isinstance(each, Incomplete)]
    return {each.location: each for each in said if isinstance(each, Observation)}


def subnets(aws: AWS) -> list[str]:
    ec2 = aws.client("ec2", IRELAND)
    return [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]][:2]


async def test_elbv2_shows_the_default_certificate_and_those_for_other_names(aws: AWS) -> None:
    store, elb = aws.client("acm", IRELAND), aws.client("elbv2", IRELAND)
    web, shop = imported(store, WEB), imported(store, SHOP)
    balancer = elb.create_load_balancer(
        Name="front", Subnets=subnets(aws), Tags=tagged({"team": "edge", "environment": "prod"})
    )["LoadBalancers"][0]
    listener = elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=8443,
        Certificates=[{"CertificateArn": web}],
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
    )["Listeners"][0]
    elb.add_listener_certificates(
        ListenerArn=listener["ListenerArn"], Certificates=[{"CertificateArn": shop}]
    )
    found = await look(aws, "acm", "elbv2")
    name = balancer["LoadBalancerArn"].partition(":loadbalancer/")[2]
    default = found[f"aws://{OWN}/{IRELAND}/elbv2/{name}/8443"]
    assert default.chain[0] == WEB.der
    assert default.labels == {"account": OWN, "region": IRELAND, "owner": "edge", "environment": "prod"}
    host = balancer["DNSName"].lower()
    assert default.facts["tls_targets"] == f"tls://{host}:8443/?sni=www.example.com"
    other = found[f"aws://{OWN}/{IRELAND}/elbv2/{name}/8443#{shop.rpartition('/')[2]}"]
    assert other.chain[0] == SHOP.der
    assert other.facts["tls_targets"] == f"tls://{host}:8443/?sni=shop.example.com"
    stored = found[f"aws://{OWN}/{IRELAND}/acm/{web.rpartition('/')[2]}"]
    assert stored.facts["in_use"] is True
    assert stored.facts["in_use_by"] == listener["ListenerArn"]
    assert len(found) == 4


async def test_classic_load_balancers_and_iam_certificates_name_each_other(aws: AWS) -> None:
    iam, elb = aws.client("iam"), aws.client("elb", IRELAND)
    arn = iam.upload_server_certificate(
        ServerCertificateName="legacy",
        CertificateBody=WEB.pem.decode(),
        PrivateKey=WEB.key_pem.decode(),
        CertificateChain=CA.pem.decode(),
        Tags=tagged({"Owner": "legacy-team"}),
    )["ServerCertificateMetadata"]["Arn"]
    elb.create_load_balancer(
        LoadBalancerName="old",
        Listeners=[
            {"Protocol": "HTTPS", "LoadBalancerPort": 443, "InstancePort": 80, "SSLCertificateId": arn},
            {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 80},
        ],
        AvailabilityZones=[f"{IRELAND}a"],
        Tags=tagged({"owner": "web"}),
    )
    # moto's tagging API has no classic load balancers; AWS's has.
    balancer = f"arn:aws:elasticloadbalancing:{IRELAND}:{OWN}:loadbalancer/old"
    aws.answer(
        "tagging",
        "GetResources",
        {"ResourceTagMappingList": [{"ResourceARN": balancer, "Tags": tagged({"owner": "web"})}]},
        region=IRELAND,
    )
    found = await look(aws, "elb", "elbv2", "cloudfront", "iam", regions=None)
    listener = found[f"aws://{OWN}/{IRELAND}/elb/old/443"]
    assert listener.chain == (WEB.der, CA.der)
    assert listener.labels["owner"] == "web"
    assert str(listener.facts["tls_targets"]).endswith(".elb.amazonaws.com:443/?sni=www.example.com")
    stored = found[f"aws://{OWN}/global/iam/legacy"]
    assert stored.chain == (WEB.der, CA.der)
    assert stored.facts["in_use"] is True
    assert stored.facts["in_use_by"] == balancer
    # moto keeps no tags of server certificates.
    assert stored.labels["account"] == OWN
    assert stored.scope == f"{OWN}/global/iam"
    assert len(found) == 2


def distribution(**viewer: Any) -> dict[str, Any]:
    return {
        "CallerReference": "x",
        "Aliases": {"Quantity": 2, "Items": ["www.example.com", "shop.example.com"]},
        "Origins": {
            "Quantity": 1,
            "Items": [
                {
                    "Id": "o",
                    "DomainName": "origin.example.com",
                    "CustomOriginConfig": {
                        "HTTPPort": 80,
                        "HTTPSPort": 443,
                        "OriginProtocolPolicy": "https-only",
                    },
                }
            ],
        },
        "DefaultCacheBehavior": {
            "TargetOriginId": "o",
            "ViewerProtocolPolicy": "https-only",
            "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
            "MinTTL": 0,
        },
        "Comment": "",
        "Enabled": True,
        "ViewerCertificate": {
            "MinimumProtocolVersion": "TLSv1.2_2021",
            "SSLSupportMethod": "sni-only",
            **viewer,
        },
    }


async def test_cloudfront_shows_what_it_serves_and_for_which_names(aws: AWS) -> None:
    arn = imported(aws.client("acm", "us-east-1"), WEB)
    made = aws.client("cloudfront").create_distribution_with_tags(
        DistributionConfigWithTags={
            "DistributionConfig": distribution(ACMCertificateArn=arn),
            "Tags": {"Items": tagged({"owner": "cdn"})},
        }
    )["Distribution"]
    found = await look(aws, "cloudfront")
    seen = found[f"aws://{OWN}/global/cloudfront/{made['Id']}"]
    assert seen.chain[0] == WEB.der
    assert seen.facts["aws_certificate"] == arn
    assert seen.facts["aws_certificate_source"] == "acm"
    assert seen.facts["tls_targets"] == f"tls://{made['DomainName']}:443/?sni=shop.example.com"
    assert seen.labels == {"account": OWN, "region": "global", "owner": "cdn"}
    alias = found[f"aws://{OWN}/global/cloudfront/{made['Id']}#www.example.com"]
    assert alias.facts["tls_targets"] == f"tls://{made['DomainName']}:443/?sni=www.example.com"


async def test_an_iam_certificate_at_cloudfront_is_told_as_such(aws: AWS) -> None:
    uploaded = aws.client("iam").upload_server_certificate(
        Path="/cloudfront/",
        ServerCertificateName="cdn",
        CertificateBody=WEB.pem.decode(),
        PrivateKey=WEB.key_pem.decode(),
    )["ServerCertificateMetadata"]
    made = aws.client("cloudfront").create_distribution(
        DistributionConfig=distribution(IAMCertificateId=uploaded["ServerCertificateId"])
    )["Distribution"]
    found = await look(aws, "cloudfront", "iam")
    seen = found[f"aws://{OWN}/global/cloudfront/{made['Id']}"]
    assert seen.chain == (WEB.der,)
    assert seen.facts["aws_certificate_source"] == "iam"
    assert found[f"aws://{OWN}/global/iam/cdn"].facts["in_use_by"] == made["ARN"]


async def test_api_gateway_shows_domains_of_both_kinds_once(aws: AWS) -> None:
    arn = imported(aws.client("acm", IRELAND), WEB)
    aws.client("apigateway", IRELAND).create_domain_name(
        domainName="www.example.com",
        regionalCertificateArn=arn,
        endpointConfiguration={"types": ["REGIONAL"]},
        tags={"owner": "apis"},
    )
    aws.client("apigatewayv2", IRELAND).create_domain_name(
        DomainName="http.example.com",
        DomainNameConfigurations=[{"CertificateArn": arn, "EndpointType": "REGIONAL"}],
        Tags={"owner": "http-apis"},
    )
    aws.answer(
        "apigateway",
        "GetClientCertificates",
        {"item": [{"clientCertificateId": "cc1", "pemEncodedCertificate": SHOP.pem.decode(), "tags": {}}]},
    )
    found = await look(aws, "api-gateway")
    rest = found[f"aws://{OWN}/{IRELAND}/api-gateway/www.example.com"]
    assert rest.chain[0] == WEB.der
    assert rest.labels["owner"] == "apis"
    assert str(rest.facts["tls_targets"]).endswith(":443/?sni=www.example.com")
    http = found[f"aws://{OWN}/{IRELAND}/api-gateway/http.example.com"]
    assert http.chain[0] == WEB.der
    assert http.labels["owner"] == "http-apis"
    client = found[f"aws://{OWN}/{IRELAND}/api-gateway/client-certificate/cc1"]
    assert client.chain == (SHOP.der,)


async def test_private_cas_show_themselves(aws: AWS) -> None:
    pca = aws.client("acm-pca", IRELAND)
    arn = pca.create_certificate_authority(
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "EC_prime256v1",
            "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": {"CommonName": "Cloud CA"},
        },
        CertificateAuthorityType="SUBORDINATE",
        Tags=tagged({"owner": "pki"}),
    )["CertificateAuthorityArn"]
    found = await look(aws, "acm-pca")
    place = f"aws://{OWN}/{IRELAND}/acm-pca/{arn.rpartition('/')[2]}"
    assert found[place].chain == ()
    assert found[place].facts["aws_status"] == "PENDING_CERTIFICATE"
    pca.import_certificate_authority_certificate(
        CertificateAuthorityArn=arn, Certificate=CA.pem, CertificateChain=ROOT.pem
    )
    found = await look(aws, "acm-pca")
    assert found[place].chain == (CA.der, ROOT.der)
    assert found[place].facts["aws_status"] == "ACTIVE"
    assert found[place].labels["account"] == OWN


async def test_what_a_private_ca_issued_comes_from_its_audit_report(aws: AWS) -> None:
    """moto writes no audit reports: the front answers, in the form that AWS documents; bucket and object are moto's."""
    pca, s3 = aws.client("acm-pca", IRELAND), aws.client("s3", IRELAND)
    arn = pca.create_certificate_authority(
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "EC_prime256v1",
            "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": {"CommonName": "Cloud CA"},
        },
        CertificateAuthorityType="SUBORDINATE",
    )["CertificateAuthorityArn"]
    pca.import_certificate_authority_certificate(
        CertificateAuthorityArn=arn, Certificate=CA.pem, CertificateChain=ROOT.pem
    )
    issued = make_certificate(names=["dns:inside.example.com"], issuer=CA, serial_number=0x0A1B2C)
    report = [
        {
            "awsAccountId": OWN,
            "certificateArn": f"{arn}/certificate/1",
            "serial": "0a:1b:2c",
            "subject": "CN=inside.example.com",
            "notBefore": "2026-10-01T00:00:00+0000",
            "notAfter": "2026-12-31T00:00:00+0000",
            "issuedAt": "2026-10-01T00:00:00+0000",
            "revokedAt": "2026-10-05T00:00:00+0000",
            "revocationReason": "KEY_COMPROMISE",
            "templateArn": "arn:aws:acm-pca:::template/EndEntityCertificate/V1",
        },
        {"certificateArn": f"{arn}/certificate/2", "serial": "ff", "notAfter": "2024-01-01T00:00:00+0000"},
    ]
    s3.create_bucket(Bucket="audit", CreateBucketConfiguration={"LocationConstraint": IRELAND})
    s3.put_object(Bucket="audit", Key="r.json", Body=json.dumps(report))
    aws.answer(
        "acm-pca", "CreateCertificateAuthorityAuditReport", {"AuditReportId": REPORT, "S3Key": "r.json"}
    )
    aws.answer(
        "acm-pca",
        "DescribeCertificateAuthorityAuditReport",
        {"AuditReportStatus": "SUCCESS", "S3BucketName": "audit", "S3Key": "r.json"},
    )
    aws.answer("acm-pca", "GetCertificate", {"Certificate": issued.pem.decode()})
    clock = FakeClock()
    settings = aws.settings(services=["acm-pca"], regions=[IRELAND], audit_bucket="audit")
    collector = AWSCollector("cloud", AWSConfig.model_validate(settings), CollectorContext(clock=clock))
    said = [each async for each in collector.collect()]
    records = [each for each in said if isinstance(each, Observation) and each.location.startswith("cadb:")]
    (record,) = records
    ca = arn.rpartition("/")[2]
    assert record.location == f"cadb://cloud/0a1b2c?ca={OWN}/{IRELAND}/{ca}"
    assert record.chain == (issued.der,)
    assert record.facts["ca_status"] == "revoked"
    assert record.facts["revocation_reason"] == "keyCompromise"
    assert record.scope == f"{OWN}/{IRELAND}/acm-pca/{ca}"
    # Not again before its time, and nothing of it is gone meanwhile.
    clock.advance(hours=1)
    said = [each async for each in collector.collect()]
    assert [each for each in said if isinstance(each, Unchanged)] == [Unchanged(scope=record.scope)]


@pytest.mark.parametrize("report", [b"{", b"{}", b"[1, {}]", b"[" * 3000])
async def test_a_report_that_is_none_is_one_error_or_nothing(aws: AWS, report: bytes) -> None:
    pca, s3 = aws.client("acm-pca", IRELAND), aws.client("s3", IRELAND)
    arn = pca.create_certificate_authority(
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "EC_prime256v1",
            "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": {"CommonName": "Cloud CA"},
        },
        CertificateAuthorityType="SUBORDINATE",
    )["CertificateAuthorityArn"]
    pca.import_certificate_authority_certificate(
        CertificateAuthorityArn=arn, Certificate=CA.pem, CertificateChain=ROOT.pem
    )
    s3.create_bucket(Bucket="audit", CreateBucketConfiguration={"LocationConstraint": IRELAND})
    s3.put_object(Bucket="audit", Key="r.json", Body=report)
    aws.answer(
        "acm-pca", "CreateCertificateAuthorityAuditReport", {"AuditReportId": REPORT, "S3Key": "r.json"}
    )
    aws.answer(
        "acm-pca",
        "DescribeCertificateAuthorityAuditReport",
        {"AuditReportStatus": "SUCCESS", "S3BucketName": "audit", "S3Key": "r.json"},
    )
    said = await collect(
        AWSCollector, aws.settings(services=["acm-pca"], regions=[IRELAND], audit_bucket="audit")
    )
    failed = [each for each in said if isinstance(each, Incomplete)]
    assert len(failed) == (0 if report.startswith(b"[1") else 1)
    assert all("audit report s3://audit/r.json: is not" in each.error.message for each in failed)


def test_serials_of_reports_are_taken_as_other_books_have_them() -> None:
    assert acm_pca_issued._serial("0A:1b:2C") == "0a1b2c"
    assert [acm_pca_issued._serial(each) for each in (None, "", "xyz", "a" * 65, "1?ca=x")] == [""] * 5


async def test_iot_shows_devices_and_cas(aws: AWS) -> None:
    iot = aws.client("iot", IRELAND)
    active = iot.register_certificate_without_ca(certificatePem=WEB.pem.decode(), status="ACTIVE")
    off = iot.register_certificate_without_ca(certificatePem=SHOP.pem.decode(), status="INACTIVE")
    # moto lists no CAs.
    ca = iot.register_ca_certificate(
        caCertificate=CA.pem.decode(), verificationCertificate=WEB.pem.decode(), setAsActive=True
    )
    aws.answer(
        "iot",
        "ListCACertificates",
        {
            "certificates": [
                {
                    "certificateArn": ca["certificateArn"],
                    "certificateId": ca["certificateId"],
                    "status": "ACTIVE",
                }
            ]
        },
    )
    # Nor does its tagging API have certificates of devices.
    aws.answer(
        "tagging",
        "GetResources",
        {
            "ResourceTagMappingList": [
                {"ResourceARN": active["certificateArn"], "Tags": tagged({"owner": "sensors"})}
            ]
        },
        region=IRELAND,
    )
    found = await look(aws, "iot")
    device = found[f"aws://{OWN}/{IRELAND}/iot/{active['certificateId']}"]
    assert device.chain == (WEB.der,)
    assert device.facts["in_use"] is True
    assert found[f"aws://{OWN}/{IRELAND}/iot/{off['certificateId']}"].facts["in_use"] is False
    assert found[f"aws://{OWN}/{IRELAND}/iot/ca/{ca['certificateId']}"].chain == (CA.der,)
    assert device.labels == {"account": OWN, "region": IRELAND, "owner": "sensors"}


async def test_transfer_shows_certificates_and_ftps_servers(aws: AWS) -> None:
    """moto has servers, and no certificates: those the front answers."""
    arn = imported(aws.client("acm", IRELAND), WEB)
    server = aws.client("transfer", IRELAND).create_server(
        Protocols=["FTPS"], Certificate=arn, Tags=tagged({"owner": "files"})
    )["ServerId"]
    listed = {
        "Arn": f"arn:aws:transfer:{IRELAND}:{OWN}:certificate/{PARTNER}",
        "CertificateId": PARTNER,
        "Status": "ACTIVE",
        "Usage": "SIGNING",
        "Type": "CERTIFICATE_WITH_PRIVATE_KEY",
    }
    aws.answer("transfer", "ListCertificates", {"Certificates": [listed]})
    aws.answer(
        "transfer",
        "DescribeCertificate",
        {"Certificate": {**listed, "Certificate": SHOP.pem.decode(), "Tags": tagged({"owner": "b2b"})}},
    )
    found = await look(aws, "transfer")
    partner = found[f"aws://{OWN}/{IRELAND}/transfer/{PARTNER}"]
    assert partner.chain == (SHOP.der,)
    assert partner.labels["owner"] == "b2b"
    ftps = found[f"aws://{OWN}/{IRELAND}/transfer/server/{server}"]
    assert ftps.chain[0] == WEB.der
    assert ftps.labels["owner"] == "files"
    assert ftps.facts["tls_targets"] == f"{server}.server.transfer.{IRELAND}.amazonaws.com:21/ftp"


async def test_databases_show_the_ca_they_are_under_and_its_end(aws: AWS) -> None:
    """moto has instances; Amazon's CAs the front answers."""
    aws.client("rds", IRELAND).create_db_instance(
        DBInstanceIdentifier="orders",
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        MasterUsername="u",
        MasterUserPassword="only for a test",
        AllocatedStorage=20,
        CACertificateIdentifier="rds-ca-rsa2048-g1",
        Tags=tagged({"owner": "orders-team"}),
    )
    aws.answer_xml(
        "rds",
        "DescribeCertificates",
        '<DescribeCertificatesResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><DescribeCertificatesResult>'
        "<Certificates><Certificate><CertificateIdentifier>rds-ca-rsa2048-g1</CertificateIdentifier>"
        "<ValidTill>2061-05-21T22:33:53Z</ValidTill></Certificate></Certificates></DescribeCertificatesResult>"
        "</DescribeCertificatesResponse>",
    )
    found = await look(aws, "rds")
    seen = found[f"aws://{OWN}/{IRELAND}/rds/orders"]
    assert seen.facts["aws_certificate_authority"] == "rds-ca-rsa2048-g1"
    assert seen.facts["aws_certificate_authority_not_after"] == "2061-05-21T22:33:53Z"
    assert str(seen.facts["tls_targets"]).endswith(":5432/postgres")
    assert seen.labels["owner"] == "orders-team"


async def test_secrets_are_read_that_are_chosen_and_keys_are_compared_and_dropped(aws: AWS) -> None:
    store = aws.client("secretsmanager", IRELAND)
    both = json.dumps({"certificate": WEB.chain_pem.decode(), "private_key": WEB.key_pem.decode()})
    store.create_secret(Name="tls/web", SecretString=both, Tags=tagged({"owner": "web"}))
    store.create_secret(Name="other/pem", SecretString=SHOP.pem.decode(), Tags=tagged({"tls": "yes"}))
    store.create_secret(Name="other/password", SecretString="hunter2", Tags=tagged({"tls": "yes"}))
    store.create_secret(Name="private", SecretString=SHOP.pem.decode(), Tags=tagged({"tls": "no"}))
    aws.calls()
    chosen = {"names": ["tls/"], "tags": {"tls": ["yes"]}}
    found = await look(aws, "secrets", secrets=chosen)
    web = found[f"aws://{OWN}/{IRELAND}/secrets/tls/web#certificate"]
    assert web.chain == WEB.chain_der
    assert web.facts["key_match"] is True
    assert web.labels["owner"] == "web"
    assert found[f"aws://{OWN}/{IRELAND}/secrets/other/pem"].chain == (SHOP.der,)
    assert len(found) == 2
    read = [each["asked"]["SecretId"] for each in aws.calls() if each["operation"] == "GetSecretValue"]
    assert len(read) == 3
    assert not any("private" in each for each in read)
    assert b"PRIVATE KEY" not in repr(found).encode()


async def test_a_secret_that_is_denied_is_its_own_error(aws: AWS) -> None:
    store = aws.client("secretsmanager", IRELAND)
    store.create_secret(Name="tls/web", SecretString=WEB.pem.decode())
    aws.fail("secretsmanager", "GetSecretValue", "AccessDeniedException")
    (seen,) = (await look(aws, "secrets", secrets={"names": ["tls/"]})).values()
    assert seen.error is not None
    assert seen.error.kind == "permission"


async def test_a_value_is_read_once_for_each_version(aws: AWS) -> None:
    secrets, parameters = aws.client("secretsmanager", IRELAND), aws.client("ssm", IRELAND)
    secrets.create_secret(Name="tls/web", SecretString=WEB.pem.decode())
    parameters.put_parameter(Name="/tls/web", Value=WEB.pem.decode(), Type="SecureString")
    chosen = {"names": ["tls/"]}, {"names": ["/tls/"]}
    settings = aws.settings(
        services=["secrets", "parameters"], regions=[IRELAND], secrets=chosen[0], parameters=chosen[1]
    )
    collector = AWSCollector("cloud", AWSConfig.model_validate(settings), CollectorContext(clock=FakeClock()))

    async def chains() -> set[bytes]:
        return {each.chain[0] async for each in collector.collect() if isinstance(each, Observation)}

    assert await chains() == {WEB.der}
    aws.calls()
    assert await chains() == {WEB.der}
    counted = aws.counted()
    assert counted["secretsmanager:GetSecretValue"] == counted["ssm:GetParameters"] == 0
    secrets.put_secret_value(SecretId="tls/web", SecretString=SHOP.pem.decode())
    parameters.put_parameter(Name="/tls/web", Value=SHOP.pem.decode(), Type="SecureString", Overwrite=True)
    assert await chains() == {SHOP.der}


async def test_parameters_are_read_ten_at_a_time(aws: AWS) -> None:
    store = aws.client("ssm", IRELAND)
    for number in range(12):
        certificate = make_certificate(names=[f"dns:{number}.example.com"], key_number=21)
        store.put_parameter(
            Name=f"/tls/{number}",
            Value=certificate.pem.decode(),
            Type="String",
            Tags=tagged({"owner": "web"}),
        )
    aws.calls()
    found = await look(aws, "parameters", parameters={"names": ["/tls/"]})
    assert len(found) == 12
    labels = found[f"aws://{OWN}/{IRELAND}/parameters/tls/3"].labels
    assert labels == {"account": OWN, "region": IRELAND, "owner": "web"}
    assert aws.counted()["ssm:GetParameters"] == 2


def signing(number: int, key: str, at: str) -> dict[str, Any]:
    told = {"requestParameters": {"keyId": key, "signingAlgorithm": "ECDSA_SHA_256"}}
    return {
        "EventId": f"event-{number}",
        "EventName": "Sign",
        "EventSource": "kms.amazonaws.com",
        "EventTime": at,
        "Resources": [
            {"ResourceType": "AWS::KMS::Key", "ResourceName": f"arn:aws:kms:{IRELAND}:{OWN}:key/{key}"}
        ],
        "CloudTrailEvent": json.dumps(told),
    }


async def test_signatures_of_kms_keys_are_counted_once(aws: AWS) -> None:
    """moto keeps no event history: the front answers, in two pages."""
    when = EPOCH - timedelta(minutes=30)
    first = [signing(1, "key-a", when.isoformat()), signing(2, "key-a", when.isoformat())]
    aws.answer("cloudtrail", "LookupEvents", {"Events": first, "NextToken": "more"})
    aws.answer(
        "cloudtrail",
        "LookupEvents",
        {"Events": [signing(3, "key-b", when.isoformat())]},
        asked={"NextToken": "more"},
    )
    clock = FakeClock()
    settings = aws.settings(services=["kms-signatures"], regions=[IRELAND])
    collector = AWSCollector("cloud", AWSConfig.model_validate(settings), CollectorContext(clock=clock))
    for _ in range(2):
        assert [each async for each in collector.collect()] == []
        clock.advance(minutes=10)

    def counted(key: str) -> float:
        return float(AWS_KMS_SIGNATURES.labels(OWN, IRELAND, key, "ECDSA_SHA_256")._value.get())

    assert (counted("key-a"), counted("key-b")) == (2, 1)
    asked = [each["asked"] for each in aws.calls() if each["operation"] == "LookupEvents"]
    assert asked[0]["LookupAttributes"] == [{"AttributeKey": "EventName", "AttributeValue": "Sign"}]
