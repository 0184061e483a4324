"""Rare tokens for concepts: short words that CLIP's tokenizers read as one token each, and that mean nothing."""

import hashlib

_WORDS = """
    abre abz achs acki adee aest aew agna agne aig akos alz antv anyi apha appe araj arns aroo asot atum avut awak
    bbuk bosh brea bsgo buri cett cfr chak choa cke cki coyi crae csg cutt dayo dih dito dler drie dros eccc eha ehs
    eira enei enet erno erra erun etto etty exol ffen ffes ffo fgo fhs ghue gno grl gyan httr hwan ilwx impy inem iwm
    kke kki kko koff lhp leno mban mbi mek miwx mmes mmit mmon mmva mowx ncds ndi neel nmwx nold nyo oday ohwx olu omf
    onee onex orah otas oue padi pany phee ppel ptbo raa rcn rean rsl rufc rwa sff shma siya skc ssin stea stis swin
    tels tlap tson ttip ttu tzer uaap uer uff uous utto uwe vcu vedi voli wafc wawx wbo wedo wiwx wku wrs wti yel ylan
    yler ynna yte zani zawa
"""

TOKENS: tuple[str, ...] = tuple(_WORDS.split())
"""Fragments, as rare in captions as words get; none is a name of a thing of `pocket` (`pretrain/names.py`)."""


def default_token(name: str, vectors: int = 1) -> str:
    """The token of a concept of this name: as many different words as it has vectors, always the same.

    The words with the smallest digests, so that a longer list would change the tokens of few names.
    """

    def digest(word: str) -> bytes:
        return hashlib.sha256(f"{name}/{word}".encode()).digest()

    return " ".join(sorted(TOKENS, key=digest)[:vectors])
