"""From a figure to SVG that lives inside a page: its colours are the page's, its values can be read by pointing at them.

matplotlib draws with stand-ins (`INK`, `OURS`, …), which become CSS variables: the same picture is dark where the page is.
"""

import io
import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecaster.report.axes import names_as_they_are

PIXELS_PER_INCH = 72  # what matplotlib takes an SVG's unit for

INK, MUTED, GRID, OURS, RIVAL, OTHER, PAGE = (f"#0{k}0{k}0{k}" for k in range(1, 8))  # stand-ins, each as good as no other colour
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", OURS: "ours", RIVAL: "rival", OTHER: "other", PAGE: "page"}

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
NUMBER = re.compile(r"-?\d+\.\d{2,}")
FONT = re.compile(r"font-family:[^;]*;?\s*")
COLOUR = re.compile("|".join(VARIABLES))


@dataclass(frozen=True)
class Drawing:
    """A figure of so many CSS pixels, and what its parts say to whoever points at them."""

    figure: Figure
    tips: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, width: float, height: float) -> "Drawing":
        """An empty drawing of that size."""
        figure = Figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.03, w_pad=0.03)  # type: ignore[union-attr, call-arg]
        return cls(figure)

    def tell(self, axes: Axes, low: float, high: float, text: str, *, is_row: bool = False) -> None:
        """Say the text over what lies between two places of the x axis, or of the y axis if `is_row`."""
        span = axes.axhspan if is_row else axes.axvspan
        span(low, high, alpha=0, linewidth=0, zorder=50, gid=f"tip-{len(self.tips)}")
        self.tips.append(text)

    def to_svg(self, name: str, label: str) -> Markup:
        """The drawing as an element of a page, where no other drawing has that name; a screen reader says the label."""
        with (
            io.StringIO() as file,
            rc_context({"svg.fonttype": "none", "svg.hashsalt": "forecaster"}),
            names_as_they_are(self.figure),
        ):
            self.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
            root = ElementTree.fromstring(file.getvalue())
        for parent in list(root.iter()):
            for child in list(parent):
                if child.tag.endswith("}metadata") or child.tag == f"{SVG}style":
                    parent.remove(child)
        for element in root.iter():
            self._adopt(element, name)
        for size in ("width", "height", "version"):
            root.attrib.pop(size, None)
        root.attrib |= {"class": "chart", "role": "img", "aria-label": label}
        ElementTree.register_namespace("", SVG[1:-1])
        return Markup(ElementTree.tostring(root, encoding="unicode"))

    def _adopt(self, element: ElementTree.Element, name: str) -> None:
        """Make one element the page's own: ids that nothing else there has, its colours and its font, no needless digits."""
        given = element.attrib
        tip = re.fullmatch(r"tip-(\d+)", given.get("id", ""))
        if tip:
            given.pop("id")
            given["class"] = "tip"
            for shape in element:
                shape.attrib = {"d": shape.attrib["d"]}
            title = ElementTree.Element(f"{SVG}title")
            title.text = self.tips[int(tip[1])]
            element.insert(0, title)
        if HREF in given:
            link = given.pop(HREF)
            given["href"] = f"#{name}-{link[1:]}" if link.startswith("#") else link
        if "id" in given:
            given["id"] = f"{name}-{given['id']}"
        if "clip-path" in given:
            given["clip-path"] = given["clip-path"].replace("url(#", f"url(#{name}-")
        if "style" in given:
            style = FONT.sub("", given["style"]).strip()
            given["style"] = COLOUR.sub(lambda found: f"var(--{VARIABLES[found[0]]})", style)
        if given.get("transform", "").startswith("rotate(-0 "):
            del given["transform"]
        for key in ("d", "x", "y"):
            if key in given:
                given[key] = " ".join(NUMBER.sub(lambda found: f"{float(found[0]):.1f}", given[key]).split())
