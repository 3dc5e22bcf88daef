import functools
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sketchlab.data.commands import fetch as download
from sketchlab.data.commands import unpack
from sketchlab.data.commands.fetch import File, Source
from sketchlab.errors import UserError

NOISE = np.random.default_rng(0).bytes(300_000)


class Handler(BaseHTTPRequestHandler):
    """Serves server.content; server.cuts says after how many bytes each answer breaks off (None: never)."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked[6:-1]) if asked and server.ranges else 0
        if self.headers.get("If-Range", server.tag) != server.tag:
            start = 0
        if self.path == "/missing":
            return self.send_error(404)
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            return self.end_headers()
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(body[:cut])
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda s: None)
    monkeypatch.setenv("no_proxy", "*")
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.content, web.cuts, web.asked, web.ranges, web.tag = NOISE, [], [], True, '"one"'
    web.url = f"http://127.0.0.1:{web.server_port}"
    thread = threading.Thread(target=functools.partial(web.serve_forever, poll_interval=0.01))
    thread.start()
    yield web
    web.shutdown()
    thread.join()
    web.server_close()


def source(*files):
    return Source("Test data", "https://example.org", "none", "nobody", "a/b", "Ask your librarian.", list(files))


def plain(url, **changes):
    values = {"urls": [url], "save_as": "noise.bin", "bytes": None, "sha256": None, "md5": None, "unpack": None}
    return File(**(values | {"gives": "noise.bin"} | changes))


def zipped(entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in entries.items():
            packed.writestr(name, data)
    return file.getvalue()


def fetch(file, root):
    said = []
    download.fetch(source(file), root, said.append)
    return said


def left(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


SHA256 = hashlib.sha256(NOISE).hexdigest()


@pytest.mark.parametrize("sum_", [{"sha256": SHA256}, {"md5": hashlib.md5(NOISE).hexdigest()}, {"bytes": 300_000}])
def test_download_and_verify(server, tmp_path, sum_):
    fetch(plain(server.url, **sum_), tmp_path)
    assert (tmp_path / "noise.bin").read_bytes() == NOISE
    fetch(plain(server.url, **sum_), tmp_path)
    assert len(server.asked) == 1  # there already


def test_cut_in_half_and_resumed_at_once(server, tmp_path):
    server.cuts = [150_000, 1000]
    fetch(plain(server.url, sha256=SHA256), tmp_path)
    assert server.asked == [None, "bytes=150000-", "bytes=151000-"]
    assert left(tmp_path) == ["noise.bin"]


def test_resumed_by_a_later_command(server, tmp_path):
    server.cuts = [150_000, 0, 0, 0, 0, 0]
    with pytest.raises(UserError, match="150,000 bytes are kept.*same command goes on.*by hand"):
        fetch(plain(server.url, sha256=SHA256), tmp_path)
    assert not (tmp_path / "noise.bin").exists()
    server.cuts = []
    fetch(plain(server.url, sha256=SHA256), tmp_path)
    assert server.asked[-1] == "bytes=150000-" and (tmp_path / "noise.bin").read_bytes() == NOISE


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(server, tmp_path):
    server.cuts = [150_000, 0, 0, 0, 0, 0]
    with pytest.raises(UserError):
        fetch(plain(server.url), tmp_path)
    server.content, server.tag, server.cuts = NOISE[::-1], '"two"', []
    fetch(plain(server.url), tmp_path)
    assert (tmp_path / "noise.bin").read_bytes() == NOISE[::-1]


def test_a_server_that_cannot_resume(server, tmp_path):
    server.ranges, server.cuts = False, [150_000]
    fetch(plain(server.url, sha256=SHA256), tmp_path)
    assert (tmp_path / "noise.bin").read_bytes() == NOISE


def test_killed_between_the_last_byte_and_the_rename(server, tmp_path):
    (tmp_path / "noise.bin.part").write_bytes(NOISE)
    fetch(plain(server.url, sha256=SHA256), tmp_path)
    assert server.asked == ["bytes=300000-"] and left(tmp_path) == ["noise.bin"]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "noise.bin.part").write_bytes(NOISE + b"more")
    fetch(plain(server.url, sha256=SHA256), tmp_path)
    assert (tmp_path / "noise.bin").read_bytes() == NOISE


def test_a_wrong_checksum_is_refused_and_put_aside(server, tmp_path):
    with pytest.raises(UserError, match=f"sha256 is {SHA256}, expected 00ff.*noise.bin.refused"):
        fetch(plain(server.url, sha256="00ff"), tmp_path)
    assert left(tmp_path) == ["noise.bin.refused"]
    with pytest.raises(UserError, match="size is 300000, expected 5"):
        fetch(plain(server.url, bytes=5), tmp_path)


def test_an_unknown_checksum_is_recorded_and_then_held_to(server, tmp_path):
    said = fetch(plain(server.url), tmp_path)
    assert any("no published checksum" in line and SHA256 in line for line in said)
    assert json.loads((tmp_path / download.RECORD).read_text()) == {"noise.bin": SHA256}
    (tmp_path / "noise.bin").unlink()
    server.content = NOISE[::-1]
    with pytest.raises(UserError, match="as recorded in"):
        fetch(plain(server.url), tmp_path)


def test_the_second_address_is_tried(server, tmp_path):
    fetch(replace(plain(server.url), urls=[f"{server.url}/missing", server.url]), tmp_path)
    assert (tmp_path / "noise.bin").exists()


def test_an_address_that_is_gone(server, tmp_path):
    with pytest.raises(UserError, match="/missing: the server answers 404.*by hand"):
        fetch(plain(f"{server.url}/missing"), tmp_path)


def test_no_network_tells_what_to_do_by_hand(tmp_path):
    with pytest.raises(UserError, match="by hand: get http://127.0.0.1:9/x, put it at .*noise.bin.*librarian") as error:
        fetch(plain("http://127.0.0.1:9/x"), tmp_path)
    assert "\n" not in str(error.value) and left(tmp_path) == []
    with pytest.raises(UserError, match="no direct address; by hand: get it from https://example.org"):
        fetch(replace(plain(""), urls=[]), tmp_path)


def test_a_plain_file_put_there_by_hand_is_checked(tmp_path):
    (tmp_path / "noise.bin").write_bytes(NOISE)
    assert "there already" in fetch(replace(plain(""), urls=[], sha256=SHA256), tmp_path)[0]
    with pytest.raises(UserError, match="sha256 is"):
        fetch(replace(plain(""), urls=[], sha256="00ff"), tmp_path)


def test_an_archive_that_is_unpacked_by_hand(tmp_path):
    file = File([], "set.7z", None, None, None, None, "set")
    with pytest.raises(UserError, match="by hand: get it from https://example.org. Ask your librarian.$"):
        fetch(file, tmp_path)
    (tmp_path / "set.7z").write_bytes(b"7z")
    with pytest.raises(UserError, match="set.7z is there, but .*set is not. Ask your librarian"):
        fetch(file, tmp_path)
    (tmp_path / "set").mkdir()
    assert fetch(file, tmp_path) == [f"{tmp_path / 'set'} is there already"]


def test_a_file_put_there_by_hand_is_checked_and_unpacked(tmp_path):
    (tmp_path / "set.zip").write_bytes(zipped({"set/a/1.png": b"x"}))
    file = File([], "set.zip", None, None, None, ".", "set")
    fetch(file, tmp_path)
    assert left(tmp_path) == ["checksums.json", "set/a/1.png"]


def archive(server, data, **changes):
    server.content = data
    return plain(server.url, **({"save_as": "set.zip", "unpack": "in", "gives": "in/set"} | changes))


def test_zip_and_tar_are_unpacked_and_removed(server, tmp_path):
    fetch(archive(server, zipped({"set/ä b/(1).png": b"x", "__MACOSX/set/._1": b"y"})), tmp_path)
    assert left(tmp_path) == ["checksums.json", "in/set/ä b/(1).png"]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("set2/1.bin")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    fetch(archive(server, packed.getvalue(), save_as="set.tar.gz", gives="in/set2"), tmp_path)
    assert (tmp_path / "in/set2/1.bin").read_bytes() == b"abc"


def test_what_else_lies_there_is_never_touched(server, tmp_path):
    mine = tmp_path / "in" / "mine" / "precious.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("keep")
    fetch(archive(server, zipped({"set/1.png": b"x", "mine/precious.txt": b"gone"})), tmp_path)
    assert mine.read_text() == "keep"


def link():
    info = zipfile.ZipInfo("set/link")
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    "name", ["../out.txt", "set/../../out.txt", "/tmp/out.txt", "C:\\out.txt", "..\\out.txt", link()]
)
def test_a_zip_that_climbs_out_is_refused(server, tmp_path, name):
    root = tmp_path / "root"
    with pytest.raises(UserError, match="would lead out"):
        fetch(archive(server, zipped({"set/1.png": b"x", name: b"/etc"})), root)
    assert left(tmp_path) == ["root/set.zip"]


@pytest.mark.parametrize("kind", ["up", "link"])
def test_a_tar_that_climbs_out_is_refused(server, tmp_path, kind):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("../out.txt" if kind == "up" else "set/link")
        if kind == "link":
            info.type, info.linkname = tarfile.SYMTYPE, "../../../etc"
        tar.addfile(info)
    with pytest.raises(UserError, match="refused"):
        fetch(archive(server, packed.getvalue(), save_as="set.tar"), tmp_path / "root")
    assert left(tmp_path) == ["root/set.tar"]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"<html>Please log in</html>", "neither zip nor tar"),
        (zipped({"other/1.png": b"x"}), "expected set inside, found other"),
        (zipped({"set/1.png": NOISE}).replace(NOISE[:50], NOISE[50:100]), "cannot be unpacked"),
    ],
    ids=["page", "other", "damaged"],
)
def test_archives_that_are_not_what_they_should_be(server, tmp_path, data, message):
    with pytest.raises(UserError, match=message):
        fetch(archive(server, data), tmp_path)
    assert left(tmp_path) == ["set.zip"]  # nothing unpacked, no checksum remembered


def test_no_room_to_unpack(server, tmp_path, monkeypatch):
    usage = unpack.shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="unpacks to"):
        fetch(archive(server, zipped({"set/1.png": NOISE})), tmp_path)
