"""A headless Chromium, driven through the pipe of its DevTools protocol: no driver program, no port, no package."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
DESKTOP, PHONE = (1400, 900), (390, 844)
_TIMEOUT_S = 120.0
_SWITCHES = (
    *("--headless=new", "--no-sandbox", "--hide-scrollbars", "--mute-audio", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--remote-debugging-pipe"),
)
SOFTWARE_3D = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WITHOUT_3D = ("--disable-gpu", "--disable-3d-apis")


class Page:
    """One page, with what it requested and what it complained about since it was opened."""

    def __init__(self, process: subprocess.Popen, to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._buffer, self._number, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, **parameters: Any) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + _TIMEOUT_S
        while (answer := self._next(end)).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self, end: float) -> dict:
        while b"\0" not in self._buffer:
            if not select.select([self._back], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium did not answer in {_TIMEOUT_S:g} s")
            part = os.read(self._back, 1 << 20)
            if not part:
                raise RuntimeError(f"Chromium ended with code {self._process.wait()}")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, event: str | None, about: dict) -> None:
        if event == "Network.requestWillBeSent" and about["request"]["url"] != "about:blank":
            self.requests.append(about["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(about["exceptionDetails"].get("exception", about["exceptionDetails"])["description"])
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([value.get("value") for value in about["args"]]))
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(about["entry"]["text"])

    def size(self, width: int, height: int, scale: float = 1, touch: bool = False) -> None:
        """Set the size of the window in CSS pixels."""
        shape = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": touch}
        self._call("Emulation.setDeviceMetricsOverride", **shape)

    def open(self, file: Path) -> None:
        """Open a file and wait until it is loaded."""
        self._call("Page.navigate", url=file.absolute().as_uri())
        self.wait("document.readyState === 'complete'")

    def leave(self) -> None:
        """Go to an empty page, and forget what was requested and complained about."""
        self._call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank' && document.readyState === 'complete'")
        self.requests.clear()
        self.complaints.clear()

    def run(self, code: str) -> Any:
        """The value of an expression, or of what it promises."""
        answer = self._call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{code}: {answer['exceptionDetails']['exception']['description']}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _TIMEOUT_S
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"not true after {_TIMEOUT_S:g} s: {condition}; {self.complaints}")
            time.sleep(0.05)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """One event of the mouse: mousePressed, mouseMoved, mouseReleased or mouseWheel."""
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """Drag from one place to another."""
        self.mouse("mousePressed", *start, button=button, clickCount=1)
        for step in range(1, 6):
            at = [a + (b - a) * step / 5 for a, b in zip(start, end, strict=True)]
            self.mouse("mouseMoved", *at, button=button)
        self.mouse("mouseReleased", *end, button=button, clickCount=1)

    def key(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key; modifiers: 8 is Shift."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=modifiers)

    def downloads_to(self, folder: Path) -> None:
        """Save what the page offers as a file into a folder."""
        self._call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def screenshot(self) -> bytes:
        """The window as a PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError, RuntimeError):
            self._session = ""
            self._call("Browser.close")


@contextlib.contextmanager
def chromium(folder: Path, *switches: str) -> Iterator[Page]:
    """A page of a new Chromium that keeps its profile in `folder`."""
    assert CHROMIUM
    to_read, to = os.pipe()
    back, back_write = os.pipe()

    def connect() -> None:  # the protocol's pipes are 3 and 4
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, back_write)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)
        for other in range(5, 256):  # a browser that outlives its test must not hold anyone's lock
            with contextlib.suppress(OSError):
                os.set_inheritable(other, False)

    command = [CHROMIUM, *_SWITCHES, *switches, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    process = subprocess.Popen(command, preexec_fn=connect, close_fds=False, **quiet)
    os.close(to_read)
    os.close(back_write)
    page = None
    try:
        page = Page(process, to, back)
        yield page
    finally:
        if page:
            page.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(to)
        os.close(back)
