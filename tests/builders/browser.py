"""A real browser that a test opens a page in and asks: Chromium over its debugging pipe.

The protocol is Chromium's own (https://chromedevtools.github.io/devtools-protocol/): messages of
JSON, each ended by a zero byte, on file descriptors 3 and 4 of the browser. It needs no port, no
driver and no package.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 60


class Page:
    """A page that is open in a browser."""

    def __init__(self, process: subprocess.Popen, to_browser: int, from_browser: int) -> None:
        self._process, self._out = process, to_browser
        self._messages = self._read(from_browser)
        self._last = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def attach(self) -> None:
        """Open a tab and listen to what it says."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its answer; events that come before it are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        for answer in self._messages:
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                return answer["result"]
            self.events.append(answer)
        raise AssertionError(f"the browser has ended before it answered {method}")

    def open(self, path: Path, width: int = 1200, height: int = 900, **media: str) -> None:
        """Open a file and wait until it is loaded; `media` are features such as
        prefers_color_scheme="dark"."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        features = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("Page.loadEventFired")

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next event of this name."""
        for known in self.events:
            if known.get("method") == event:
                self.events.remove(known)
                return known["params"]
        for message in self._messages:
            if message.get("method") == event:
                return message["params"]
            self.events.append(message)
        raise AssertionError(f"the browser has ended before {event}")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                          awaitPromise=True, userGesture=True)  # fmt: skip
        assert "exceptionDetails" not in found, found.get("exceptionDetails")
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text,
                      windowsVirtualKeyCode=code)  # fmt: skip

    @property
    def complaints(self) -> list[str]:
        """What the page has written to the console, thrown, or been forbidden by its policy."""
        found = []
        for event in self.events:
            if event.get("method") == "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                found.append(str(details.get("exception", details).get("description", details)))
            elif event.get("method") == "Runtime.consoleAPICalled":
                found.append(str(event["params"]["args"]))
            elif event.get("method") == "Log.entryAdded":
                found.append(event["params"]["entry"]["text"])
        return found

    @property
    def asked(self) -> list[str]:
        """The addresses that the page asked for, without what it holds itself."""
        urls = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def _read(self, source: int) -> Iterator[dict[str, Any]]:
        rest = b""
        while chunk := os.read(source, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            yield from map(json.loads, messages)


@contextmanager
def opened(browser: str, folder: Path) -> Iterator[Page]:
    """A browser with one empty page, its profile in a folder; it ends with the block."""
    to_read, to_browser = os.pipe()
    from_browser, to_write = os.pipe()
    command = [
        browser,
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={folder / 'profile'}",
        "--remote-debugging-pipe",
    ]

    # The shell gives the browser the two pipes as its descriptors 3 and 4.
    shell = ["/bin/sh", "-c", f'exec "$@" 3</dev/fd/{to_read} 4>/dev/fd/{to_write}', "sh", *command]
    with subprocess.Popen(
        shell,
        pass_fds=(to_read, to_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(to_read)
        os.close(to_write)
        page = Page(process, to_browser, from_browser)
        try:
            page.attach()
            yield page
        finally:
            process.terminate()
            process.wait(SECONDS)
            os.close(to_browser)
            os.close(from_browser)
