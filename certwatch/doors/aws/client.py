"""Requests to AWS, blocking, for threads: only operations that were permitted beforehand, at a rate that is kept for each
account, with botocore's adaptive retries; errors as one line for an operator."""

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import ProfileNotFound
from botocore.model import OperationModel

from certwatch.doors.aws.failure import (
    NO_CREDENTIALS,
    AWSError,
    kind_of,
    none_of_aws,
    one_line,
    outcome_of,
    translated,
)
from certwatch.telemetry.metrics import AWS_REQUESTS

#: It writes tracebacks of what is told here in a line.
logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)

#: Pages of one listing; a service that never ends one is given up.
MAX_PAGES = 100_000
_ROLE_SECONDS = 3600
#: The door's own: who am I, and being somebody else.
_IDENTITY = frozenset({"GetCallerIdentity"})
_JSON = ("json", "rest-json")


class Stopped(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role to take on."""

    arn: str
    external_id: str | None = None
    session_name: str = "certwatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    #: Requests a second for each account, retries included.
    rate: float = 20.0
    #: Attempts at one request.
    attempts: int = 8
    #: Seconds for a connection, and for an answer.
    timeout: float = 30.0
    #: Requests at once to one service of one region.
    connections: int = 4


class _Bucket:
    """Lets so many pass in a second, and a second's worth at once. Used by many threads."""

    def __init__(self, rate: float, stopped: threading.Event) -> None:
        self._rate = rate
        self._stopped = stopped
        self._lock = threading.Lock()
        self._free_at = time.monotonic() - 1.0

    def take(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 1.0) + 1.0 / self._rate
            wait = self._free_at - now
        if wait > 0 and self._stopped.wait(wait):
            raise Stopped


class Door:
    """Everything that one scan asks of AWS. `permitted`: operations by service; anything else is refused here, whatever the
    credentials would allow."""

    def __init__(
        self,
        permitted: Mapping[str, frozenset[str]],
        limits: Limits,
        *,
        endpoint_url: str | None = None,
        home_region: str = "us-east-1",
    ) -> None:
        self.stopped = threading.Event()
        self._permitted = permitted
        self._limits = limits
        self._endpoint_url = endpoint_url
        self._home_region = home_region
        #: Services' models are read once for all accounts, and hold most of the memory.
        self._loader = botocore.session.get_session().get_component("data_loader")
        #: Making clients is not safe in threads.
        self._making = threading.Lock()

    def stop(self) -> None:
        """What still runs ends with its next request."""
        self.stopped.set()

    def account(
        self, name: str, *, id: str = "", profile: str | None = None, role: Role | None = None
    ) -> "Account":
        """Blocking; asks who it is. `name` begins every message; `id` is the account's as far as it is known. Raises
        AWSError."""
        where = f"{name}: account {id}" if id else name
        try:
            source = self._session(profile)
            session = boto3.Session(botocore_session=source if role is None else self._as(role, source))
            opened = Account(self, where, "", session, _Bucket(self._limits.rate, self.stopped))
            identity = opened.client("sts", self._home_region).call("GetCallerIdentity")
        except ProfileNotFound as error:
            raise AWSError("not-found", f"{where}: {one_line(str(error))}. Correct `profile`") from error
        id = str(identity["Account"])
        arn = str(identity.get("Arn", ""))
        return Account(self, f"{name}: account {id}", id, session, opened.bucket, arn)

    def _session(self, profile: str | None) -> botocore.session.Session:
        session = botocore.session.Session(profile=profile)
        session.register_component("data_loader", self._loader)
        session.user_agent_extra = "certwatch"
        # A profile that does not exist is told here, and not somewhere in the middle.
        session.get_scoped_config()
        return session

    def _as(self, role: Role, source: botocore.session.Session) -> botocore.session.Session:
        extra = {"RoleSessionName": role.session_name, "DurationSeconds": _ROLE_SECONDS}
        if role.external_id is not None:
            extra["ExternalId"] = role.external_id
        credentials = source.get_credentials()
        if credentials is None:
            raise AWSError("permission", NO_CREDENTIALS.format(where=role.arn))
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=partial(
                source.create_client,
                region_name=self._home_region,
                endpoint_url=self._endpoint_url,
                config=self.config(),
            ),
            source_credentials=credentials,
            role_arn=role.arn,
            extra_args=extra,
        )
        session = self._session(None)
        # botocore has no public way to give a session credentials that renew themselves.
        session._credentials = DeferredRefreshableCredentials(
            method="assume-role", refresh_using=fetcher.fetch_credentials
        )
        return session

    def config(self) -> Config:
        return Config(
            retries={"mode": "adaptive", "total_max_attempts": self._limits.attempts},
            connect_timeout=min(10.0, self._limits.timeout),
            read_timeout=self._limits.timeout,
            max_pool_connections=self._limits.connections,
            user_agent_extra="certwatch",
        )

    def make(self, session: boto3.Session, service: str, region: str) -> Any:
        with self._making:
            return session.client(
                service, region_name=region, endpoint_url=self._endpoint_url, config=self.config()
            )

    def permits(self, service: str, operation: str) -> bool:
        return operation in (_IDENTITY if service == "sts" else self._permitted.get(service, frozenset()))


class Account:
    """One account, by one set of credentials."""

    def __init__(
        self,
        door: Door,
        where: str,
        id: str,
        session: boto3.Session,
        bucket: _Bucket,
        arn: str = "",
    ) -> None:
        self._door = door
        self._session = session
        self.where = where
        self.id = id
        #: Who we are there.
        self.arn = arn
        self.bucket = bucket

    @property
    def stopped(self) -> threading.Event:
        return self._door.stopped

    @property
    def partition(self) -> str:
        """ "aws", "aws-cn", "aws-us-gov"."""
        return self.arn.split(":")[1] if self.arn.count(":") > 4 else "aws"

    def client(self, service: str, region: str) -> "Client":
        """Costs some milliseconds. Raises AWSError."""
        where = f"{self.where}/{region}: {service}"
        with translated(where):
            return Client(self._door, self, service, where, self._door.make(self._session, service, region))


class Client:
    """One service of one region of one account. Threads may share it."""

    def __init__(self, door: Door, account: Account, service: str, where: str, made: Any) -> None:
        self._door = door
        self._account = account
        self._service = service
        self._where = where
        self._made = made
        made.meta.events.register(
            f"before-send.{made.meta.service_model.service_id.hyphenize()}", self._before
        )
        made.meta.events.register("before-parse", self._whole)
        made.meta.events.register("response-received", self._after)

    def call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        """`operation` as AWS names it. Raises AWSError, Stopped."""
        asked = self._asked(operation)
        with translated(f"{self._where}: {operation}"):
            answer: Mapping[str, Any] = getattr(self._made, asked)(**parameters)
        return answer

    def pages(self, operation: str, **parameters: Any) -> Iterator[Mapping[str, Any]]:
        """Page by page. Raises AWSError, Stopped."""
        pages = iter(self._made.get_paginator(self._asked(operation)).paginate(**parameters))
        for _ in range(MAX_PAGES):
            with translated(f"{self._where}: {operation}"):
                page = next(pages, None)
            if page is None:
                return
            yield page
        raise AWSError("malformed", f"{self._where}: {operation}: more than {MAX_PAGES} pages.")

    def _asked(self, operation: str) -> str:
        if not self._door.permits(self._service, operation):
            raise RuntimeError(f"{self._service}:{operation} is not among the operations that are permitted")
        if self._door.stopped.is_set():
            raise Stopped
        return str(xform_name(operation))

    def _before(self, **_: Any) -> None:
        """Each attempt, before it goes out."""
        if self._door.stopped.is_set():
            raise Stopped
        self._account.bucket.take()

    def _whole(
        self,
        operation_model: OperationModel,
        response_dict: Mapping[str, Any],
        event_name: str = "",
        **_: Any,
    ) -> None:
        """botocore takes JSON that it cannot read for an answer without members, and a listing without members retires what
        it had: a portal's page, half an answer and none are refused here. Raises AWSError."""
        protocol, body = operation_model.service_model.resolved_protocol, response_dict.get("body")
        if protocol not in _JSON or response_dict["status_code"] >= 300 or not isinstance(body, bytes):
            return
        shape = operation_model.output_shape
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        # None: an operation that answers nothing (RevokeCertificate).
        members = shape.members if shape is not None else {}
        names = {member.serialization.get("name", name) for name, member in members.items()}
        if not isinstance(found, dict) or (protocol == "json" and found and not names & found.keys()):
            AWS_REQUESTS.labels(
                self._account.id, self._service, event_name.rpartition(".")[2], "malformed"
            ).inc()
            raise AWSError(
                "malformed",
                f"{self._where}: {operation_model.name}: {none_of_aws(body)}",
            )

    def _after(
        self,
        event_name: str = "",
        parsed_response: Mapping[str, Any] | None = None,
        exception: Exception | None = None,
        **_: Any,
    ) -> None:
        """Each attempt, with what came of it."""
        operation = event_name.rpartition(".")[2]
        if exception is not None or parsed_response is None:
            outcome: str = kind_of(exception) if exception is not None else "malformed"
        else:
            code = str(parsed_response.get("Error", {}).get("Code", ""))
            status = int(parsed_response.get("ResponseMetadata", {}).get("HTTPStatusCode", 200))
            outcome = "ok" if not code and status < 300 else outcome_of(code, status)
        AWS_REQUESTS.labels(self._account.id, self._service, operation, outcome).inc()

    def close(self) -> None:
        self._made.close()
