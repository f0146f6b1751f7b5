"""What the server refuses before the page knows of it, and the headers of all that it answers."""

import asyncio
import types

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from captioner.page import guard

UPLOAD = "/_stcore/upload_file/{}/a"


def ask(app, method, path, length=None, *others):
    """Sends a request with so many bytes and returns status, headers and text of the answer."""
    return asyncio.run(ask_slowly(app, method, path, length, *others))


async def ask_slowly(app, method, path, length=None, *others):
    sent = []

    async def send(message):
        sent.append(message)

    headers = [*others] if length is None else [(b"content-length", str(length).encode()), *others]
    await app({"type": "http", "method": method, "path": path, "headers": headers}, None, send)
    return sent[0]["status"], Headers(raw=sent[0]["headers"]), sent[1]["body"].decode()


@pytest.fixture
def kept(monkeypatch):
    """Uploads in memory; at most 3 photos and 100 bytes for a visitor, and 250 bytes for all."""
    monkeypatch.setattr(guard, "MAX_PHOTOS", 3)
    monkeypatch.setattr(guard, "MAX_VISITOR_BYTES", 100)
    monkeypatch.setattr(guard, "MAX_BYTES", 250)
    return {}


@pytest.fixture
def app(kept):
    return guard.Guard(PlainTextResponse("ok"), lambda: kept)


@pytest.mark.parametrize(("method", "path", "length"), [("GET", "/", None), ("PUT", UPLOAD.format("ann"), 101)])
def test_every_answer_has_headers_that_keep_others_out(app, method, path, length):
    _, headers, _ = ask(app, method, path, length)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "http" not in policy


def test_the_server_itself_starts_and_stops_behind_the_guard():
    served = []

    async def serve(scope, receive, send):
        served.append((scope, receive, send))

    asyncio.run(guard.Guard(serve, dict)({"type": "lifespan"}, "receive", "send"))
    assert served == [({"type": "lifespan"}, "receive", "send")]


def test_a_visitor_has_a_quota_of_bytes_and_of_photos(app, kept):
    kept["ann"] = [60]
    assert ask(app, "PUT", UPLOAD.format("ann"), 40)[0] == 200
    status, _, text = ask(app, "PUT", UPLOAD.format("ann"), 41)
    assert status == 413 and text.startswith("At most 3 photos and ")
    kept["ann"] = [1, 1, 1]
    assert ask(app, "PUT", UPLOAD.format("ann"), 1)[0] == 413
    assert ask(app, "PUT", UPLOAD.format("bob"), 100)[0] == 200
    kept.clear()  # Ann has left.
    assert ask(app, "PUT", UPLOAD.format("ann"), 1)[0] == 200


def test_all_visitors_together_have_a_quota(app, kept):
    kept.update(ann=[100], bob=[100])
    assert ask(app, "PUT", UPLOAD.format("cleo"), 50)[0] == 200
    assert ask(app, "PUT", UPLOAD.format("cleo"), 51)[0] == 503


def test_an_upload_must_say_how_long_it_is_and_nothing_else_must(app):
    assert ask(app, "PUT", UPLOAD.format("ann"))[0] == 411
    assert ask(app, "PUT", UPLOAD.format("ann"), "-1")[0] == 411
    # Chunks have any length, whatever the other header says.
    assert ask(app, "PUT", UPLOAD.format("ann"), 1, (b"transfer-encoding", b"chunked"))[0] == 411
    assert ask(app, "PUT", UPLOAD.format("ann"), 1)[0] == 200
    assert ask(app, "DELETE", UPLOAD.format("ann"))[0] == 200
    assert ask(app, "PUT", "/elsewhere", 500)[0] == 200


def test_uploads_on_their_way_count_and_are_forgotten_when_they_end(kept):
    gate = asyncio.Event()

    async def serve(scope, receive, send):
        await gate.wait()
        raise ConnectionError  # The visitor has gone in the middle.

    async def visit():
        first = asyncio.ensure_future(ask_slowly(app, "PUT", UPLOAD.format("ann"), 60))
        await asyncio.sleep(0)
        assert (await ask_slowly(app, "PUT", UPLOAD.format("ann"), 60))[0] == 413
        gate.set()
        for upload in (first, ask_slowly(app, "PUT", UPLOAD.format("ann"), 60)):
            with pytest.raises(ConnectionError):
                await upload

    app = guard.Guard(serve, lambda: kept)
    asyncio.run(visit())


@pytest.fixture
def clock(monkeypatch):
    """A clock that only sleep moves. Returns its time, and how long was slept each time."""
    clock = types.SimpleNamespace(now=100.0, slept=[])

    async def sleep(seconds):
        clock.now += seconds
        clock.slept.append(seconds)

    monkeypatch.setattr(guard.asyncio, "sleep", sleep)
    monkeypatch.setattr(guard.time, "monotonic", lambda: clock.now)
    return clock


def send_messages(clock, pauses):
    """Sends a message after each pause; returns the types of all that the server gets, and what it sends back."""
    received, sent, left = [], [], iter(pauses)

    async def receive():
        clock.now += next(left)
        return {"type": "websocket.receive"}

    async def serve(scope, receive, send):
        for _ in pauses:
            received.append((await receive())["type"])
            if received[-1] == "websocket.disconnect":
                return

    async def send(message):
        sent.append(message)

    asyncio.run(guard.Guard(serve, dict)({"type": "websocket"}, receive, send))
    return received, sent


def test_a_visitor_who_asks_faster_than_a_person_waits_for_half_a_second_each_time(clock):
    assert send_messages(clock, 25 * [0]) == (25 * ["websocket.receive"], [])
    assert clock.slept == 5 * [0.5]


def test_a_visitor_who_asks_like_a_person_never_waits(clock):
    # A message a second for minutes; and thirty at once where ten seconds before each half were quiet.
    assert send_messages(clock, 300 * [1]) == (300 * ["websocket.receive"], [])
    send_messages(clock, [0] * 15 + [10] + [0] * 14)
    assert not clock.slept


def test_a_visitor_who_asks_two_thousand_times_is_sent_away_after_sixty(clock):
    received, sent = send_messages(clock, 2000 * [0])
    assert received == 60 * ["websocket.receive"] + ["websocket.disconnect"]
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "Too many messages."}]
    assert clock.slept == 40 * [0.5]


def test_a_visitor_who_was_hasty_twice_is_not_sent_away(clock):
    hasty = 55 * [0]
    received, sent = send_messages(clock, [*hasty, 10, *hasty])
    assert received == 111 * ["websocket.receive"] and not sent
