"""The Bedrock dialect: Amazon's Converse, one wire format for the models of many makers.

What only some makers' models take goes in `additionalModelRequestFields`, in their own form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from routing.catalog.shapes import Endpoint
from routing.credentials import ApiKey, AwsKeys, Credential
from routing.errors import UpstreamDenied, UpstreamError
from routing.wire.chat import ChatRequest
from routing.wire.events import Answer
from workers.dialects import UpstreamRequest
from workers.dialects.bedrock_answers import BedrockStream, answer_of, error_of
from workers.dialects.bedrock_frames import BedrockReader
from workers.dialects.bedrock_messages import Conversation, conversation
from workers.dialects.claude import Mind, claude_sampling, mind, output_schema
from workers.dialects.common import dumped, json_headers, sampling, stops, supports
from workers.dialects.reasoning import effort_of, nearest, thinking

STREAM_TYPE = "application/vnd.amazon.eventstream"
#: Where models run that no region is named for.
DEFAULT_REGION = "us-east-1"
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_SAMPLING = {"temperature": "temperature", "top_p": "topP"}
_TEMPERATURE_MAX = 1.0
_EFFORTS = ("low", "medium", "high")


class BedrockDialect:
    """See the module; stateless."""

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, credential: Credential, *, stream: bool
    ) -> UpstreamRequest:
        """The body of `/converse`, or of `/converse-stream`, signed with the key."""
        method = "converse-stream" if stream else "converse"
        region = _region(endpoint, credential)
        base = endpoint.provider.base_url.replace("{region}", region)
        url = f"{base}/model/{quote(endpoint.upstream_id, safe='')}/{method}"
        body = orjson.dumps(_body(request, endpoint))
        headers = json_headers(stream=False)
        if stream:
            headers["accept"] = STREAM_TYPE
        return UpstreamRequest(
            url=url, headers=headers | _authorization(url, body, credential, region), body=body
        )

    def answer(self, body: bytes) -> Answer:
        """A plain answer."""
        return answer_of(body)

    def streams(self, content_type: str) -> bool:
        """Amazon's binary event stream."""
        return STREAM_TYPE in content_type

    def reader(self) -> BedrockReader:
        """For one stream."""
        return BedrockReader()

    def decoder(self) -> BedrockStream:
        """For one stream."""
        return BedrockStream()

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """By the exception's name, or by status."""
        return error_of(status, headers, body, now_ms)


def _region(endpoint: Endpoint, credential: Credential) -> str:
    named = credential.region if isinstance(credential, AwsKeys) else ""
    region = named or endpoint.region or DEFAULT_REGION
    if not _REGION.fullmatch(region):
        # It becomes part of the host's name.
        raise UpstreamDenied("The key's region is not the name of an AWS region")
    return region


def _authorization(url: str, body: bytes, credential: Credential, region: str) -> dict[str, str]:
    """A bearer token, or a signature over the address, the body and the content type."""
    if isinstance(credential, ApiKey):
        return {"authorization": f"Bearer {credential.value}"} if credential.value else {}
    if not isinstance(credential, AwsKeys):
        raise UpstreamDenied("This provider takes AWS keys or a Bedrock API key")
    signed = AWSRequest(
        method="POST", url=url, data=body, headers={"content-type": "application/json"}
    )
    keys = Credentials(
        credential.access_key_id, credential.secret_access_key, credential.session_token or None
    )
    SigV4Auth(keys, "bedrock", region).add_auth(signed)
    return {name.lower(): str(value) for name, value in signed.headers.items()}


def _body(request: ChatRequest, endpoint: Endpoint) -> dict[str, Any]:
    """A Converse request.

    Raises:
        UpstreamRejected: a part or a wish has no form here.
    """
    if "claude" in endpoint.upstream_id:
        told, inference, more = _for_claude(request, endpoint)
    else:
        told, inference, more = _for_others(request, endpoint)
    if stopping := stops(request, endpoint):
        inference["stopSequences"] = stopping
    body: dict[str, Any] = {"messages": told.turns}
    optional = {
        "system": told.system,
        "inferenceConfig": inference,
        "toolConfig": _tool_config(told),
        "outputConfig": _output_config(request, endpoint),
        "additionalModelRequestFields": more,
    }
    return body | {name: value for name, value in optional.items() if value}


def _for_claude(
    request: ChatRequest, endpoint: Endpoint
) -> tuple[Conversation, dict[str, Any], dict[str, Any]]:
    limit = min(request.completion_limit or endpoint.completion_cap, endpoint.completion_cap)
    thought = mind(request, endpoint, limit)
    told = conversation(request, endpoint, thought)
    if thought.budgeted and told.lacks_thoughts():
        thought = Mind(thinking=None, effort=thought.effort)
        told = conversation(request, endpoint, thought)
    inference: dict[str, Any] = claude_sampling(request, endpoint, _SAMPLING, thinks=thought.on)
    if request.completion_limit is not None or thought.on:
        inference["maxTokens"] = limit
    more: dict[str, Any] = claude_sampling(request, endpoint, {"top_k": "top_k"}, thinks=thought.on)
    if thought.thinking is not None:
        more["thinking"] = thought.thinking
    if thought.effort is not None:
        more["output_config"] = {"effort": thought.effort}
    if request.anthropic_betas:
        more["anthropic_beta"] = list(request.anthropic_betas)
    return told, inference, more


def _for_others(
    request: ChatRequest, endpoint: Endpoint
) -> tuple[Conversation, dict[str, Any], dict[str, Any]]:
    told = conversation(request, endpoint, Mind(thinking=None, effort=None))
    inference: dict[str, Any] = dict(sampling(request, endpoint, _SAMPLING))
    if "temperature" in inference:
        inference["temperature"] = min(inference["temperature"], _TEMPERATURE_MAX)
    limit = endpoint.completion_cap
    if request.completion_limit is not None:
        limit = min(limit, request.completion_limit)
        inference["maxTokens"] = limit
    more = _choosing(request, endpoint)
    asked = thinking(request, endpoint)
    if asked.mode == "on":
        effort = nearest(effort_of(asked, limit), endpoint.efforts or _EFFORTS)
        more |= _reasoning(endpoint.upstream_id, effort)
    elif asked.mode == "off" and "nova" in endpoint.upstream_id:
        more["reasoningConfig"] = {"type": "disabled"}
    return told, inference, more


def _choosing(request: ChatRequest, endpoint: Endpoint) -> dict[str, Any]:
    """`top_k`, where the maker is known to take it and under its name for it."""
    if request.top_k is None or not supports(endpoint, "top_k"):
        return {}
    family = endpoint.upstream_id
    if "nova" in family:
        return {"inferenceConfig": {"topK": request.top_k}}
    return {"top_k": request.top_k} if "mistral" in family else {}


def _reasoning(family: str, effort: str) -> dict[str, Any]:
    """How much to think in the maker's own form; the others think as they do."""
    if "nova" in family:
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}
    return {"reasoning_effort": effort} if "gpt-oss" in family else {}


def _tool_config(told: Conversation) -> dict[str, Any]:
    if not told.tools:
        return {}
    config: dict[str, Any] = {"tools": told.tools}
    if told.tool_choice is not None:
        config["toolChoice"] = told.tool_choice
    return config


def _output_config(request: ChatRequest, endpoint: Endpoint) -> dict[str, Any]:
    form = request.response_format
    schema = output_schema(request, endpoint)
    if schema is None or form is None or form.json_schema is None:
        return {}
    definition = {"schema": dumped(schema), "name": form.json_schema.name}
    if form.json_schema.description:
        definition["description"] = form.json_schema.description
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}
