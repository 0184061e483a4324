"""Options of the demo."""

from dataclasses import dataclass

from ..runtime.option import option
from ..runtime.options import Options


@dataclass(frozen=True, kw_only=True)
class DemoOptions(Options, panel="Demo"):
    """What the miniature learns.

    Attributes:
        thing: a class of things of the world that `pocket` knows.
        instance: which one of it; all of them are held out from the training of `pocket`.
        compare: train and show other methods too.
    """

    thing: str = option("castle", "What to learn, as castle, robot, teapot.", metavar="THING", word="first")
    instance: int = option(7, "Which one of it; the model saw none of them.", at_least=0, metavar="N")
    seed: int = option(0, "Random seed of training and images.", at_least=0, metavar="N")
    compare: bool = option(False, "Train LoRA and the whole model as well, and show them beside it.")
