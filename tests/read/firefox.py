"""Firefox as it ships, driven by WebDriver BiDi: Playwright drives only builds of its own."""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
needs_firefox = pytest.mark.skipif(FIREFOX is None or find_spec("websockets") is None,
                                   reason="no Firefox on this machine to open the page with, or no websockets to drive it by")
PREFERENCES = {"network.proxy.type": 1, "network.proxy.http": "127.0.0.1", "network.proxy.http_port": 9,  # Nothing answers there.
               "network.proxy.ssl": "127.0.0.1", "network.proxy.ssl_port": 9, "browser.download.folderList": 2,
               "browser.download.alwaysOpenPanel": False, "layout.css.prefers-color-scheme.content-override": 0}
"""Without a network, with downloads into a folder, and in the dark."""
KEYS = {"ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015", "Escape": "\ue00c"}
STARTS = 60


@contextmanager
def firefox(folder: Path) -> Iterator["Firefox"]:
    """A browser with a profile in an empty folder; it ends with the block."""
    from websockets.sync.client import connect

    said = {**PREFERENCES, "browser.download.dir": str(folder)}
    (folder / "user.js").write_text("".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in said.items()))
    process = subprocess.Popen([str(FIREFOX), "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", "0"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)})
    try:
        began, where = time.monotonic(), folder / "WebDriverBiDiServer.json"
        while not (where.exists() and where.read_text().endswith("}")):
            assert process.poll() is None and time.monotonic() - began < STARTS, "Firefox does not start"
            time.sleep(0.05)
        at = json.loads(where.read_text())
        with connect(f"ws://{at['ws_host']}:{at['ws_port']}/session", max_size=None) as line:
            yield Firefox(line)
    finally:
        process.kill()
        process.wait()


class Firefox:
    """One page, what it has said in its console, and what it has asked for."""

    def __init__(self, line: Any):
        self.line, self.numbers = line, itertools.count()
        self.console: list[str] = []
        self.requests: list[str] = []
        self.send("session.new", capabilities={})
        self.send("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self.page = self.send("browsingContext.create", type="tab")["context"]

    def send(self, method: str, **params: Any) -> Any:
        """A command and its answer; events that come meanwhile are kept."""
        number = next(self.numbers)
        self.line.send(json.dumps({"id": number, "method": method, "params": params}))
        while (said := json.loads(self.line.recv(timeout=60))).get("id") != number:
            if said.get("method") == "log.entryAdded":
                self.console.append(said["params"]["text"])
            elif said.get("method") == "network.beforeRequestSent":
                self.requests.append(said["params"]["request"]["url"])
        assert said["type"] == "success", said
        return said["result"]

    def open(self, path: Path, width: int, height: int) -> None:
        self.send("browsingContext.setViewport", context=self.page, viewport={"width": width, "height": height})
        self.send("browsingContext.navigate", context=self.page, url=path.as_uri(), wait="complete")

    def run(self, script: str) -> Any:
        """What an expression gives, awaited, by way of JSON."""
        said = self.send("script.evaluate", expression=f"(async () => JSON.stringify(await ({script}) ?? null))()", awaitPromise=True,
                         target={"context": self.page}, userActivation=True)
        assert said["type"] == "success", said
        return json.loads(said["result"]["value"])

    def press(self, key: str) -> None:
        actions = [{"type": way, "value": KEYS[key]} for way in ("keyDown", "keyUp")]
        self.send("input.performActions", context=self.page, actions=[{"type": "key", "id": "keys", "actions": actions}])
