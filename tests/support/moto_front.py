"""moto's server with a front before it, in a process of its own: `python -m tests.support.moto_front PORT`.

The front remembers what was asked, and does what moto does not: ACM's pages and what ACM leaves out unless asked, faults on
demand, and answers to operations that moto has none for (those are given by the test, in the shape of AWS's own model).
"""

import json
import sys
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

from moto.iam.models import get_account_id_from
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_UNLESS_ASKED = ("RSA_1024", "RSA_2048")
#: By service, method and beginning of the path, for protocols that name no operation.
_PATHS = {
    ("account", "POST", "/listRegions"): "ListRegions",
    ("iot", "GET", "/certificates"): "ListCertificates",
    ("iot", "GET", "/certificates/"): "DescribeCertificate",
    ("iot", "GET", "/cacertificates"): "ListCACertificates",
    ("iot", "GET", "/cacertificate/"): "DescribeCACertificate",
    ("cloudfront", "GET", "/2020-05-31/distribution"): "ListDistributions",
    ("apigateway", "GET", "/domainnames"): "GetDomainNames",
    ("apigateway", "GET", "/v2/domainnames"): "GetDomainNames",
    ("apigateway", "GET", "/clientcertificates"): "GetClientCertificates",
}


class Front:
    def __init__(self, moto: Any) -> None:
        self._moto = moto
        self._lock = Lock()
        self._calls: list[dict[str, Any]] = []
        self._rules: list[dict[str, Any]] = []

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/-/"):
            return self._control(path, environ, start)
        call = self._call(environ)
        if call is None:
            return self._moto(environ, start)  # type: ignore[no-any-return]
        with self._lock:
            self._calls.append(call)
            rule = self._rule(call)
        if rule is not None:
            return _answer(start, rule)
        if (call["service"], call["operation"]) == ("acm", "ListCertificates"):
            return self._listed(environ, start, call)
        return self._moto(environ, start)  # type: ignore[no-any-return]

    def _control(self, path: str, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        with self._lock:
            if path == "/-/calls":
                body = json.dumps(self._calls).encode()
                if environ["REQUEST_METHOD"] == "DELETE":
                    self._calls.clear()
            else:
                if environ["REQUEST_METHOD"] == "DELETE":
                    self._rules.clear()
                else:
                    self._rules.append(json.loads(_body(environ)))
                body = b"{}"
        start("200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))])
        return [body]

    def _call(self, environ: Environ) -> dict[str, Any] | None:
        """None: none of AWS's (moto's own)."""
        signed = environ.get("HTTP_AUTHORIZATION", "")
        if "Credential=" not in signed:
            return None
        key, _, region, service, _ = signed.partition("Credential=")[2].split(",")[0].split("/")
        path = environ.get("PATH_INFO", "")
        asked: Any = None
        # Objects come in chunks with checksums, which are moto's to read.
        body = b"" if service == "s3" else _body(environ)
        if target := environ.get("HTTP_X_AMZ_TARGET"):
            operation = target.rpartition(".")[2]
            asked = json.loads(body or b"{}")
        elif "/operation/" in path:
            operation = path.rpartition("/")[2]
        elif body.startswith(b"Action=") or b"&Action=" in body:
            form = parse_qs(body.decode())
            operation, asked = form["Action"][0], {name: values[0] for name, values in form.items()}
        else:
            operation = self._by_path(service, environ["REQUEST_METHOD"], path)
            asked = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
            if body.startswith(b"{"):
                asked |= json.loads(body)
        return {
            "account": get_account_id_from(key),
            "region": region,
            "service": service,
            "operation": operation,
            "asked": asked,
            "path": path,
        }

    @staticmethod
    def _by_path(service: str, method: str, path: str) -> str:
        found = [
            (len(prefix), operation)
            for (owner, verb, prefix), operation in _PATHS.items()
            if owner == service
            and verb == method
            and (path == prefix or (prefix.endswith("/") and path.startswith(prefix)))
        ]
        return max(found)[1] if found else f"{method} {path}"

    def _rule(self, call: dict[str, Any]) -> dict[str, Any] | None:
        """The last one given that fits, used up by it if it has a number of times."""
        for rule in reversed(self._rules):
            if all(call.get(name) == value for name, value in rule["match"].items()) and rule["times"] != 0:
                asked = call["asked"] or {}
                if all(asked.get(name) == value for name, value in rule.get("asked", {}).items()):
                    rule["times"] -= 1
                    found: dict[str, Any] = rule
                    return found
        return None

    def _listed(self, environ: Environ, start: StartResponse, call: dict[str, Any]) -> Iterable[bytes]:
        """As ACM lists: in pages, and only what is asked for by key type and by origin of the key pair."""
        asked = call["asked"]
        types = asked.get("Includes", {}).get("keyTypes") or list(_UNLESS_ASKED)
        origins = asked.get("CertificateKeyPairOrigins") or ["AWS_MANAGED", "CUSTOMER_PROVIDED"]
        heads: list[Any] = []
        body = b"".join(self._moto(environ, lambda *head: heads.append(head)))
        if not heads[0][0].startswith("200"):
            start(*heads[0][:2])
            return [body]
        answer = json.loads(body)
        every = answer.get("CertificateSummaryList", ())
        every = [
            each
            for each in every
            if each["KeyAlgorithm"] in types
            and each.get("CertificateKeyPairOrigin", "AWS_MANAGED") in origins
        ]
        first = int(asked.get("NextToken") or 0)
        size = int(asked.get("MaxItems") or 1000)
        answer["CertificateSummaryList"] = every[first : first + size]
        if first + size < len(every):
            answer["NextToken"] = str(first + size)
        return _answer(start, {"status": 200, "answer": answer})


class _Input:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1) -> bytes:
        size = len(self._data) if size is None or size < 0 else size
        part, self._data = self._data[:size], self._data[size:]
        return part

    def readline(self, size: int = -1) -> bytes:
        return self.read(size)


def _body(environ: Environ) -> bytes:
    """Left where it was for whoever reads it next."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = _Input(body)
    return body


def _answer(start: StartResponse, rule: dict[str, Any]) -> Iterable[bytes]:
    status = int(rule.get("status", 200))
    headers = [("content-type", rule.get("type", "application/x-amz-json-1.1"))]
    if "code" in rule:
        code, message = rule["code"], rule.get("message", "by order of the test")
        if rule.get("format") == "xml":
            body = (
                f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
                "<RequestId>1</RequestId></ErrorResponse>"
            ).encode()
            headers = [("content-type", "text/xml")]
        else:
            body = json.dumps({"__type": code, "message": message}).encode()
            headers.append(("x-amzn-errortype", code))
    elif "raw" in rule:
        body = rule["raw"].encode()
    else:
        body = json.dumps(rule["answer"]).encode()
    start(f"{status} X", [*headers, ("content-length", str(len(body)))])
    return [body]


def main() -> None:
    app = Front(DomainDispatcherApplication(create_backend_app))
    server = make_server(
        "127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=MotoRequestHandler
    )
    server.serve_forever()


if __name__ == "__main__":
    main()
