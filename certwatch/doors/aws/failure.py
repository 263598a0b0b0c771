"""What AWS refuses, and what comes between: errors of botocore as one line for an operator, with what to do."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PaginationError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from certwatch.doors.failure import LookFailed
from certwatch.model.observation import ErrorKind

NO_CREDENTIALS = (
    "{where}: no credentials were found. Give certwatch a role (instance profile, IRSA, ECS task), `profile`, or "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)
_LONGEST_MESSAGE = 400
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "ForbiddenException",
        "OptInRequired",
        "UnauthorizedException",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "ExpiredToken",
        "ExpiredTokenException",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "InvalidAccessKeyId",
        "RequestExpired",
        "RequestTimeTooSkewed",
    }
)
#: AWS takes a request whose time is within a quarter of an hour of its own.
_SKEWED = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
_SKEWED_WORDS = ("Signature expired", "Signature not yet current")
_THROTTLED = frozenset(
    {
        "LimitExceededException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestThrottled",
    }
)
_ABSENT = ("NotFound", "NoSuchEntity", "NoSuchKey", "NotFoundException", "ResourceNotFoundException")


class AWSError(LookFailed):
    """`code`: AWS's own word for it ("AccessDeniedException"); empty: there was no answer."""

    def __init__(self, kind: ErrorKind, message: str, *, code: str = "") -> None:
        super().__init__(kind, message)
        self.code = code

    @property
    def is_absent(self) -> bool:
        return any(self.code.endswith(each) for each in _ABSENT)


class translated:
    """Foreign errors at one line."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, type: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ClientError):
            raise _refused(self._where, error) from error
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            raise AWSError("permission", NO_CREDENTIALS.format(where=self._where)) from error
        if isinstance(error, CredentialRetrievalError | TokenRetrievalError | UnauthorizedSSOTokenError):
            raise AWSError(
                "permission", f"{self._where}: no credentials could be had: {one_line(str(error))}"
            ) from error
        if isinstance(error, ResponseParserError):
            # From None: its text is the answer, in which there may be credentials.
            raise AWSError("malformed", f"{self._where}: {none_of_aws(b'')}") from None
        if isinstance(error, PaginationError):
            raise AWSError("malformed", f"{self._where}: {one_line(str(error))}") from error
        if isinstance(error, BotoCoreError | ValueError):
            raise AWSError(kind_of(error), f"{self._where}: {one_line(str(error))}") from error


def _refused(where: str, error: ClientError) -> AWSError:
    said = error.response.get("Error", {})
    code = str(said.get("Code") or "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = one_line(str(said.get("Message") or ""))
    outcome = outcome_of(code, status)
    if outcome == "permission" and (code in _SKEWED or any(each in text for each in _SKEWED_WORDS)):
        return AWSError(
            "permission", f"{where}: {code}: {text}. Set the clock of this machine (NTP)", code=code
        )
    if error.operation_name == "AssumeRole" and outcome in ("permission", "not-found"):
        return AWSError(
            "permission",
            f"{where.partition('/')[0]}: the role cannot be assumed: {code}: {text}. Check that the role exists, that its "
            "trust policy names certwatch's own principal, and that `external_id` is the one it asks for",
            code=code,
        )
    if outcome == "permission":
        lacks = "Access" in code or "not authorized to perform" in text
        what = "Grant it (deploy/aws/)" if lacks else "Check the credentials"
        return AWSError("permission", f"{where}: {code}: {text}. {what}", code=code)
    if outcome == "throttled":
        return AWSError(
            "other",
            f"{where}: throttled ({code}), after all retries. Lower `rate`, or look less often (`every`)",
            code=code,
        )
    return AWSError(outcome, f"{where}: {code}: {text}", code=code)  # type: ignore[arg-type]


def outcome_of(code: str, status: int) -> str:
    """Error kind, or "throttled"."""
    if code in _THROTTLED or status == 429:
        return "throttled"
    if code in _DENIED or status in (401, 403):
        return "permission"
    if any(code.endswith(each) for each in _ABSENT) or status == 404:
        return "not-found"
    return "other"


def kind_of(error: Exception) -> ErrorKind:
    if isinstance(error, ReadTimeoutError) or "Timeout" in type(error).__name__:
        return "timeout"
    if isinstance(error, SSLError):
        return "not-tls"
    if isinstance(error, EndpointConnectionError | ConnectionError | HTTPClientError):
        return "unreachable"
    return "other"


def none_of_aws(body: bytes) -> str:
    """Nothing of what was answered: it may be what is secret."""
    what = "a page" if body.lstrip()[:1] == b"<" else "something"
    return (
        f"answers {what} that is none of AWS's, or not all of it. See what stands between (a proxy, a portal)"
    )


def one_line(text: str) -> str:
    return (
        "".join(each if each.isprintable() else " " for each in text).strip().rstrip(".")[:_LONGEST_MESSAGE]
    )
