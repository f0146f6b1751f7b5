"""A visitor of the page without a browser: speaks the server's protocol, so that many of them cost little.

It keeps what stands on its page, by place, as a browser does, and reads captions and errors from it.
"""

import html
import http.client
import re
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Common_pb2 import UploadedFileInfo
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

_CARD = re.compile(r'photo-name">(.*?)<.*?photo-caption".*?>(.*?)<', re.DOTALL)
_PROBLEM = re.compile("<li>(.*?)</li>", re.DOTALL)
_SECONDS = 120


class Visitor:
    """One session on the page.

    Args:
        url: The page's address, with the captioner chosen.
    """

    def __init__(self, url: str):
        parts = urllib.parse.urlsplit(url)
        self._host, self._query = parts.netloc, parts.query
        with urllib.request.urlopen(f"http://{self._host}/_stcore/health") as answer:
            cookie = answer.headers["Set-Cookie"].split(";")[0]
        self._headers = {"Cookie": cookie, "X-Xsrftoken": cookie.partition("=")[2]}
        self._socket = connect(
            f"ws://{self._host}/_stcore/stream",
            subprotocols=["streamlit", self._headers["X-Xsrftoken"]],
            additional_headers={"Cookie": cookie},
            origin=f"http://{self._host}",
            max_size=None,
            # A visitor who does not read for a while is not thrown out by this side.
            max_queue=None,
            ping_interval=None,
        )
        self._page: dict[tuple[int, ...], object] = {}
        self._session, self._uploader, self._fresh, self._uploaded = "", "", set(), []
        self.rerun()
        self.wait()

    @property
    def captions(self) -> dict[str, str]:
        """Photo -> caption, as they stand on the page."""
        bodies = (part.html.body for part in self._parts("html"))
        found = (_CARD.search(body) for body in bodies)
        return {html.unescape(card[1]): html.unescape(card[2]) for card in found if card}

    @property
    def problems(self) -> list[str]:
        """The sentences about photos that have no caption."""
        rows = (
            _PROBLEM.findall(part.html.body) for part in self._parts("html") if 'class="problems"' in part.html.body
        )
        return [html.unescape(row) for found in rows for row in found]

    @property
    def traces(self) -> list[str]:
        """Errors of the page itself, of which there must be none."""
        return [part.exception.message for part in self._parts("exception")]

    def rerun(self, files: list | None = None) -> None:
        """Asks for the page anew, with uploads if there are any."""
        state = ClientState(query_string=self._query)
        if files is not None:
            widget = state.widget_states.widgets.add(id=self._uploader)
            widget.file_uploader_state_value.uploaded_file_info.extend(files)
        self._socket.send(BackMsg(rerun_script=state).SerializeToString())

    def clear_cache(self) -> None:
        """Asks the server to empty its caches, as Streamlit's menu does."""
        self._socket.send(BackMsg(clear_cache=True).SerializeToString())

    def show(self, photos: Mapping[str, bytes]) -> list[int]:
        """Uploads photos in the place of those before, which it takes away, and asks for the page.

        Returns:
            The status of each upload.
        """
        request = BackMsg()
        request.file_urls_request.request_id = "1"
        request.file_urls_request.file_names.extend(photos)
        request.file_urls_request.session_id = self._session
        self._socket.send(request.SerializeToString())
        while not (message := self._receive()).HasField("file_urls_response"):
            pass
        connection, statuses, files = http.client.HTTPConnection(self._host, timeout=_SECONDS), [], []
        for place in self._uploaded:
            self._ask(connection, "DELETE", place.delete_url, b"", {})
        self._uploaded = list(message.file_urls_response.file_urls)
        for (name, content), place in zip(photos.items(), self._uploaded, strict=True):
            statuses.append(self._upload(connection, place.upload_url, name, content))
            if statuses[-1] < 300:
                info = {"name": name, "size": len(content), "file_id": place.file_id}
                files.append(UploadedFileInfo(**info, file_urls=place))
        connection.close()
        self.rerun(files)
        return statuses

    def wait(self, until: Callable[[], bool] = lambda: False) -> None:
        """Reads what the server sends until something stands on the page, or the page is whole."""
        while not until():
            if self._receive().WhichOneof("type") == "script_finished":
                return

    def leave(self) -> None:
        """Closes the connection, as a browser does that is closed."""
        self._socket.close()

    def _parts(self, kind: str) -> list:
        return [part for part in self._page.values() if part.WhichOneof("type") == kind]

    def _upload(self, connection: http.client.HTTPConnection, path: str, name: str, content: bytes) -> int:
        boundary = "photo"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        body = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + content + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self._ask(connection, "PUT", path, body, kind)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> int:
        connection.request(method, path, body, self._headers | headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def _receive(self) -> ForwardMsg:
        message = ForwardMsg.FromString(self._socket.recv(timeout=_SECONDS))
        if message.HasField("new_session"):
            self._session, self._fresh = message.new_session.initialize.session_id, set()
        elif message.HasField("delta"):
            place = tuple(message.metadata.delta_path)
            self._fresh.add(place)
            if message.delta.HasField("new_element"):
                self._page[place] = message.delta.new_element
                if message.delta.new_element.WhichOneof("type") == "file_uploader":
                    self._uploader = message.delta.new_element.file_uploader.id
        elif message.WhichOneof("type") == "script_finished":
            # What a run did not write is no longer on the page.
            self._page = {place: part for place, part in self._page.items() if place in self._fresh}
        return message
