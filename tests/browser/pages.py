"""A notebook in JupyterLab, as the person before the screen has it: menus, cells, what they show.

Everything waits for a condition and fails when it does not come true in time. What the page asks of
any other address than its own server is noted, and Chromium resolves no name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from labs import PATIENCE_S, Lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "results" / "browser"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
WIDTH_PX, HEIGHT_PX, LONGEST_PX = 1400, 1000, 15_000
OWN = re.compile(r"(data|blob|about):")
BAD = re.compile(r"Traceback|^\[[EC] ", re.MULTILINE)

# The notebook's own indicator says idle while there is no kernel yet, and what is run then is lost.
STATUS, IDLE = "#jp-main-statusbar", re.compile(r"^Python 3 .*\| Idle$")
SCROLLED = ".jp-NotebookPanel-notebook .jp-WindowedPanel-outer"
MIME = "application/vnd.jupyter."
RAN = """() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')];
    const failed = document.querySelector("[data-mime-type='application/vnd.jupyter.stderr']");
    return failed || (prompts.length && /\\[\\d+\\]/.test(prompts.at(-1).textContent));
}"""
TO_TOP = "scrolled => { scrolled.scrollTop = 0; return scrolled.scrollHeight; }"
BLANK = "prompt => { prompt.textContent = ''; }"
PAINTED = """() => [...document.querySelectorAll('.jp-OutputArea-output img')]
    .every(image => image.complete && image.naturalWidth > 0)"""


class Bench:
    """One page of JupyterLab, and all that went wrong in it."""

    def __init__(self, browser: Browser, lab: Lab) -> None:
        self.lab, self.wrong = lab, list[str]()
        self._log_before = len(lab.log())
        lab.forget_tabs()
        lab.set("apputils-extension/themes", {"theme": THEMES["light"]})
        self._context = browser.new_context(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
        self._context.set_default_timeout(PATIENCE_S * 1000)
        self._context.on("console", self._said)
        self._context.on("weberror", lambda found: self.wrong.append(f"raised: {found.error}"))
        self._context.on("request", lambda request: self._asked(request.url))
        self.page = self._context.new_page()
        self.page.on("websocket", lambda socket: self._asked(socket.url))
        self.page.on("crash", lambda page: self.wrong.append("the page crashed"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.wrong.append(f"console: {message.text}")

    def _asked(self, url: str) -> None:
        here = self.lab.url, self.lab.url.replace("http:", "ws:")
        if not url.startswith(here) and not OWN.match(url):
            self.wrong.append(f"asked elsewhere: {url}")

    def close(self) -> list[str]:
        """Leave; all that went wrong: in the page, its console, its requests, the server."""
        # Kernels first: of a page that leaves while its kernel speaks the server logs a traceback.
        self.lab.end_kernels()
        log = self.lab.log()[self._log_before :]
        found = [*self.wrong, *([f"log: {log}"] if BAD.search(log) else [])]
        self._context.close()
        return found

    def open(self, path: str) -> None:
        """Open a notebook of the workspace and wait for its kernel."""
        self.page.goto(f"{self.lab.url}lab/tree/{path}?token={self.lab.token}")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        self.idle()

    def idle(self) -> None:
        """Wait until the kernel is there and has nothing to do."""
        self.page.locator(STATUS).get_by_text(IDLE).wait_for()

    def menu(self, *names: str) -> None:
        """Click through a menu of the menu bar."""
        self.page.locator(".lm-MenuBar-itemLabel").get_by_text(names[0], exact=True).click()
        for depth, name in enumerate(names[1:]):
            shown = self.page.locator(".lm-Menu").nth(depth)
            shown.locator(".lm-Menu-itemLabel").get_by_text(name, exact=True).click()

    def run_all(self, seconds: float = PATIENCE_S) -> None:
        """Run > Run All Cells, until the last cell has run or one has failed."""
        self.menu("Run", "Run All Cells")
        self.page.wait_for_function(RAN, timeout=seconds * 1000)
        self.idle()

    def outputs(self, kind: str) -> list[str]:
        """The texts of all outputs of a kind: `stdout`, or `stderr`, which an error is too."""
        found = self.page.locator(f".jp-OutputArea-output[data-mime-type='{MIME}{kind}']")
        return found.all_inner_texts()

    def marked(self) -> list[str]:
        """Return the sentence about each answer to an exercise, with its mark before it."""
        return self.page.locator(".jp-OutputArea-output [role=status]").all_inner_texts()

    def cell(self, place: int) -> Locator:
        """A code cell, counted from 0."""
        return self.page.locator(".jp-CodeCell").nth(place)

    def type(self, place: int, source: str) -> None:
        """Write this instead of what a cell holds."""
        self.cell(place).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source)

    def run(self, place: int) -> None:
        """Shift+Enter in a cell, and no more: it may go on for long."""
        self.cell(place).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")

    def ran(self, place: int) -> str:
        """Run a cell until it has ended; the text that it shows."""
        self.cell(place).locator(".jp-InputArea-prompt").evaluate(BLANK)
        self.run(place)
        self.cell(place).locator(".jp-InputArea-prompt").get_by_text(re.compile(r"\d")).wait_for()
        self.idle()
        return self.shown(place)

    def shown(self, place: int) -> str:
        """The text of all that a cell shows."""
        return "\n".join(self.cell(place).locator(".jp-OutputArea-output").all_inner_texts())

    def theme(self, name: str) -> None:
        """Settings > Theme."""
        self.menu("Settings", "Theme", THEMES[name])
        self.page.wait_for_selector(f"body[data-jp-theme-name='{THEMES[name]}']", state="attached")

    def pictures(self, name: str) -> None:
        """Keep what is shown, in full length and in both themes, as files to look at."""
        self.page.wait_for_function(PAINTED)
        for theme in reversed(THEMES):
            self.theme(theme)
            height = self.page.locator(SCROLLED).evaluate(TO_TOP)
            self._resize(min(int(height) + HEIGHT_PX // 5, LONGEST_PX))
            self.page.screenshot(path=PICTURES / f"{name}-{theme}.png", animations="disabled")
            self._resize(HEIGHT_PX)

    def picture(self, name: str) -> None:
        """Keep what the window shows at this moment."""
        self.page.screenshot(path=PICTURES / f"{name}.png")

    def _resize(self, height: int) -> None:
        self.page.set_viewport_size({"width": WIDTH_PX, "height": max(height, HEIGHT_PX)})
