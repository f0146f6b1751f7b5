"""What stands between the network and the page: headers for the browser, a quota of uploads, a pace. No Streamlit here.

The server keeps uploads in memory from the moment they arrive, before the page knows of them: the quota is here.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Photos of one visitor, and bytes of one visitor and of all together, that are in memory at once.
MAX_PHOTOS = 200
MAX_VISITOR_BYTES = 400_000_000
MAX_BYTES = 2_000_000_000
# Messages of one visitor that are served at once, and how many a second after them; others wait. The server starts a
# run of the page for each, and serves nobody else while it does.
_MAX_MESSAGES, _MESSAGES_A_SECOND = 20, 2.0
# Messages in a row that had to wait: no person sends so many. The connection ends, and what is left of them is lost.
_MAX_WAITS = 40
_UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+$")
# Streamlit writes styles and a few lines of script into its pages; components come as blobs, camera pictures as data.
# All else, and all connections, stay with this server, and no other page may frame this one.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Middleware of the server: headers on all answers, a quota of uploads, and a pace for what a browser asks.

    Args:
        app: The server behind it.
        count_uploads: Returns visitor -> bytes of each upload that is in memory.
    """

    def __init__(self, app: ASGIApp, count_uploads: Callable[[], Mapping[str, Sequence[int]]]):
        self._app, self._count_uploads = app, count_uploads
        # Uploads on their way, which the server has not counted yet: visitor -> bytes of each.
        self._arriving: list[tuple[str, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            pace = _Pace(receive)
            await self._app(scope, pace.receive, send)
            if pace.is_lost:
                await send({"type": "websocket.close", "code": 1008, "reason": "Too many messages."})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        upload = _UPLOAD.search(scope["path"]) if scope["method"] in ("PUT", "POST") else None
        if not upload:
            await self._app(scope, receive, send_with_headers)
            return
        headers = Headers(scope=scope)
        visitor, size = upload[1], headers.get("content-length", "")
        # What comes in chunks has any length, whatever else is said of it.
        is_known = size.isdecimal() and "transfer-encoding" not in headers
        refusal = self._judge(visitor, int(size)) if is_known else (411, "Expected: a Content-Length.")
        if refusal:
            await PlainTextResponse(refusal[1], refusal[0])(scope, receive, send_with_headers)
            return
        self._arriving.append((visitor, int(size)))
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._arriving.remove((visitor, int(size)))

    def _judge(self, visitor: str, size: int) -> tuple[int, str] | None:
        """Returns status and sentence if an upload is one too many, else nothing."""
        kept = dict(self._count_uploads())
        own = [*kept.get(visitor, ()), *(number for other, number in self._arriving if other == visitor)]
        if len(own) >= MAX_PHOTOS or sum(own) + size > MAX_VISITOR_BYTES:
            return 413, (
                f"At most {MAX_PHOTOS} photos and {MAX_VISITOR_BYTES // 1_000_000} MB in all: remove some of yours."
            )
        everything = sum(map(sum, kept.values())) + sum(number for _, number in self._arriving)
        if everything + size > MAX_BYTES:
            return 503, "Too many photos are here at the moment: try again in a minute."
        return None


class _Pace:
    """Lets a visitor wait whose messages come faster than a person's, and sends one away who does not stop.

    Attributes:
        is_lost: Whether it was sent away.
    """

    def __init__(self, receive: Receive):
        self._receive, self.is_lost = receive, False
        self._allowed, self._last, self._num_waits = float(_MAX_MESSAGES), time.monotonic(), 0

    async def receive(self) -> Message:
        """Returns the visitor's next message in its time, or says that the visitor is gone."""
        message = await self._receive()
        now = time.monotonic()
        self._allowed = min(_MAX_MESSAGES, self._allowed + (now - self._last) * _MESSAGES_A_SECOND) - 1
        self._last = now
        if self._allowed >= 0:
            # Half of them are left: that is no longer the same crowd.
            self._num_waits = 0 if 2 * self._allowed > _MAX_MESSAGES else self._num_waits
        elif self._num_waits == _MAX_WAITS:
            self.is_lost = True
            return {"type": "websocket.disconnect", "code": 1008}
        else:
            self._num_waits += 1
            await asyncio.sleep(-self._allowed / _MESSAGES_A_SECOND)
        return message
