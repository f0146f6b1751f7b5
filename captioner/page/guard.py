"""What stands between the network and the page: headers for the browser, a quota of uploads, a pace. No Streamlit here.

The server keeps uploads in memory from the moment they arrive, before the page knows of them: the quota is here.
"""

import asyncio
import collections
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
# Messages of one visitor within so many seconds that are more than any person sends; each further one waits. The server
# starts a run of the page for each, and serves nobody else while it does.
_MAX_MESSAGES, _WINDOW_SECONDS, _PAUSE_SECONDS = 20, 10.0, 0.5
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
            await self._app(scope, _slow_down(receive), send)
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
        visitor, size = upload[1], Headers(scope=scope).get("content-length", "")
        refusal = self._judge(visitor, int(size)) if size.isdecimal() else (411, "Expected: a Content-Length.")
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
                f"At most {MAX_PHOTOS} photos of {MAX_VISITOR_BYTES // 1_000_000} MB together: remove some of yours."
            )
        everything = sum(map(sum, kept.values())) + sum(number for _, number in self._arriving)
        if everything + size > MAX_BYTES:
            return 503, "Too many photos are here at the moment: try again in a minute."
        return None


def _slow_down(receive: Receive) -> Receive:
    """Returns a `receive` that lets a visitor wait whose messages come faster than a person's."""
    times: collections.deque[float] = collections.deque(maxlen=_MAX_MESSAGES)

    async def receive_in_pace() -> Message:
        message = await receive()
        if len(times) == _MAX_MESSAGES and time.monotonic() - times[0] < _WINDOW_SECONDS:
            await asyncio.sleep(_PAUSE_SECONDS)
        times.append(time.monotonic())
        return message

    return receive_in_pace
