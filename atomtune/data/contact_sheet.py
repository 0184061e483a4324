"""Contact sheets: images in rows and columns with labels or captions."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

_GAP = 8
_CAPTION = 20


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    least: int = 192,
) -> Image.Image:
    """Labelled rows of images, RGB; images narrower than `least` pixels are enlarged so that labels fit."""
    width, height = rows[0][0].size
    factor = max(1, -(-least // width))
    width, height = width * factor, height * factor
    columns = max(len(row) for row in rows)
    above = _CAPTION if column_labels else 0
    over_row = _CAPTION if row_labels else 0
    sheet = Image.new(
        "RGB",
        (_GAP + columns * (width + _GAP), _GAP + above + len(rows) * (height + over_row + _GAP)),
        (255, 255, 255),
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, label in enumerate(column_labels):
        _write(draw, font, (_GAP + column * (width + _GAP), _GAP), label, width)
    for number, row in enumerate(rows):
        y = _GAP + above + number * (height + over_row + _GAP)
        if row_labels:
            _write(draw, font, (_GAP, y), row_labels[number], columns * (width + _GAP) - _GAP)
        for column, image in enumerate(row):
            large = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(large, (_GAP + column * (width + _GAP), y + over_row))
    return sheet


def captioned_sheet(
    images: Sequence[Image.Image], captions: Sequence[tuple[str, str]], columns: int, side: int = 224
) -> Image.Image:
    """Images in `columns`, up to `side` pixels wide and high, each with a title and a caption of up to three lines."""
    font = ImageFont.load_default(13)
    texts = [[title, *_wrapped(font, caption, side, 3)] for title, caption in captions]
    cell = (side + _GAP, side + max(map(len, texts)) * _CAPTION + _GAP)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (_GAP + columns * cell[0], _GAP + rows * cell[1]), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for number, (image, lines) in enumerate(zip(images, texts, strict=True)):
        x, y = _GAP + number % columns * cell[0], _GAP + number // columns * cell[1]
        small = ImageOps.contain(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (x + (side - small.width) // 2, y + (side - small.height) // 2))
        for line, text in enumerate(lines):
            _write(draw, font, (x, y + side + 2 + line * _CAPTION), text, side)
    return sheet


def _wrapped(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str, width: int, lines: int) -> list[str]:
    """Words on at most `lines` lines; the last line holds all the rest."""
    done: list[str] = []
    words = text.split()
    while words and len(done) < lines - 1:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        done.append(" ".join(words[:count]))
        words = words[count:]
    return [*done, " ".join(words)] if words else done


def _write(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    at: tuple[int, int],
    text: str,
    width: int,
) -> None:
    if text and draw.textlength(text, font=font) > width:
        # of the beginnings with an ellipsis, the longest that fits
        least, most = 0, len(text)
        while most - least > 1:
            middle = (least + most) // 2
            fits = draw.textlength(text[:middle] + "…", font=font) <= width
            least, most = (middle, most) if fits else (least, middle)
        text = text[:least].rstrip() + "…"
    draw.text(at, text, fill=(40, 40, 40), font=font)
