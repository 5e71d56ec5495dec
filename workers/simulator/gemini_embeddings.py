"""Embeddings at Google's: embedContent and batchEmbedContents, and predict on Vertex AI."""

from typing import Any, Final, Literal

import orjson

from workers.simulator.dialect import Answer, Ask
from workers.simulator.gemini_errors import Invalid, Surface
from workers.simulator.gemini_fields import read_body
from workers.simulator.text import digest, estimate_tokens

BATCH_MAX: Final = 100
INSTANCES_MAX: Final = 250
DIMENSIONS_MAX: Final = 3072

Form = Literal["embedContent", "batchEmbedContents", "predict"]

_INSTANCE_FIELDS: Final = frozenset({"content", "title", "task_type", "taskType", "mimeType"})
_PARAMETER_FIELDS: Final = frozenset({"outputDimensionality", "autoTruncate"})
_DOCS: Final = (
    "Learn more: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/"
    "text-embeddings"
)


def read_embedding(surface: Surface, form: Form, model: str, body: bytes) -> Ask:
    """Read a request for embeddings.

    Raises:
        Invalid: Google would refuse it.
    """
    match form:
        case "embedContent":
            parsed = read_body(surface, "EmbedContentRequest", body)
            return _ask(
                surface, form, model, [_checked(surface, parsed, model, "EmbedContentRequest")]
            )
        case "batchEmbedContents":
            requests = read_body(surface, "BatchEmbedContentsRequest", body).get("requests", [])
            return _read_batch(surface, model, requests)
        case "predict":
            return _read_predict(model, read_body(surface, "PredictRequest", body))


def embedding_body(ask: Ask, answer: Answer) -> bytes:
    """Render the vectors in the form they were asked for."""
    if ask.extras["form"] == "predict":
        return orjson.dumps(_predictions(ask, answer))
    vectors = [{"values": vector} for vector in answer.vectors]
    body: dict[str, Any]
    body = {"embedding": vectors[0]} if ask.extras["form"] == "embedContent" else {}
    if ask.extras["form"] == "batchEmbedContents":
        body = {"embeddings": vectors}
    on_vertex = ask.extras["surface"] is Surface.VERTEX
    # On AI Studio the first generation does not report what it counted.
    if answer.usage is not None and (on_vertex or not ask.model.endswith("-001")):
        name = "promptTokensDetails" if on_vertex else "promptTokenDetails"
        body["usageMetadata"] = {
            "promptTokenCount": answer.usage.prompt,
            name: [{"modality": "TEXT", "tokenCount": answer.usage.prompt}],
        }
    return orjson.dumps(body)


def _ask(surface: Surface, form: Form, model: str, requests: list[tuple[str, int]]) -> Ask:
    texts = tuple(text for text, _ in requests)
    return Ask(
        kind="embeddings",
        model=model,
        said=texts[-1],
        prompt_tokens=sum(estimate_tokens(text) for text in texts),
        inputs=texts,
        dimensions=requests[0][1],
        extras={"surface": surface, "form": form},
    )


def _checked(surface: Surface, request: dict[str, Any], model: str, path: str) -> tuple[str, int]:
    named = request.get("model")
    if named is not None and named != f"models/{model}":
        raise Invalid(f"* {path}.model: unexpected model name format\n")
    parts = (request.get("content") or {}).get("parts", [])
    if not parts:
        raise Invalid(f"* {path}.content: contents is not specified\n")
    if "embedding-2" not in model and any("text" not in part for part in parts):
        raise Invalid(f"* {path}.content: only text content is supported\n")
    options = request
    if surface is Surface.VERTEX:
        options = {**request, **(request.get("embedContentConfig") or {})}
    if options.get("title") and options.get("taskType") != "RETRIEVAL_DOCUMENT":
        raise Invalid(
            f"* {path}.title: title can only be set when task_type is RETRIEVAL_DOCUMENT\n"
        )
    text = "".join(_words(part) for part in parts)
    if not text:
        raise Invalid(f"* {path}.content: content is empty\n")
    return text, _dimensions(options.get("outputDimensionality"), path)


def _words(part: dict[str, Any]) -> str:
    """Return a text, or for a picture a text that differs from picture to picture."""
    if "text" in part:
        return str(part["text"])
    return digest(orjson.dumps(part, option=orjson.OPT_SORT_KEYS))


def _dimensions(value: Any, path: str) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 1 <= value <= DIMENSIONS_MAX:
        raise Invalid(f"* {path}.output_dimensionality: must be between 1 and {DIMENSIONS_MAX}\n")
    return value


def _read_batch(surface: Surface, model: str, requests: list[dict[str, Any]]) -> Ask:
    path = "BatchEmbedContentsRequest.requests"
    if not requests:
        raise Invalid(f"* {path}: requests is not specified\n")
    if len(requests) > BATCH_MAX:
        raise Invalid(f"* {path}: at most {BATCH_MAX} requests can be in one batch\n")
    for index, request in enumerate(requests):
        if surface is Surface.STUDIO and "model" not in request:
            raise Invalid(f"* {path}[{index}].model: model is not specified\n")
    read = [
        _checked(surface, request, model, f"{path}[{index}]")
        for index, request in enumerate(requests)
    ]
    if len({dimensions for _, dimensions in read}) > 1:
        raise Invalid(f"* {path}: all requests must have the same output_dimensionality\n")
    return _ask(surface, "batchEmbedContents", model, read)


def _read_predict(model: str, body: dict[str, Any]) -> Ask:
    if model.startswith("gemini-embedding-2"):
        raise Invalid(
            f"The model {model} does not support predict; use embedContent.",
            status="FAILED_PRECONDITION",
        )
    instances, parameters = body.get("instances", []), body.get("parameters") or {}
    if not instances:
        raise Invalid("Empty instances.")
    if len(instances) > INSTANCES_MAX:
        raise Invalid(
            "Unable to submit request because it included too many instances. Reduce the number "
            f"of instances and try again. {_DOCS}: {INSTANCES_MAX} instance(s) is allowed per "
            f"prediction. Actual: {len(instances)}"
        )
    if not isinstance(parameters, dict) or parameters.keys() - _PARAMETER_FIELDS:
        raise Invalid(f"Invalid parameters. {_DOCS}")
    texts = [_instance(instance, index) for index, instance in enumerate(instances)]
    dimensions = _dimensions(parameters.get("outputDimensionality"), "PredictRequest.parameters")
    return _ask(Surface.VERTEX, "predict", model, [(text, dimensions) for text in texts])


def _instance(instance: Any, index: int) -> str:
    if not isinstance(instance, dict) or instance.keys() - _INSTANCE_FIELDS:
        raise Invalid(f"Invalid instance {index}: unknown fields. {_DOCS}")
    content = instance.get("content")
    if not isinstance(content, str) or not content:
        raise Invalid(
            "Unable to submit request because the text content is empty. Provide a value and try "
            f"again. {_DOCS}"
        )
    return content


def _predictions(ask: Ask, answer: Answer) -> dict[str, Any]:
    predictions = []
    for text, vector in zip(ask.inputs, answer.vectors, strict=True):
        embeddings: dict[str, Any] = {"values": vector}
        if answer.usage is not None:
            statistics = {"truncated": False, "token_count": estimate_tokens(text)}
            embeddings["statistics"] = statistics
        predictions.append({"embeddings": embeddings})
    characters = sum(len("".join(text.split())) for text in ask.inputs)
    return {
        "predictions": predictions,
        "metadata": {"billableCharacterCount": characters},
    }
