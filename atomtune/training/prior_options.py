"""The options of prior preservation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data.concept import Concept, expand, names
from ..errors import UsageError, excerpt
from ..runtime.option import option
from ..runtime.options import Options


@dataclass(frozen=True, kw_only=True)
class PriorOptions(Options, panel="Prior preservation"):
    """Images of the class beside those of the concept; see `prior_preservation`.

    Attributes:
        prior_prompt: None for "a photo of a" and the class noun, for which `{}` and `<name>` stand.
        prior_dir: its images are cut as the concept's are; all of them count, whatever `prior_images` is.
    """

    prior_preservation: bool = option(
        False, "Prior preservation: train on images of the class as well.", aliases=("with_prior_preservation",)
    )
    prior_images: int = option(
        100,
        "Class images; the base model generates them once.",
        at_least=1,
        metavar="N",
        aliases=("num_class_images",),
    )
    prior_dir: Path | None = option(
        None,
        "Folder of class images of your own (regularization images), in the place of generated ones.",
        metavar="DIR",
        aliases=("class_data_dir", "reg_data_dir"),
    )
    prior_weight: float = option(
        1.0, "Weight of the prior loss.", at_least=0, metavar="X", aliases=("prior_loss_weight",)
    )
    prior_prompt: str | None = option(
        None,
        "Prompt of the class images; {} stands for the class noun.",
        shown_default="a photo of a {}",
        metavar="PROMPT",
        aliases=("class_prompt",),
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        for name in ("prior_prompt", "prior_dir"):
            if getattr(self, name) is not None and not self.prior_preservation:
                yield name, "needs prior_preservation"

    def class_prompt(self, concept: Concept) -> str:
        """The prompt of the class images. Raises UsageError as `class_prompt`."""
        return class_prompt(self.prior_prompt, concept)


def class_prompt(prompt: str | None, concept: Concept) -> str:
    """The prompt of a concept's class images, by default "a photo of a" and the class noun, for which `{}` stands.

    Raises UsageError where it names what is no concept, or the token.
    """
    filled = expand(prompt or "a photo of a {}", [concept], with_token=False)
    if names(filled, concept) and not names(concept.class_noun, concept):
        raise UsageError(
            f"the class prompt {excerpt(filled)!r} holds the token {concept.token!r}, which means the concept",
            "--prior-prompt describes the class, as in 'a photo of a {}'",
        )
    return filled
