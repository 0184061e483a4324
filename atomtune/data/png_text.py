"""PNG files without the texts that Pillow does not read: image generators write workflows of megabytes into them."""

import io
from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"  # may say how the image is turned
_LONGEST = 1_000_000
_KEYWORD = 82  # bytes of a keyword, the zero after it, and whether iTXt is compressed


def without_long_texts(path: Path, only_xmp: bool = False) -> Path | io.BytesIO:
    """The file, or for a PNG with texts that are compressed or over a megabyte its content without these.

    Args:
        only_xmp: leave out all texts but XMP metadata.
    """
    with path.open("rb") as stream:
        if stream.read(len(_SIGNATURE)) != _SIGNATURE:
            return path
        kept, dropped = [(0, len(_SIGNATURE))], False
        while len(head := stream.read(8)) == 8:
            begin, length, kind = stream.tell() - 8, int.from_bytes(head[:4], "big"), head[4:]
            if kind in _TEXTS and not _is_kept(kind, length, stream.read(_KEYWORD), only_xmp):
                dropped = True
            else:
                kept.append((begin, length + 12))
            stream.seek(begin + length + 12)
        if not dropped:
            return path
        content = io.BytesIO()
        for begin, length in kept:  # of a file that ends early what there is
            stream.seek(begin)
            content.write(stream.read(length))
    content.seek(0)
    return content


def _is_kept(kind: bytes, length: int, start: bytes, only_xmp: bool) -> bool:
    keyword, _, rest = start.partition(b"\0")
    is_plain = kind == b"tEXt" or (kind == b"iTXt" and rest[:1] == b"\0")
    return is_plain and length <= _LONGEST and (keyword == _XMP or not only_xmp)
