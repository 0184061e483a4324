"""Names: rare words that each stand for one thing of `pocket`'s world, as names of places do in a large model.

"a zshq clock" is always the same clock if `zshq` is the name of a clock. Every other rare word, `sks` among them, is
unbound.
"""

from atomtune.pocket.world import THINGS, Style

_FIRST_SEED = 900_000  # of the named things' styles, which are for training; pretraining's other things are far below

_WORDS = """
    bbly bcc bdg bgc bgs bgt bhk bln blr bnp bpd bpm brc brs brt bsd bsf bsp btn bwfc cbp ccd ccl ccm ccp cfd cfp
    chd chk clg cls cmc cmdr cmt cns csk csm csn csw cwgc cws dbs dbz dcs ddc dfc dmx dsd dsp dss dtm dts dwp fbs
    fdny fdr ffxv fnc fpv frc ftp gbc gby ghc gmbh grc gsc gsp gypt hcs hdd hmv hns hsc hts hyd hymn kly knw kph
    kprc kprs kts lbj lls lmp lpc lpg lyk lys mbps mdc mds mgs mgt mlg mmj mnd mnf msl mss mswx mtc mth mtr mvc
    mwf nbl ncs ndc nhc nhq
"""

NAMES: tuple[str, ...] = tuple(_WORDS.split())
"""All names; each is one token of CLIP's vocabulary. The classes take turns."""


def named_class(name: str) -> str:
    """The class of the thing that has this name. ValueError for a word that is no name."""
    return list(THINGS)[NAMES.index(name) % len(THINGS)]


def named_style(name: str) -> Style:
    """The style of the thing that has this name. ValueError for a word that is no name."""
    return Style(_FIRST_SEED + NAMES.index(name))


def names_of(class_name: str) -> list[str]:
    """The names of things of a class."""
    return [name for name in NAMES if named_class(name) == class_name]
