"""What an answer in the OpenAI dialect must hold beside words: pictures and sound."""

from dataclasses import dataclass
from typing import Any, Final

from workers.simulator.openai_fields import Invalid
from workers.simulator.providers import Manner

AUDIO_FORMATS: Final = ("wav", "aac", "mp3", "flac", "opus", "pcm16")
# The only one that can be sent piece by piece.
STREAMED_FORMAT: Final = "pcm16"
RATIOS: Final = frozenset({"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """See ``Ask`` for the fields."""

    images: int = 0
    aspect_ratio: str = "1:1"
    audio_format: str = ""


def read_output(body: dict[str, Any], manner: Manner) -> Output:
    """Read ``modalities`` and what belongs to them.

    Raises:
        Invalid: The provider cannot answer like that.
    """
    modalities = body.get("modalities") or ["text"]
    known = {"text", *(["audio"] if manner.speaks else ()), *(["image"] if manner.draws else ())}
    if not isinstance(modalities, list):
        raise _wrong("modalities", "Invalid type for 'modalities': expected an array of strings.")
    for index, name in enumerate(modalities):
        if not isinstance(name, str) or name not in known:
            raise _wrong(
                f"modalities.{index}",
                f"Invalid value: {name!r}. Supported values are: "
                f"{', '.join(repr(one) for one in sorted(known))}.",
            )
    return Output(
        images=1 if "image" in modalities else 0,
        aspect_ratio=_ratio(body.get("image_config")),
        audio_format=_audio_format(body, wanted="audio" in modalities),
    )


def _ratio(config: Any) -> str:
    ratio = config.get("aspect_ratio") if isinstance(config, dict) else None
    if ratio is None:
        return "1:1"
    if not isinstance(ratio, str) or ratio not in RATIOS:
        raise _wrong("image_config.aspect_ratio", f"Invalid aspect ratio: {ratio!r}.")
    return ratio


def _audio_format(body: dict[str, Any], *, wanted: bool) -> str:
    audio = body.get("audio")
    if not wanted:
        return ""
    if not isinstance(audio, dict):
        raise Invalid(
            "Missing required parameter: 'audio'. It is required when 'modalities' includes "
            "'audio'.",
            "audio",
            code="missing_required_parameter",
        )
    form, voice = audio.get("format"), audio.get("voice")
    if not voice or not isinstance(voice, str | dict):
        raise Invalid(
            "Missing required parameter: 'audio.voice'.",
            "audio.voice",
            code="missing_required_parameter",
        )
    if form not in AUDIO_FORMATS:
        raise _wrong(
            "audio.format",
            f"Invalid value: {form!r}. Supported values are: "
            f"{', '.join(repr(name) for name in AUDIO_FORMATS)}.",
        )
    if body.get("stream") is True and form != STREAMED_FORMAT:
        raise Invalid(
            f"Unsupported value: 'audio.format' does not support '{form}' when stream=true. "
            f"Supported values are: '{STREAMED_FORMAT}'.",
            "audio.format",
            code="unsupported_value",
        )
    return str(form)


def _wrong(param: str, message: str) -> Invalid:
    return Invalid(message, param, code="invalid_value", kind="literal_error")
