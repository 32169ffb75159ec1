# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Opens a page in headless Chromium and says what is broken in it.

The page stands unchanged in a frame of a given width (a window of Chromium is at least 500 px wide, a phone is not),
and the page around it, which may run a script, looks into it.
"""

import html
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
from html.parser import HTMLParser

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
SEARCH = """
addEventListener("load", () => {
  const frame = document.querySelector("iframe"), page = frame.contentDocument, root = page.documentElement;
  const all = (what) => [...page.querySelectorAll(what)], beyond = (x) => x.getBoundingClientRect().right;
  for (const d of all("details")) d.open = true;
  const found = {
    width: frame.contentWindow.innerWidth, scrollWidth: root.scrollWidth, text: page.body.innerText,
    background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    pictures: all("img").length,
    broken: all("img").filter((x) => !x.complete || !x.naturalWidth).map((x) => x.alt),
    charts: all(".chart").length,
    empty: all(".chart").filter((c) => {
      const drawn = [...c.querySelectorAll(":scope > svg > path.line")].some((p) => p.getTotalLength() > 0);
      const ticks = c.querySelectorAll("text").length;
      return !(drawn || c.querySelector(":scope > svg > circle")) || ticks < 2 || c.clientWidth < 200;
    }).map((c) => c.querySelector("strong").textContent),
    spilled: all("td > *, .card > *").filter((x) => beyond(x) > beyond(x.parentElement) + 1).map((x) => x.outerHTML),
    unmarked: all(".mark").filter((x) => !x.innerText.trim()).length,
    stages: all("section").filter((x) => x.clientHeight > 100).map((x) => x.dataset.stage),
  };
  document.documentElement.setAttribute("data-found", JSON.stringify(found));
});
"""


def find() -> str | None:
    """Path of Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def look(page: str, width: int, dark: bool = False) -> dict:
    """What SEARCH finds in a page (HTML) shown `width` px wide, after all that unfolds is unfolded."""
    with tempfile.TemporaryDirectory() as folder:
        around = pathlib.Path(folder) / "around.html"
        around.write_text(
            f"<!doctype html><meta charset='utf-8'><script>{SEARCH}</script>"
            f'<iframe style="width:{width}px;height:844px;border:0" srcdoc="{html.escape(page)}"></iframe>'
        )
        done = subprocess.run(
            [
                find() or NAMES[0], *FLAGS, f"--user-data-dir={folder}/profile", f"--window-size={max(width, 500)},900",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", around.as_uri(),
            ],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, f"Chromium (exit code {done.returncode}) did not run the search: {done.stderr[-2000:]}"
    return json.loads(html.unescape(found.group(1)))


def faults(page: str, found: dict, width: int, stages: list[str], dark: bool = False) -> list[str]:
    """Everything that is broken in a page, in words; [] for a good one.

    found: of `look`; stages: that must have a section; dark: which colours it was shown in.
    """
    out = [f"asks for {x}" for x in foreign(page)]
    if found["width"] != width:
        out.append(f"the frame is {found['width']} px wide, not {width}")
    if found["scrollWidth"] > width:
        out.append(f"the page overflows: {found['scrollWidth']} px in {width}")
    out += [f"broken picture {x}" for x in found["broken"]]
    out += [f"empty chart {x}" for x in found["empty"]]
    out += [f"beyond its cell: {x[:120]}" for x in found["spilled"]]
    out += [f"text {x!r}" for x in re.findall(r"\b(?:nan|inf|none|null|undefined)\b", found["text"], re.IGNORECASE)]
    out += [f"no section of {x}" for x in stages if x not in found["stages"]]
    if found["unmarked"]:
        out.append("a mark without words")
    if not found["pictures"] or not found["charts"]:
        out.append("no pictures or no charts")
    red, green, blue = (int(x) for x in re.findall(r"\d+", found["background"])[:3])
    if (red + green + blue < 384) != dark:
        out.append(f"background {found['background']} in {'dark' if dark else 'light'} mode")
    return out


class _Resources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            asks = name in ("src", "srcset", "href", "xlink:href", "data", "action", "poster", "background")
            if asks and not (value or "").startswith(("data:image/png;base64,", "#")):
                self.found.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.found.append(f"{tag} {name}")


def foreign(page: str) -> list[str]:
    """What of a page would ask the network or run: resources that are not data: URLs, scripts, frames, CSS imports."""
    parser = _Resources()
    parser.feed(page)
    found = parser.found + [t for t in parser.tags if t in ("script", "iframe", "link", "object", "embed", "base")]
    return found + re.findall(r"@import[^;]*|url\([^)]*\)", page)
