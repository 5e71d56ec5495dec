"""Who may call: AWS Signature Version 4, checked for real, or a Bedrock API key.

There is one simulated account. Its secret is public on purpose: a router in sandbox mode signs
with it, and a wrong canonical request must fail here as it would out there.
"""

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, quote

from workers.simulator.wire import Request

ACCESS_KEY: Final = "AKIASIMULATOR0000000"
SECRET_KEY: Final = "simulator"  # noqa: S105 - the whole world may know it
SERVICE: Final = "bedrock"

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_PARAMETER: Final = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_DATE: Final = re.compile(r"\d{8}T\d{6}Z")
_REGION: Final = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-\d")
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_SCOPE_PARTS: Final = 5
_ASSUMED_SIGNED: Final = ("host", "x-amz-date")


class Denied(Exception):
    """The caller is nobody we know.

    Attributes:
        kind: The exception's name, as AWS has it.
        status: The status it comes with.
    """

    def __init__(self, kind: str, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


@dataclass(frozen=True, slots=True)
class _Claim:
    """What an Authorization header claims."""

    key: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str


def check(request: Request) -> None:
    """Accept a signed request or one with an API key.

    Raises:
        Denied: It is neither.
    """
    header = request.headers.get("authorization", "")
    if header.startswith("Bearer "):
        if not header.removeprefix("Bearer ").strip():
            raise Denied("AccessDeniedException", "Invalid API Key format: Must start with ABSK")
        return
    if not header.startswith(_ALGORITHM):
        raise Denied("MissingAuthenticationTokenException", "Missing Authentication Token")
    claim = _claim(header)
    _check_scope(claim, request)
    key = signing_key(claim.date, claim.region, claim.service)
    expected = _mac(key, string_to_sign(request, claim.signed, _scope(claim))).hex()
    if not hmac.compare_digest(expected, claim.signature):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service "
            "documentation for details."
        )


def _claim(header: str) -> _Claim:
    found = dict(_PARAMETER.findall(header))
    for name in ("Credential", "Signature", "SignedHeaders"):
        if name not in found:
            raise Denied(
                "IncompleteSignatureException",
                f"Authorization header requires '{name}' parameter.",
                status=400,
            )
    parts = found["Credential"].split("/")
    if len(parts) != _SCOPE_PARTS or parts[-1] != "aws4_request":
        raise Denied(
            "IncompleteSignatureException",
            "Credential must have exactly 5 slash-delimited elements, e.g. "
            "keyid/date/region/service/term.",
            status=400,
        )
    key, date, region, service, _ = parts
    signed = tuple(found["SignedHeaders"].split(";"))
    return _Claim(key, date, region, service, signed, found["Signature"])


def _check_scope(claim: _Claim, request: Request) -> None:
    if claim.key != ACCESS_KEY:
        raise Denied(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    if claim.service != SERVICE:
        raise _invalid(f"Credential should be scoped to correct service: '{SERVICE}'.")
    if not _REGION.fullmatch(claim.region):
        raise _invalid("Credential should be scoped to a valid region.")
    date = request.headers.get("x-amz-date", "")
    if not _DATE.fullmatch(date):
        raise Denied(
            "IncompleteSignatureException",
            "Date must be in ISO-8601 'basic format'.",
            status=400,
        )
    if not date.startswith(claim.date):
        raise _invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version.")
    wanted = {*_ASSUMED_SIGNED, *(name for name in request.headers if name.startswith("x-amz-"))}
    if missing := sorted(wanted.difference(claim.signed)):
        raise _invalid(f"'{missing[0]}' must be a 'SignedHeader' in the AWS Authorization.")
    if list(claim.signed) != sorted(claim.signed) or not wanted.issubset(request.headers):
        raise _invalid("The signed headers are not in order, or not all of them were sent.")


def signing_key(date: str, region: str, service: str) -> bytes:
    """Derive the key that signs one day's requests to one service in one region."""
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (date, region, service, "aws4_request"):
        key = _mac(key, part)
    return key


def string_to_sign(request: Request, signed: tuple[str, ...], scope: str) -> str:
    """Return the text whose HMAC is the signature.

    Raises:
        Denied: The body is not the one that was signed.
    """
    target, _, query = request.target.partition("?")
    headers = "".join(f"{name}:{_collapsed(request.headers.get(name, ''))}\n" for name in signed)
    canonical = "\n".join(
        (
            request.method,
            # Every service but S3 encodes the path as it stands on the wire once more.
            quote(target, safe="/-_.~"),
            _canonical_query(query),
            headers,
            ";".join(signed),
            _payload_hash(request),
        )
    )
    digest = sha256(canonical.encode()).hexdigest()
    return "\n".join((_ALGORITHM, request.headers["x-amz-date"], scope, digest))


def _scope(claim: _Claim) -> str:
    return f"{claim.date}/{claim.region}/{claim.service}/aws4_request"


def _canonical_query(query: str) -> str:
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


def _payload_hash(request: Request) -> str:
    actual = sha256(request.body).hexdigest()
    claimed = request.headers.get("x-amz-content-sha256")
    if claimed is None:
        return actual
    if claimed not in (actual, _UNSIGNED):
        raise _invalid("The provided 'x-amz-content-sha256' header does not match the payload.")
    return claimed


def _collapsed(value: str) -> str:
    return " ".join(value.split())


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), sha256).digest()


def _invalid(message: str) -> Denied:
    return Denied("InvalidSignatureException", message)
