"""What one probe answers: metrics by blackbox_exporter's names (and ssl_exporter's), as text."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address

from cryptography.x509 import ocsp

from certwatch.model.certificate import Certificate
from certwatch.model.cipher_suites import IANA_NAMES
from exporters.prometheus import go_names
from exporters.prometheus.exposition import escape
from exporters.prometheus.probe.judged import Judged

#: Name and help of every metric, in the order in which they are answered.
FAMILIES: Mapping[str, str] = {
    "probe_dns_lookup_time_seconds": "Time taken to look the target's name up.",
    "probe_duration_seconds": "How long the probe took.",
    "probe_expect_info": "What a query_response has matched.",
    "probe_failed_due_to_bytes": "1: the probe failed since what was read is not what was expected.",
    "probe_failed_due_to_regex": "1: the probe failed by a regular expression.",
    "probe_http_content_length": "Content-Length of the answer; -1: it has none.",
    "probe_http_duration_seconds": "Time taken by each phase, summed over redirects.",
    "probe_http_last_modified_timestamp_seconds": "Last-Modified of the answer.",
    "probe_http_redirects": "Redirects that were followed.",
    "probe_http_ssl": "1: the last request went over TLS.",
    "probe_http_status_code": "Status of the answer.",
    "probe_http_uncompressed_body_length": "Length of the body.",
    "probe_http_version": "HTTP version of the answer.",
    "probe_ip_addr_hash": "Hash of the address, to see when it changes.",
    "probe_ip_protocol": "4 or 6.",
    "probe_ssl_earliest_cert_expiry": "First end among the certificates that clients need.",
    "probe_ssl_last_chain_expiry_timestamp_seconds": "End of the chain to a trusted root that lasts longest.",
    "probe_ssl_last_chain_info": "The leaf certificate.",
    "probe_success": "1: the probe succeeded.",
    "probe_timeout_seconds": "The probe's time limit.",
    "probe_tls_cipher_info": "The cipher suite.",
    "probe_tls_version_info": "The version of TLS.",
    "ssl_cert_not_after": "End of validity of each presented certificate.",
    "ssl_cert_not_before": "Beginning of validity of each presented certificate.",
    "ssl_ocsp_response_next_update": "nextUpdate of the stapled OCSP response.",
    "ssl_ocsp_response_produced_at": "producedAt of the stapled OCSP response.",
    "ssl_ocsp_response_revoked_at": "When the stapled OCSP response says that it was revoked.",
    "ssl_ocsp_response_stapled": "1: an OCSP response was stapled.",
    "ssl_ocsp_response_status": "Of the stapled OCSP response: 0 good, 1 revoked, 2 unknown.",
    "ssl_ocsp_response_this_update": "thisUpdate of the stapled OCSP response.",
    "ssl_probe_success": "1: the probe succeeded.",
    "ssl_prober": "The prober.",
    "ssl_tls_version_info": "The version of TLS.",
    "ssl_verified_cert_not_after": "End of validity of each certificate of each chain that holds.",
    "ssl_verified_cert_not_before": "Beginning of validity of each certificate of each chain that holds.",
}
_HEADS = {name: f"# HELP {name} {help}\n# TYPE {name} gauge\n" for name, help in FAMILIES.items()}
_ORDER = {name: at for at, name in enumerate(FAMILIES)}
_STATUS = {ocsp.OCSPCertStatus.GOOD: 0, ocsp.OCSPCertStatus.REVOKED: 1, ocsp.OCSPCertStatus.UNKNOWN: 2}
VERSIONS = {"TLSv1": "TLS 1.0", "TLSv1.1": "TLS 1.1", "TLSv1.2": "TLS 1.2", "TLSv1.3": "TLS 1.3"}


class Answer:
    """Made for one probe."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: dict[str, str] = {}

    def put(self, name: str, value: float) -> None:
        self._samples[name] = f"{name} {value!r}\n"

    def put_labelled(self, name: str, samples: str) -> None:
        """Lines as they are."""
        self._samples[name] = samples

    def text(self) -> bytes:
        samples = self._samples
        parts = [_HEADS[name] + samples[name] for name in sorted(samples, key=_ORDER.__getitem__)]
        return "".join(parts).encode("utf-8", "replace")

    def address(self, address: str, lookup_seconds: float) -> None:
        version, hashed = _version_and_hash(address)
        self.put("probe_dns_lookup_time_seconds", lookup_seconds)
        self.put("probe_ip_protocol", version)
        self.put("probe_ip_addr_hash", hashed)


@lru_cache(maxsize=4096)
def _version_and_hash(address: str) -> tuple[int, int]:
    ip = ip_address(address.partition("%")[0])
    return ip.version, _fnv32a(ip.packed)


def _fnv32a(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def labelled(name: str, labels: Mapping[str, str], value: float = 1) -> str:
    """Empty values are kept: so do programs written in Go."""
    shown = ",".join(f'{key}="{escape(each)}"' for key, each in labels.items())
    return f"{name}{{{shown}}} {value!r}\n"


def version_text(version: str) -> str:
    """`version`: as OpenSSL has it."""
    return VERSIONS.get(version, "unknown")


def cipher_text(cipher: str) -> str:
    return IANA_NAMES.get(cipher, cipher)


def chain_samples(judged: Judged) -> dict[str, str]:
    """By metric: what blackbox_exporter says of a chain. An end that is not known has no metric."""
    leaf = judged.chain[0]
    samples = {
        "probe_ssl_last_chain_info": labelled(
            "probe_ssl_last_chain_info",
            {
                "fingerprint_sha256": leaf.fingerprint_sha256.hex(),
                "issuer": go_names.distinguished_name(leaf.issuer_der),
                "serialnumber": leaf.serial_hex,
                "subject": go_names.distinguished_name(leaf.subject_der),
                "subjectalternative": ",".join(go_names.names_of(leaf, "dns")),
            },
        )
    }
    for name, end in (
        ("probe_ssl_earliest_cert_expiry", judged.earliest),
        ("probe_ssl_last_chain_expiry_timestamp_seconds", judged.last),
    ):
        if end is not None:
            samples[name] = f"{name} {seconds(end)}\n"
    return samples


def ssl_chain_samples(judged: Judged) -> dict[str, str]:
    """By metric: what ssl_exporter says of a chain."""
    samples = dict.fromkeys(
        (f"ssl_{kind}cert_not_{end}" for kind in ("", "verified_") for end in ("after", "before")), ""
    )
    for each in dict.fromkeys(judged.chain):
        _put_certificate(samples, "ssl_cert", {}, each)
    for number, path in enumerate(judged.paths):
        for each in path:
            _put_certificate(samples, "ssl_verified_cert", {"chain_no": str(number)}, each)
    return {name: lines for name, lines in samples.items() if lines}


def _put_certificate(
    samples: dict[str, str], family: str, more: Mapping[str, str], certificate: Certificate
) -> None:
    labels = {**more, **go_names.ssl_labels(certificate)}
    for end, instant in (("after", certificate.not_after), ("before", certificate.not_before)):
        if instant is not None:
            name = f"{family}_not_{end}"
            samples[name] += labelled(name, labels, seconds(instant))


def seconds(instant: datetime) -> int:
    return int(instant.timestamp())


def staple_samples(staple: bytes | None) -> dict[str, str]:
    """By metric: what ssl_exporter says of a stapled OCSP response. Without one there is no status, which would be
    "good"."""
    name = "ssl_ocsp_response_stapled"
    if staple is None:
        return {name: f"{name} 0\n"}
    try:
        found = ocsp.load_der_ocsp_response(staple)
        values = {
            "ssl_ocsp_response_status": _STATUS[found.certificate_status],
            "ssl_ocsp_response_produced_at": seconds(found.produced_at_utc),
            "ssl_ocsp_response_this_update": seconds(found.this_update_utc),
        }
        for metric, instant in (
            ("ssl_ocsp_response_next_update", found.next_update_utc),
            ("ssl_ocsp_response_revoked_at", found.revocation_time_utc),
        ):
            if instant is not None:
                values[metric] = seconds(instant)
    except (ValueError, KeyError):
        # Not a response, or one that says that there is none.
        values = {}
    return {metric: f"{metric} {value}\n" for metric, value in ({name: 1} | values).items()}
