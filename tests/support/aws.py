"""moto's server on loopback, and real boto3 to fill it."""

import json
import os
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.plugins.testing import Issued
from tests.support.servers import accepts, free_port, running

#: moto's own account, that credentials which it does not know belong to.
OWN = "123456789012"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    # Nothing of this machine, and never its metadata service.
    "AWS_CONFIG_FILE": "/nonexistent/config",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
    "AWS_EC2_METADATA_DISABLED": "true",
}
NO_RDS_CERTIFICATES = (
    '<DescribeCertificatesResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><DescribeCertificatesResult>'
    "</DescribeCertificatesResult></DescribeCertificatesResponse>"
)


def role(account: str, name: str = "certwatch") -> str:
    return f"arn:aws:iam::{account}:role/{name}"


@dataclass(kw_only=True)
class AWS:
    url: str

    def client(self, service: str, region: str = "us-east-1", account: str = OWN) -> Any:
        """For the test itself, with all rights."""
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        if account != OWN:
            sts = boto3.client("sts", region_name="us-east-1", endpoint_url=self.url, **keys)
            taken = sts.assume_role(RoleArn=role(account, "test"), RoleSessionName="test")["Credentials"]
            keys = {
                "aws_access_key_id": taken["AccessKeyId"],
                "aws_secret_access_key": taken["SecretAccessKey"],
                "aws_session_token": taken["SessionToken"],
            }
        return boto3.client(service, region_name=region, endpoint_url=self.url, **keys)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, method=method, data=data)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    def reset(self) -> None:
        self._ask("POST", "/moto-api/reset", {})
        self._ask("DELETE", "/-/rules")
        self._ask("DELETE", "/-/calls")
        # What moto does not know is empty until a test says something else.
        self.answer("account", "ListRegions", regions("us-east-1", "eu-west-1"))
        self.answer("transfer", "ListCertificates", {"Certificates": []})
        self.answer("iot", "ListCACertificates", {"certificates": []})
        self.answer("apigateway", "GetClientCertificates", {"item": []})
        self.answer_xml("rds", "DescribeCertificates", NO_RDS_CERTIFICATES)

    @contextmanager
    def enforcing(self) -> Iterator[None]:
        """Policies count meanwhile."""
        self._ask_text("/moto-api/reset-auth", "0")
        try:
            yield
        finally:
            self._ask_text("/moto-api/reset-auth", "inf")

    def _ask_text(self, path: str, body: str) -> None:
        request = urllib.request.Request(self.url + path, method="POST", data=body.encode())  # noqa: S310
        request.add_header("content-type", "text/plain")
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310

    def calls(self, *, clear: bool = True) -> list[dict[str, Any]]:
        return list(self._ask("DELETE" if clear else "GET", "/-/calls"))

    def counted(self) -> Counter[str]:
        """Calls since they were last asked for, as service:operation."""
        return Counter(f"{each['service']}:{each['operation']}" for each in self.calls())

    def fail(
        self,
        service: str,
        operation: str,
        code: str,
        *,
        status: int = 400,
        times: int = -1,
        xml: bool = False,
        **match: str,
    ) -> None:
        """From now on. `match`: account, region."""
        rule: dict[str, Any] = {
            "match": {"service": service, "operation": operation, **match},
            "status": status,
            "code": code,
            "times": times,
        }
        if xml:
            rule["format"] = "xml"
        self._ask("POST", "/-/rules", rule)

    def answer(
        self,
        service: str,
        operation: str,
        answer: object,
        *,
        asked: dict[str, Any] | None = None,
        **match: str,
    ) -> None:
        """What moto has no answer for. `asked`: only to requests that have these values."""
        rule = {"match": {"service": service, "operation": operation, **match}, "times": -1, "answer": answer}
        self._ask("POST", "/-/rules", rule | ({"asked": asked} if asked else {}))

    def answer_xml(self, service: str, operation: str, answer: str) -> None:
        self.answer_raw(service, operation, answer, type="text/xml")

    def answer_raw(
        self, service: str, operation: str, answer: str, *, type: str = "text/html", status: int = 200
    ) -> None:
        self.rule(service, operation, {"raw": answer, "type": type, "status": status})

    def rule(
        self, service: str, operation: str, answer: dict[str, Any], *, asked: dict[str, Any] | None = None
    ) -> None:
        """`answer`: as the front takes it: "code", "raw" or "answer", and "status". `asked`: as of `answer`."""
        match = {"service": service, "operation": operation}
        self._ask(
            "POST", "/-/rules", {"match": match, "times": -1, **answer, **({"asked": asked} if asked else {})}
        )

    def settings(self, **more: Any) -> dict[str, Any]:
        """Of a collector that looks here."""
        return {"endpoint_url": self.url, "rate": 10_000, "attempts": 3, "timeout": 60, **more}


def regions(*names: str) -> dict[str, Any]:
    return {"Regions": [{"RegionName": each, "RegionOptStatus": "ENABLED"} for each in names]}


def imported(acm: Any, issued: Issued, tags: dict[str, str] | None = None, arn: str | None = None) -> str:
    """ARN of a certificate that is put into ACM."""
    more: dict[str, Any] = {"Tags": tagged(tags)} if tags else {}
    if arn is not None:
        more["CertificateArn"] = arn
    above = b"".join(each.public_bytes(encoding=Encoding.PEM) for each in issued.issuers)
    if above:
        more["CertificateChain"] = above
    answer = acm.import_certificate(Certificate=issued.pem, PrivateKey=issued.key_pem, **more)
    return str(answer["CertificateArn"])


def tagged(tags: dict[str, str]) -> Sequence[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@contextmanager
def moto(folder: Path) -> Iterator[AWS]:
    """A server; `os.environ` has credentials for it while it runs."""
    port = free_port()
    kept = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    try:
        with running(
            [sys.executable, "-W", "ignore", "-m", "tests.support.moto_front", str(port)],
            ready=lambda: accepts(port),
            log=folder / "moto.log",
            seconds=90,
        ):
            yield AWS(url=f"http://127.0.0.1:{port}")
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
