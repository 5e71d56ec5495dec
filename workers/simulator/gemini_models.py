"""What the Gemini models can do, read from their ids."""

import re
from dataclasses import dataclass
from typing import Final

from workers.simulator.gemini_errors import Invalid, Surface, studio_field, vertex_unable

# From this generation on, models think in levels and insist on the signatures of their thoughts.
GENERATION_OF_LEVELS: Final = 3.0
DYNAMIC: Final = -1
OUTPUT_TOKENS_MAX: Final = 65_536
OLD_OUTPUT_TOKENS_MAX: Final = 8192

_VERSION: Final = re.compile(r"gemini-(\d+(?:\.\d+)?)")
_LATEST: Final = re.compile(r"gemini-.*latest")
_REASONS: Final = re.compile(r"reason|think")


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """One model.

    Attributes:
        version: Its generation; 0 for a model whose id does not say, which can do everything.
        budgets: The least and the most it may be told to think; None when it cannot think.
        may_rest: Whether thinking can be switched off.
        thinks: Whether it thinks without being told to.
        levels: The levels of thinking it knows.
    """

    version: float = 0.0
    budgets: tuple[int, int] | None = (1, 32_768)
    may_rest: bool = True
    thinks: bool = False
    levels: frozenset[str] = frozenset({"MINIMAL", "LOW", "MEDIUM", "HIGH"})
    images: bool = True
    audio: bool = True

    @property
    def known(self) -> bool:
        """Whether the id says which generation it is."""
        return self.version > 0

    @property
    def demands_signatures(self) -> bool:
        """Whether calls of the current turn must come back with their signatures."""
        return self.version >= GENERATION_OF_LEVELS

    @property
    def output_tokens_max(self) -> int:
        """The longest answer it may be asked for."""
        old = self.known and self.version < 2.5  # noqa: PLR2004 - the generation that grew
        return OLD_OUTPUT_TOKENS_MAX if old else OUTPUT_TOKENS_MAX


def abilities(model: str) -> Abilities:
    """Return what a model can do."""
    found = _VERSION.match(model)
    if found is None and not _LATEST.match(model):
        return Abilities(thinks=bool(_REASONS.search(model)))
    version = float(found[1]) if found else GENERATION_OF_LEVELS
    images, audio = "image" in model, "tts" in model or "audio" in model
    if version >= GENERATION_OF_LEVELS:
        return Abilities(
            version=version,
            may_rest="pro" not in model,
            thinks=True,
            levels=_levels(model, version),
            images=images,
            audio=audio,
        )
    if version < 2.5 or images or audio:  # noqa: PLR2004 - the first generation that thinks
        thinking = (0, 24_576) if _REASONS.search(model) else None
        return Abilities(
            version=version,
            budgets=thinking,
            thinks=thinking is not None,
            levels=frozenset(),
            images=images,
            audio=audio,
        )
    return _two_and_a_half(model, version)


def _two_and_a_half(model: str, version: float) -> Abilities:
    pro, lite = "pro" in model, "lite" in model
    return Abilities(
        version=version,
        budgets=(128, 32_768) if pro else (512 if lite else 1, 24_576),
        may_rest=not pro,
        thinks=not lite,
        levels=frozenset(),
        images=False,
        audio=False,
    )


def _levels(model: str, version: float) -> frozenset[str]:
    if "pro" not in model:
        return frozenset({"MINIMAL", "LOW", "MEDIUM", "HIGH"})
    older = version == GENERATION_OF_LEVELS
    return frozenset({"LOW", "HIGH"}) if older else frozenset({"LOW", "MEDIUM", "HIGH"})


def supports(model: str, method: str) -> bool:
    """Whether a model serves a method: those that embed do nothing else."""
    if method == "countTokens" or (not _VERSION.match(model) and "embedding" not in model):
        return True
    embeds = method in ("embedContent", "batchEmbedContents", "predict")
    return embeds is ("embedding" in model)


def check_thinking(surface: Surface, able: Abilities, budget: int | None, level: str) -> bool:
    """Return whether the model is going to think.

    Raises:
        Invalid: It cannot be told to think so.
    """
    if budget is not None and level:
        raise Invalid("You can only set only one of thinking budget and thinking level.")
    if level:
        if level not in able.levels:
            raise Invalid(
                f"Thinking level {level} is not supported for this model. Please retry with other "
                "thinking level."
                if able.levels
                else "Thinking level is not supported for this model."
            )
        return True
    if budget is None:
        return able.thinks
    _check_budget(surface, able, budget)
    return budget != 0


def _check_budget(surface: Surface, able: Abilities, budget: int) -> None:
    if budget == DYNAMIC and able.budgets is not None:
        return
    if budget == 0:
        if able.may_rest:
            return
        if surface is Surface.VERTEX:
            raise vertex_unable("The model does not support setting thinking_budget to 0.")
        raise Invalid("Budget 0 is invalid. This model only works in thinking mode.")
    if able.budgets is None:
        if surface is Surface.VERTEX:
            raise vertex_unable("thinking is not supported by this model.")
        raise Invalid("Thinking is not enabled for this model.")
    least, most = able.budgets
    if not least <= budget <= most:
        if surface is Surface.VERTEX:
            raise vertex_unable(
                f"thinking_budget is out of range; supported values are integers from {least} to "
                f"{most}."
            )
        raise Invalid(
            f"The thinking budget {budget} is invalid. Please choose a value between {least} and "
            f"{most}."
        )


def check_modalities(surface: Surface, able: Abilities, modalities: list[str]) -> None:
    """Check what the answer shall be made of.

    Raises:
        Invalid: The model does not give that.
    """
    wanted = set(modalities)
    if ("IMAGE" in wanted and not able.images) or ("AUDIO" in wanted and not able.audio):
        names = ",".join(modality.lower() for modality in modalities)
        raise Invalid(f"Model does not support the requested response modalities: {names}")
    if "AUDIO" in wanted and len(wanted) > 1:
        problem = "audio cannot be combined with other response modalities"
        path = "generation_config.response_modalities"
        raise (
            studio_field(path, problem)
            if surface is Surface.STUDIO
            else vertex_unable(f"{problem}.")
        )
