"""Headless Chromium, driven over its own pipe: no driver, no port, no package.

The protocol is Chromium's DevTools: JSON commands and answers, each ended by a zero byte.
"""

import base64
import itertools
import json
import os
import select
import subprocess
import time
from pathlib import Path

OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Browser:
    """One Chromium; `call` sends a command and waits for its answer, `events` keeps what came unasked."""

    def __init__(self, binary: str, profile: Path):
        read, self._commands = os.pipe()
        self._answers, write = os.pipe()
        script = f'exec "$@" 3<&{read} 4>&{write}'
        command = ["bash", "-c", script, "bash", binary, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=(read, write), stderr=subprocess.DEVNULL)
        os.close(read)
        os.close(write)
        self._buffer, self._numbers, self._session, self.events = b"", itertools.count(1), {}, []

    def open(self, page: Path, *, width: int, height: int = 900, mobile: bool = False) -> None:
        """A new tab of that size [CSS pixel], with the page loaded."""
        self._session, self.events = {}, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Page.navigate", url=page.as_uri())
        self._wait(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, expression: str):
        """Value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector: str, index: int = 0) -> None:
        """With the mouse, in the middle of the element of that number."""
        place = f"document.querySelectorAll({selector!r})[{index}]"
        self.run(f"{place}.scrollIntoView({{block: 'center'}})")
        box = self.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({place}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """Of the whole page, as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """What the console and the log of the page say, and scripts that stopped."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in kinds]

    def requests(self) -> list[str]:
        """Addresses the page asked for, those inside itself left out."""
        asked = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]

    def call(self, method: str, **params):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        answer = self._wait(lambda message: message.get("id") == number)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def close(self) -> None:
        os.close(self._commands)  # Chromium ends with its pipe
        self._process.wait(timeout=30)
        os.close(self._answers)

    def _wait(self, wanted, seconds: float = 60.0):
        """The first message that is wanted, waited for; others are kept if they are events."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\0" in self._buffer:
                text, self._buffer = self._buffer.split(b"\0", 1)
                message = json.loads(text)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(self._answers, 1 << 20) if ready else b""
            assert more, f"Chromium {'said nothing for a minute' if not ready else 'ended'}"
            self._buffer += more
