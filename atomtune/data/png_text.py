"""PNG files without their texts, which image generators make longer (workflows) than Pillow reads."""

import io
from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_XMP = b"XML:com.adobe.xmp\0\0"  # not compressed; it may say how the image is turned
_LONGEST_XMP = 1_000_000


def without_text(path: Path) -> Path | io.BytesIO:
    """The file, or for a PNG with text chunks its content without them. The pixels and other metadata stay."""
    with path.open("rb") as stream:
        if stream.read(len(_SIGNATURE)) != _SIGNATURE:
            return path
        kept, dropped = [(0, len(_SIGNATURE))], False
        while len(head := stream.read(8)) == 8:
            begin, length = stream.tell() - 8, int.from_bytes(head[:4], "big")
            is_xmp = head[4:] == b"iTXt" and length <= _LONGEST_XMP and stream.read(len(_XMP)) == _XMP
            if head[4:] in _TEXTS and not is_xmp:
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
