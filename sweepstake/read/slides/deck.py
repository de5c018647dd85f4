"""Slides of 16:9 on which nothing overflows: what is too long for its place is cut, and stands whole in the notes."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple, Self

from sweepstake.base.errors import UserError
from sweepstake.base.text import visible

WIDTH, HEIGHT, MARGIN = 13.333, 7.5, 0.5
"""Inches."""
TOP, BOTTOM = 1.45, 7.1
"""Between which a slide holds what it is about."""
INNER = WIDTH - 2 * MARGIN
SMALLEST, TEXT, TITLE = 18, 24, 30
"""Points."""
WIDE, LINE = 0.55, 1.25
"""Of the size of a letter: its width, on the safe side, and the height of a line."""
PADDING = 0.12
ELLIPSIS = " … (whole in the notes)"


class Place(NamedTuple):
    """A rectangle, in inches."""

    left: float
    top: float
    width: float
    height: float


INSIDE = Place(MARGIN, TOP, INNER, BOTTOM - TOP)


class Deck:
    """A presentation in the making."""

    def __init__(self, title: str):
        self.library = library()
        self.file: Any = self.library.Presentation()
        _widen(self.file)
        self.file.core_properties.title = visible(title)

    def opening(self, title: str, below: str) -> None:
        """The first slide."""
        made = self.file.slides.add_slide(self.file.slide_layouts[0])
        _put(made.shapes.title.text_frame, [cut(title, INNER * 0.85, 40, 3)], 40)
        _put(made.placeholders[1].text_frame, [cut(below, INNER * 0.7, TEXT, 3)], TEXT)

    def slide(self, title: str, notes: Sequence[str] = ()) -> "Slide":
        """A slide with a title, and what the speaker has before them."""
        made = self.file.slides.add_slide(self.file.slide_layouts[5])
        _lie(made.shapes.title, Place(MARGIN, 0.35, INNER, 1.0))
        _put(made.shapes.title.text_frame, [cut(title, INNER, TITLE, 2)], TITLE)
        whole = [visible(title), *map(visible, notes)]
        made.notes_slide.notes_text_frame.text = "\n\n".join(filter(None, whole))
        return Slide(made)

    def save(self, path: Path) -> Path:
        from io import BytesIO

        from sweepstake.run.files import write_whole

        whole = BytesIO()
        self.file.save(whole)
        write_whole(path, whole.getvalue())
        return path


class Slide:
    """One of them, below its title."""

    def __init__(self, made: Any):
        self.made = made

    def text(self, paragraphs: Sequence[str], place: Place = INSIDE, size: int = TEXT, mono: bool = False) -> Self:
        """Paragraphs, cut to their place."""
        box = self.made.shapes.add_textbox(*_emu(place))
        box.text_frame.word_wrap = True
        room, shown = int((place.height - 0.1) / line(size)), list[str]()
        for each in paragraphs:
            if room < 1:
                break
            shown.append(cut(each, place.width - 0.2, size, room, WIDE * 1.12 if mono else WIDE))
            room -= lines(shown[-1], place.width - 0.2, size, WIDE * 1.12 if mono else WIDE)
        _put(box.text_frame, shown, size, "Courier New" if mono else None)
        return self

    def table(self, rows: Sequence[Sequence[str]], widths: Sequence[float], place: Place = INSIDE) -> Self:
        """Rows under a head, each as high as its longest text; the caller takes no more than fit."""
        from pptx.util import Inches  # pyright: ignore[reportMissingImports]

        heights = [row_height(row, widths) for row in rows]
        frame = self.made.shapes.add_table(len(rows), len(widths), *_emu(place._replace(height=sum(heights))))
        for column, width in zip(frame.table.columns, widths, strict=True):
            column.width = Inches(width)
        for row, height, texts in zip(frame.table.rows, heights, rows, strict=True):
            row.height = Inches(height)
            for cell, text in zip(row.cells, texts, strict=True):
                _put(cell.text_frame, [visible(text)], SMALLEST)
                cell.text_frame.word_wrap = True
        return self

    def picture(self, png: bytes, told: str, place: Place, dpi: int = 300) -> Self:
        """A bitmap as large as its place and the dots allow, in its middle."""
        from io import BytesIO

        across, down = (int.from_bytes(png[at:at + 4]) for at in (16, 20))
        scale = min(place.width / across, place.height / down, 1 / dpi)
        width, height = across * scale, down * scale
        lies = Place(place.left + (place.width - width) / 2, place.top + (place.height - height) / 2, width, height)
        made = self.made.shapes.add_picture(BytesIO(png), *_emu(lies))
        made._element.nvPicPr.cNvPr.set("descr", visible(told))
        return self


def library() -> Any:
    """python-pptx."""
    try:
        import pptx  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("slides: python-pptx is not installed. `pip install sweepstake[slides]`.") from None
    return pptx


# How much fits

def line(size: float) -> float:
    """The height of a line, in inches."""
    return size * LINE / 72


def lines(text: str, width: float, size: float, wide: float = WIDE) -> int:
    """How many lines a text takes in so many inches, on the safe side."""
    across = max(1, int(width * 72 / (size * wide)))
    return sum(max(1, ceil(len(each) / across)) for each in text.splitlines()) or 1


def cut(text: str, width: float, size: float, most: int, wide: float = WIDE) -> str:
    """The text, or as much of its beginning as takes so many lines, and that there is more."""
    text = visible(text)
    if lines(text, width, size, wide) <= most:
        return text
    room = int(width * 72 / (size * wide)) * most - len(ELLIPSIS)
    kept = " ".join(text.split())[:max(room, 0)]
    return (kept.rpartition(" ")[0] or kept).rstrip(",;:. ") + ELLIPSIS


def row_height(row: Sequence[str], widths: Sequence[float]) -> float:
    """Of a table, in inches."""
    most = max(lines(text, width - 0.25, SMALLEST) for text, width in zip(row, widths, strict=True))
    return most * line(SMALLEST) + PADDING


# What python-pptx is told

def _widen(file: Any) -> None:
    """The library's own template is of 4:3: everything in it is moved apart."""
    from pptx.util import Inches  # pyright: ignore[reportMissingImports]

    ratio = Inches(WIDTH) / file.slide_width
    file.slide_width, file.slide_height = Inches(WIDTH), Inches(HEIGHT)
    for page in (file.slide_master, *file.slide_layouts):
        for shape in page.shapes:
            if shape.has_text_frame and shape.width:
                shape.left, shape.width = int(shape.left * ratio), int(shape.width * ratio)


def _emu(place: Place) -> tuple[Any, ...]:
    from pptx.util import Inches  # pyright: ignore[reportMissingImports]

    return tuple(map(Inches, place))


def _lie(shape: Any, place: Place) -> None:
    shape.left, shape.top, shape.width, shape.height = _emu(place)


def _put(frame: Any, paragraphs: Sequence[str], size: float, font: str | None = None) -> None:
    """The text of a frame, in a size that does not hang on what shows it."""
    from pptx.enum.text import MSO_AUTO_SIZE  # pyright: ignore[reportMissingImports]
    from pptx.util import Pt  # pyright: ignore[reportMissingImports]

    frame.auto_size = MSO_AUTO_SIZE.NONE
    frame.text = "\n".join(paragraphs)
    for paragraph in frame.paragraphs:
        for run in paragraph.runs:
            run.font.size = Pt(size)
            if font:
                run.font.name = font
