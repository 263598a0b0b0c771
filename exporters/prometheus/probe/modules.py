"""blackbox_exporter's config file: the modules by which `/probe` looks, those of its probers tcp and http.

Modules of other probers stay in the file: asking for one is answered with what to do. So are modules that need what is
not done here. A key that blackbox_exporter does not know is a mistake.
"""

import base64
import difflib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import re2
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from certwatch.plugins.duration import Duration

MAX_BYTES = 4 << 20
#: Of a body that regular expressions are held against.
MAX_BODY_BYTES = 10 << 20

IPProtocol = Literal["", "ip4", "ip6"]
TLSVersion = Literal["", "TLS10", "TLS11", "TLS12", "TLS13"]

_SILENT = re2.Options()
_SILENT.log_errors = False


def _regexp(value: Any) -> Any:
    """RE2, as Prometheus' programs take it: linear in what a server sends."""
    if not isinstance(value, str | bytes | int | float):
        raise ValueError("expected a regular expression")
    text = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    try:
        return re2.compile(text, _SILENT)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        said = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise ValueError(f"not a regular expression: {said}") from error


def _bytes(value: Any) -> Any:
    # What YAML took for a number was meant as it is written.
    if not isinstance(value, str | bytes | int | float):
        raise ValueError("expected a text")
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Regexp = Annotated[Any, BeforeValidator(_regexp)]
Bytes = Annotated[bytes, BeforeValidator(_bytes)]
Text = Annotated[str, BeforeValidator(_text)]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, value: Any) -> Any:
        """`http:` with nothing behind it says nothing."""
        if not isinstance(value, dict):
            return value
        return {key: each for key, each in value.items() if each is not None}


class TLSKeys(_Keys):
    ca: str = ""
    ca_file: str = ""
    cert: str = Field(default="", repr=False)
    cert_file: str = ""
    key: str = Field(default="", repr=False)
    key_file: str = ""
    server_name: str = ""
    insecure_skip_verify: bool = False
    min_version: TLSVersion = ""
    max_version: TLSVersion = ""
    #: ssl_exporter's; TLS is left after the handshake, so that nobody asks for another.
    renegotiation: Literal["", "never", "once", "freely"] = ""
    #: Of a secret manager that Prometheus' programs may know.
    ca_ref: str = ""
    cert_ref: str = ""
    key_ref: str = ""


class LabelKeys(_Keys):
    name: str
    value: Text = ""


class QueryResponseKeys(_Keys):
    expect: Regexp | None = None
    expect_bytes: Bytes = b""
    labels: tuple[LabelKeys, ...] = ()
    send: Bytes = b""
    starttls: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> "QueryResponseKeys":
        if self.expect is not None and self.expect_bytes:
            raise ValueError("expect and expect_bytes exclude one another")
        return self


class TCPKeys(_Keys):
    preferred_ip_protocol: IPProtocol = ""
    ip_protocol_fallback: bool = True
    source_ip_address: str = ""
    query_response: tuple[QueryResponseKeys, ...] = ()
    tls: bool = False
    tls_config: TLSKeys = TLSKeys()
    #: ssl_exporter's: the protocol whose STARTTLS is spoken.
    starttls: Literal["", "smtp", "ftp", "imap", "pop3", "postgres"] = ""


class HeaderMatchKeys(_Keys):
    header: Annotated[str, Field(min_length=1)]
    regexp: Regexp
    allow_missing: bool = False


class BasicAuthKeys(_Keys):
    username: Text = ""
    username_file: str = ""
    username_ref: str = ""
    password: Text = Field(default="", repr=False)
    password_file: str = ""
    password_ref: str = ""


class AuthorizationKeys(_Keys):
    type: str = "Bearer"
    credentials: str = Field(default="", repr=False)
    credentials_file: str = ""
    credentials_ref: str = ""


class HTTPKeys(_Keys):
    valid_status_codes: tuple[int, ...] = ()
    valid_http_versions: tuple[str, ...] = ()
    preferred_ip_protocol: IPProtocol = ""
    ip_protocol_fallback: bool = True
    skip_resolve_phase_with_proxy: bool = False
    no_follow_redirects: bool | None = None
    follow_redirects: bool = True
    fail_if_ssl: bool = False
    fail_if_not_ssl: bool = False
    method: str = "GET"
    headers: dict[str, Text] = Field(default_factory=dict, repr=False)
    fail_if_body_matches_regexp: tuple[Regexp, ...] = ()
    fail_if_body_not_matches_regexp: tuple[Regexp, ...] = ()
    fail_if_body_json_matches_cel: str | None = None
    fail_if_body_json_not_matches_cel: str | None = None
    fail_if_header_matches: tuple[HeaderMatchKeys, ...] = ()
    fail_if_header_not_matches: tuple[HeaderMatchKeys, ...] = ()
    body: Bytes = b""
    body_file: str = ""
    compression: str = ""
    body_size_limit: Any = None
    enable_http2: bool = True
    enable_http3: bool = False
    use_http3: bool = False
    tls_config: TLSKeys = TLSKeys()
    basic_auth: BasicAuthKeys | None = None
    authorization: AuthorizationKeys | None = None
    bearer_token: str = Field(default="", repr=False)
    bearer_token_file: str = ""
    oauth2: Any = None
    proxy_url: str = ""
    no_proxy: str = ""
    proxy_from_environment: bool = False
    proxy_connect_header: Any = None
    http_headers: Any = None

    @model_validator(mode="after")
    def _one_body(self) -> "HTTPKeys":
        if self.body and self.body_file:
            raise ValueError("body and body_file exclude one another")
        return self

    @property
    def follows(self) -> bool:
        return self.follow_redirects if self.no_follow_redirects is None else not self.no_follow_redirects


class ModuleKeys(_Keys):
    prober: Literal[
        "tcp",
        "http",
        "https",
        "icmp",
        "dns",
        "grpc",
        "unix",
        "websocket",
        "file",
        "http_file",
        "kubernetes",
        "kubeconfig",
    ]
    #: 0: as long as Prometheus waits.
    timeout: Duration = timedelta(0)
    #: ssl_exporter's: probed where the request names no target.
    target: str = ""
    http: HTTPKeys = HTTPKeys()
    tcp: TCPKeys = TCPKeys()
    #: ssl_exporter's.
    tls_config: TLSKeys = TLSKeys()
    https: Any = None
    icmp: Any = None
    dns: Any = None
    grpc: Any = None
    unix: Any = None
    websocket: Any = None
    file: Any = None
    http_file: Any = None
    kubernetes: Any = None
    kubeconfig: Any = None

    @property
    def unsupported(self) -> str:
        """Why it cannot be probed by. Empty: it can."""
        if self.prober not in ("tcp", "http", "https"):
            return f"prober {self.prober} is not certwatch's: keep the program that has it for this module"
        for tls in (self.tls_config, self.tcp.tls_config, self.http.tls_config):
            if tls.ca_ref or tls.cert_ref or tls.key_ref:
                return "references to a secret manager are not followed by certwatch: name files"
        if self.prober == "https" and isinstance(self.https, Mapping) and self.https.get("proxy_url"):
            return "proxy_url is not done by certwatch: keep ssl_exporter for this module"
        if self.prober == "http":
            keys = self.http
            lacking = {
                "enable_http3": keys.enable_http3 or keys.use_http3,
                "oauth2": keys.oauth2 is not None,
                "proxy_url": bool(keys.proxy_url),
                "proxy_from_environment": keys.proxy_from_environment,
                "http_headers": keys.http_headers is not None,
                "compression": keys.compression not in ("", "gzip", "deflate", "identity"),
                "username_ref": keys.basic_auth is not None and bool(keys.basic_auth.username_ref),
                "password_ref": keys.basic_auth is not None and bool(keys.basic_auth.password_ref),
                "credentials_ref": keys.authorization is not None
                and bool(keys.authorization.credentials_ref),
                "fail_if_body_json_matches_cel": keys.fail_if_body_json_matches_cel is not None,
                "fail_if_body_json_not_matches_cel": keys.fail_if_body_json_not_matches_cel is not None,
            }
            for key, given in lacking.items():
                if given:
                    return f"{key} is not done by certwatch: keep blackbox_exporter for this module"
        return ""


class _File(_Keys):
    modules: dict[str, ModuleKeys] = Field(default_factory=dict)
    #: ssl_exporter's: the module that is meant where the request names none.
    default_module: str = ""


#: Without a file: what blackbox_exporter's and ssl_exporter's own files begin with.
BUILT_IN: Mapping[str, Any] = {
    "http_2xx": {"prober": "http", "http": {"preferred_ip_protocol": "ip4"}},
    "http_post_2xx": {"prober": "http", "http": {"method": "POST"}},
    "tcp_connect": {"prober": "tcp"},
    "tcp_tls": {"prober": "tcp", "tcp": {"tls": True}},
}


class Modules(BaseModel):
    """What `/probe` looks by. Equal for two that do the same."""

    model_config = ConfigDict(frozen=True)

    #: Where it was read. Empty: built in.
    path: str = ""
    #: The file's text: a reload finds out by it that something changed.
    text: str = Field(default="", repr=False)
    modules: dict[str, ModuleKeys] = Field(default_factory=dict, repr=False)
    default: str = "http_2xx"

    def __eq__(self, other: object) -> bool:
        # Compiled expressions are equal to nothing but themselves.
        return isinstance(other, Modules) and (self.path, self.text) == (other.path, other.text)

    def __hash__(self) -> int:
        return hash((self.path, self.text))


def read_modules(value: Any) -> Modules | None:
    """From the config's `probe`: true, false, or the path of a file. Blocking. Raises ValueError that says what is wrong
    and where."""
    if value is None or value is False:
        return None
    if isinstance(value, Modules):
        return value
    if value is True:
        return _checked("", "", {"modules": dict(BUILT_IN)})
    if not isinstance(value, str) or not value:
        raise ValueError("expected true, false or the path of blackbox_exporter's config file")
    try:
        with Path(value).expanduser().open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{value}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"{value}: larger than {MAX_BYTES} bytes")
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where is not None else ""
        raise ValueError(
            f"{value}{line}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        ) from error
    if not isinstance(document, dict):
        raise ValueError(f"{value}: expected modules: {{NAME: …}}")
    return _checked(value, base64.b85encode(data).decode(), document)


def _checked(path: str, text: str, document: Mapping[Any, Any]) -> Modules:
    try:
        found = _File.model_validate(document)
    except ValidationError as error:
        said = "; ".join(_complaint(each) for each in error.errors(include_url=False)[:5])
        raise ValueError(f"{path}: {said}") from error
    modules = found.modules
    if found.default_module or any(_is_ssl_exporters(each) for each in modules.values()):
        modules = {name: _with_tls(each) for name, each in modules.items()}
    return Modules(path=path, text=text, modules=modules, default=found.default_module or "http_2xx")


def _is_ssl_exporters(module: ModuleKeys) -> bool:
    return (
        module.prober in ("https", "file", "http_file", "kubernetes", "kubeconfig")
        or bool(module.tcp.starttls)
        or module.tls_config != TLSKeys()
    )


def _with_tls(module: ModuleKeys) -> ModuleKeys:
    """ssl_exporter's prober tcp is for TLS alone, and its keys stand with the module."""
    if module.prober != "tcp":
        return module
    tcp = module.tcp.model_copy(update={"tls": True, "tls_config": module.tls_config})
    return module.model_copy(update={"tcp": tcp})


def _complaint(error: Any) -> str:
    at = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        near = difflib.get_close_matches(key, _known(error["loc"]), n=1)
        return f"{at}: unknown key" + (f', did you mean "{near[0]}"?' if near else "")
    return f"{at}: {str(error['msg']).removeprefix('Value error, ')}"


def _known(loc: tuple[Any, ...]) -> list[str]:
    models: list[type[BaseModel]] = [
        _File,
        ModuleKeys,
        HTTPKeys,
        TCPKeys,
        TLSKeys,
        QueryResponseKeys,
        HeaderMatchKeys,
    ]
    return [name for model in models for name in model.model_fields]
