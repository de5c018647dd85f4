"""A page in a real browser, through Playwright: what it shows, what it says in its console, and what it asks for."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page with")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser for the tests of a module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield Browser(browser)
        browser.close()


class Browser:
    """Opens pages, each in a profile of its own."""

    def __init__(self, browser):
        self.browser = browser

    @contextmanager
    def open(self, where: Path | str, width: int = 1280, height: int = 800, **how) -> Iterator["Opened"]:
        """A file without a network, or an address of this machine; `how` as in Playwright's `new_context`."""
        context = self.browser.new_context(viewport={"width": width, "height": height}, offline=isinstance(where, Path), **how)
        page = context.new_page()
        opened = Opened(page)
        page.goto(where.as_uri() if isinstance(where, Path) else where)
        yield opened
        context.close()


class Opened:
    """A page that is open, and what it has said and asked for."""

    def __init__(self, page):
        self.page = page
        self.console: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    def faults(self) -> list[str]:
        """What axe finds wrong for people who read with other means than a screen and a mouse."""
        from axe_playwright_python.sync_playwright import Axe

        return [f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:3]}" for one in Axe().run(self.page).response["violations"]]
