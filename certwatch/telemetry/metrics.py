"""certwatch's own metrics: one table of name, help and labels, read by code, docs and tests.

What is measured of certificates is the exporter's; here stands what certwatch says of its own work.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

OBSERVATIONS = Counter(
    "certwatch_observations",
    'Looks at locations, by outcome: "ok" or an error kind.',
    ["collector", "kind", "outcome"],
    registry=REGISTRY,
)
HANDSHAKE_SECONDS = Histogram(
    "certwatch_tls_handshake_seconds",
    "TLS handshakes that succeeded, first byte sent to finished.",
    ["collector"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
OCSP_SECONDS = Histogram(
    "certwatch_ocsp_request_seconds",
    "Requests to OCSP responders that were answered, from looking the name up to the last byte.",
    ["responder"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
OCSP_REQUESTS = Counter(
    "certwatch_ocsp_requests",
    'Requests to OCSP responders, by outcome: "ok", an error kind, or what was wrong with the answer.',
    ["responder", "outcome"],
    registry=REGISTRY,
)
CRL_FETCHES = Counter(
    "certwatch_crl_fetches",
    'Fetches of CRLs, by outcome: "ok", "unchanged" or an error kind.',
    ["outcome"],
    registry=REGISTRY,
)
CRL_SECONDS = Histogram(
    "certwatch_crl_fetch_seconds",
    "Requests for CRLs that were answered, by the server's host.",
    ["host"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
    registry=REGISTRY,
)
REVOCATION_PROPAGATION = Histogram(
    "certwatch_revocation_propagation_seconds",
    "From the revocation in a CA's books until OCSP or the CRL was first seen to say so, by source.",
    ["source"],
    buckets=(60, 300, 900, 3600, 14400, 43200, 86400, 345600),
    registry=REGISTRY,
)
CA_DATABASE_REQUESTS = Counter(
    "certwatch_ca_database_requests",
    'Requests that a CA has decided, by its database: "issued", "failed", "denied".',
    ["collector", "issuer", "profile", "outcome"],
    registry=REGISTRY,
)
KUBERNETES_REQUESTS = Counter(
    "certwatch_kubernetes_requests",
    'Requests to Kubernetes API servers, by verb ("list", "watch", "get", "create", "patch", "apply", "delete") and outcome: "ok", the HTTP status that refused it, or an error kind where there was no answer.',
    ["cluster", "verb", "outcome"],
    registry=REGISTRY,
)
KUBERNETES_LISTS = Counter(
    "certwatch_kubernetes_lists",
    'Whole lists of a resource that were begun, by why: "first", "expired" (the server no longer knows what changed), "failed" (the one before was not ended), "scan" (it is not followed).',
    ["cluster", "resource", "reason"],
    registry=REGISTRY,
)
KUBERNETES_CERTIFICATE_REQUESTS = Counter(
    "certwatch_kubernetes_certificate_requests",
    'cert-manager\'s CertificateRequests that came to their end while this process watched, by outcome: "issued", "failed", "denied".',
    ["cluster", "outcome"],
    registry=REGISTRY,
)
KUBERNETES_FOLLOWED = Gauge(
    "certwatch_kubernetes_followed",
    "1: the resource is watched, and what is known is what there is; 0: it cannot be, see the log and the scan's error.",
    ["cluster", "namespace", "resource"],
    registry=REGISTRY,
)
KUBERNETES_PLACES = Gauge(
    "certwatch_kubernetes_places",
    "Places with certificates that are known of a resource.",
    ["cluster", "namespace", "resource"],
    registry=REGISTRY,
)
KUBERNETES_UNREADABLE = Counter(
    "certwatch_kubernetes_unreadable_objects",
    "Objects of an API server that were not what the API promises, or had a name that none may have: each was passed over, see the log.",
    ["cluster", "resource"],
    registry=REGISTRY,
)
AWS_REQUESTS = Counter(
    "certwatch_aws_requests",
    'Requests to AWS, each attempt, by outcome: "ok", "throttled" or an error kind.',
    ["account", "service", "operation", "outcome"],
    registry=REGISTRY,
)
AWS_KMS_SIGNATURES = Counter(
    "certwatch_aws_kms_signatures",
    "Signatures by keys in AWS KMS, as CloudTrail tells of them.",
    ["account", "region", "key", "algorithm"],
    registry=REGISTRY,
)
REST_REQUESTS = Counter(
    "certwatch_rest_requests",
    'Requests to other clouds and services with certificates, each attempt, by outcome: "ok", "throttled" or an error kind.',
    ["service", "outcome"],
    registry=REGISTRY,
)
RENEWALS = Counter(
    "certwatch_renewals",
    "Leaves that were replaced by later ones at a location: before the lead of a page ran out, or late.",
    ["owner", "environment", "outcome"],
    registry=REGISTRY,
)
COMPROMISE_RECOVERY = Histogram(
    "certwatch_compromise_recovery_seconds",
    "From the finding that a key in use is compromised or can be computed, until the place serves another.",
    buckets=(300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 604800),
    registry=REGISTRY,
)
SCANS = Counter("certwatch_scans", "Finished scans, by status.", ["collector", "status"], registry=REGISTRY)
SCAN_SECONDS = Gauge(
    "certwatch_scan_last_duration_seconds", "How long the last scan took.", ["collector"], registry=REGISTRY
)
SCAN_LAST_COMPLETE = Gauge(
    "certwatch_scan_last_complete_timestamp_seconds",
    "When a scan was last complete. Absent: never in this process's life or before.",
    ["collector"],
    registry=REGISTRY,
)
TARGETS = Gauge(
    "certwatch_targets",
    'Hosts that a TLS collector is to see, by where they are named: "targets" (the config itself), "file_sd", "http_sd", "dns".',
    ["collector", "source"],
    registry=REGISTRY,
)
TARGETS_SEEN = Gauge(
    "certwatch_targets_seen",
    "Of these, hosts at which the last scan saw a certificate, at one address at least.",
    ["collector", "source"],
    registry=REGISTRY,
)
ZONE_WORKERS = Gauge(
    "certwatch_zone_workers", "Workers of a zone that are alive.", ["zone"], registry=REGISTRY
)
ZONE_SHARDS = Gauge(
    "certwatch_zone_shards",
    'Parts of scans that are for a zone\'s workers, by state: "waiting", "running".',
    ["zone", "state"],
    registry=REGISTRY,
)
ZONE_OLDEST_SECONDS = Gauge(
    "certwatch_zone_oldest_wait_seconds",
    "How long the part that waits longest for a zone's workers has waited; 0: none waits.",
    ["zone"],
    registry=REGISTRY,
)
ZONE_SHARDS_ENDED = Counter(
    "certwatch_zone_shards_ended",
    'Parts of scans that a zone\'s workers ended, by outcome: "complete", "partial", "failed" (it came to nothing), "lost" (every worker that took it fell silent).',
    ["zone", "outcome"],
    registry=REGISTRY,
)
ZONE_SHARDS_TAKEN_OVER = Counter(
    "certwatch_zone_shards_taken_over",
    "Parts of scans that were taken from a worker which fell silent, for another one.",
    ["zone"],
    registry=REGISTRY,
)
ZONE_PUSHES = Counter(
    "certwatch_zone_pushes",
    "Requests of workers that cannot reach PostgreSQL, by the HTTP status of the answer.",
    ["status"],
    registry=REGISTRY,
)
SCAN_SKIPPED = Counter(
    "certwatch_scans_skipped",
    "Runs left out because the one before was still going.",
    ["collector"],
    registry=REGISTRY,
)
PLUGIN_FAILURES = Counter(
    "certwatch_plugin_failures",
    "Calls of a plug-in that raised what they must not, or could not be loaded, by reason.",
    ["group", "kind", "reason"],
    registry=REGISTRY,
)
EVALUATIONS = Counter("certwatch_evaluations", "Locations judged by the rules.", registry=REGISTRY)
EVALUATION_SECONDS = Histogram(
    "certwatch_evaluation_round_seconds",
    "Rounds of the rules over what changed and what was due.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
    registry=REGISTRY,
)
NOTIFICATIONS = Counter(
    "certwatch_notifications",
    "Batches sent by an exporter, by outcome.",
    ["exporter", "outcome"],
    registry=REGISTRY,
)
SPOOL_BYTES = Gauge(
    "certwatch_spool_bytes",
    "What an exporter has still to deliver, on disk and in memory.",
    ["exporter"],
    registry=REGISTRY,
)
EVENTS_LOST = Counter(
    "certwatch_events_lost",
    'Events that were given up, by reason: "full" (the oldest, beyond the spool\'s bound), "refused" (by the receiver, for good), "damaged" (unreadable on disk).',
    ["exporter", "reason"],
    registry=REGISTRY,
)
LINTED = Counter(
    "certwatch_certificates_linted",
    'Certificates given to the linter, by outcome: "clean", "found", "failed" (it could not lint it), "too-large".',
    ["outcome"],
    registry=REGISTRY,
)
STANDS_BY = Gauge(
    "certwatch_stands_by",
    "1: another daemon works on the same inventory, and this one answers alone; 0: it works.",
    registry=REGISTRY,
)
RELOAD_OK = Gauge(
    "certwatch_config_last_reload_successful",
    "1: the last config load was taken; 0: it was refused, the one before runs.",
    registry=REGISTRY,
)
RELOAD_TIME = Gauge(
    "certwatch_config_last_reload_success_timestamp_seconds",
    "When a config was last taken.",
    registry=REGISTRY,
)
WEB_CONFIG_OK = Gauge(
    "certwatch_web_config_last_reload_successful",
    "1: the web config on disk is in force; 0: it was refused or waits for a reload, and the one before is.",
    registry=REGISTRY,
)
INVENTORY_WRITE_FAILURES = Counter(
    "certwatch_inventory_write_failures",
    "Writes to the inventory that failed, by reason.",
    ["reason"],
    registry=REGISTRY,
)
CA_SIGNATURES = Counter(
    "certwatch_ca_signatures",
    'Signatures by the embedded CA\'s keys, by what for ("certificate", "crl", "ocsp", "csr") and outcome: "ok" or an error kind.',
    ["issuer", "purpose", "outcome"],
    registry=REGISTRY,
)
CA_REQUESTS = Counter(
    "certwatch_ca_requests",
    'Requests for certificates, by outcome: "ok", "waiting" or an error kind.',
    ["profile", "channel", "outcome"],
    registry=REGISTRY,
)
CA_TOKEN_SECONDS = Histogram(
    "certwatch_ca_token_seconds",
    "Signatures by a token, waiting and reconnecting included.",
    ["key"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
    registry=REGISTRY,
)
CA_TOKEN_FAILURES = Counter(
    "certwatch_ca_token_failures",
    'Times that a token did not sign, by reason: "gone" or an error kind.',
    ["key", "reason"],
    registry=REGISTRY,
)
CA_LEDGER_ENTRIES = Gauge(
    "certwatch_ca_ledger_entries", "Entries of the embedded CA's ledger.", registry=REGISTRY
)
CA_CHECKPOINT_TIME = Gauge(
    "certwatch_ca_checkpoint_timestamp_seconds", "When the ledger was last signed.", registry=REGISTRY
)
CA_WAITING = Gauge("certwatch_ca_requests_waiting", "Requests that wait for approval.", registry=REGISTRY)
CA_CRL_NEXT_UPDATE = Gauge(
    "certwatch_ca_crl_next_update_timestamp_seconds",
    "When the CRL that is published ends.",
    ["issuer", "partition"],
    registry=REGISTRY,
)
CA_CHORE_FAILURES = Counter(
    "certwatch_ca_chore_failures",
    'What the CA has to make on time and could not: "crl", "ocsp", "listener-certificate", "rotation"; by error kind. It is tried again.',
    ["chore", "reason"],
    registry=REGISTRY,
)
CA_ACME_VALIDATIONS = Counter(
    "certwatch_ca_acme_validations",
    'ACME challenges that were looked for, by outcome: "ok" or the type of the problem (RFC 8555, 6.7).',
    ["method", "outcome"],
    registry=REGISTRY,
)
CA_REVOCATION_SECONDS = Histogram(
    "certwatch_ca_revocation_seconds",
    'From a revocation until a client sees it, by the URL that the certificate names: "ocsp", "crl".',
    ["via"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
    registry=REGISTRY,
)
CA_REVOCATIONS_UNSEEN = Gauge(
    "certwatch_ca_revocations_unseen",
    "Revocations that clients do not see yet.",
    ["via"],
    registry=REGISTRY,
)
CA_OCSP_ANSWERS = Counter(
    "certwatch_ca_ocsp_answers",
    'Answers of the OCSP responder, by outcome: "good", "revoked", "unknown", "malformed", "unauthorized", "error".',
    ["outcome"],
    registry=REGISTRY,
)
CT_REQUESTS = Counter(
    "certwatch_ct_requests",
    'Requests to CT logs, by outcome: "ok" or an error kind.',
    ["log", "outcome"],
    registry=REGISTRY,
)
CT_BYTES = Counter(
    "certwatch_ct_bytes", "Bytes read from CT logs, after decompression.", ["log"], registry=REGISTRY
)
CT_ENTRIES = Counter(
    "certwatch_ct_entries", "Entries of CT logs that were read and verified.", ["log"], registry=REGISTRY
)
CT_SUSPECTS = Counter(
    "certwatch_ct_entries_parsed",
    "Entries of CT logs that the prefilter did not pass over.",
    ["log"],
    registry=REGISTRY,
)
CT_SIZE = Gauge(
    "certwatch_ct_verified_entries",
    "Entries of a CT log up to which everything is verified.",
    ["log"],
    registry=REGISTRY,
)
CT_HEAD_SIZE = Gauge(
    "certwatch_ct_head_entries", "Entries of a CT log by its newest head.", ["log"], registry=REGISTRY
)
CT_HEAD_TIME = Gauge(
    "certwatch_ct_head_timestamp_seconds",
    "When a CT log signed its newest head.",
    ["log"],
    registry=REGISTRY,
)
CT_BEHIND = Gauge(
    "certwatch_ct_entries_behind",
    "Entries of a CT log that are signed and not yet read.",
    ["log"],
    registry=REGISTRY,
)
CT_READ_TIME = Gauge(
    "certwatch_ct_read_timestamp_seconds",
    "Everything that a CT log took before this instant is read and verified.",
    ["log"],
    registry=REGISTRY,
)
CT_ANSWERED = Gauge(
    "certwatch_ct_answered_timestamp_seconds",
    "When a CT log that is followed last gave what was asked.",
    ["log"],
    registry=REGISTRY,
)
CT_FAULTS = Counter(
    "certwatch_ct_faults",
    "Times that a CT log was seen to do what it must not, by kind.",
    ["log", "kind"],
    registry=REGISTRY,
)
CT_MATCH_DELAY = Histogram(
    "certwatch_ct_match_delay_seconds",
    "From a watched certificate's entry in a CT log until it is handed to the inventory; its finding follows within a second.",
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 604800),
    registry=REGISTRY,
)
CT_LIST_TIME = Gauge(
    "certwatch_ct_log_list_timestamp_seconds",
    "When the list of CT logs that is in use was made, by its own word.",
    ["collector"],
    registry=REGISTRY,
)
REMEDIATION_PLANS = Counter(
    "certwatch_remediation_plans",
    'Roll-outs that ended, by how: "verified", "rolled-back", "failed", "withdrawn".',
    ["policy", "outcome"],
    registry=REGISTRY,
)
REMEDIATION_ACTIVE = Gauge(
    "certwatch_remediation_active",
    'Roll-outs that have not ended, by state: "waiting" (for people), "approved", "running", "verifying", "rolling-back".',
    ["state"],
    registry=REGISTRY,
)
REMEDIATION_STEP_SECONDS = Histogram(
    "certwatch_remediation_step_seconds",
    'Steps that were done: "issue", "deploy", "verify" (until every place served it), "revoke".',
    ["step"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
    registry=REGISTRY,
)
REMEDIATION_LAG_SECONDS = Histogram(
    "certwatch_remediation_lag_seconds",
    "From the last deployment of a roll-out until each place was first seen to serve the new certificate, by kind of place.",
    ["kind"],
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
    registry=REGISTRY,
)
REMEDIATION_UNPLANNABLE = Gauge(
    "certwatch_remediation_unplannable",
    "Certificates that a policy would renew and cannot: see certwatch remediate plan.",
    registry=REGISTRY,
)
INCIDENT_SECONDS = Gauge(
    "certwatch_incident_recovery_seconds",
    "From marking a key or a CA compromised until every affected place served another certificate (M10); of one that lasts,"
    " until now.",
    ["incident", "drill", "open"],
    registry=REGISTRY,
)
BUILD_INFO = Gauge("certwatch_build_info", "Always 1.", ["version", "python"], registry=REGISTRY)


def forget_collector(name: str) -> None:
    """Its states: it is configured no more. What it counted stays, as counters do."""
    for gauge in (SCAN_SECONDS, SCAN_LAST_COMPLETE, TARGETS, TARGETS_SEEN):
        gauge.remove_by_labels({"collector": name})
