"""Servers that misbehave and archives that are damaged: one line, nothing half there, nothing too large."""

import io
import shutil
import socket
import struct
import tarfile
import threading
import time
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sketchlab.data.commands import fetch as download
from sketchlab.data.commands import unpack
from sketchlab.errors import UserError
from tests.data.test_download import NOISE, SHA256, fetch, left, plain, zipped

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


class Raw:
    """Answers each connection with what `answer(connection, request)` sends; a number in a list is a pause."""

    def __init__(self, *answers):
        self.answers, self.asked, self.sent = list(answers), [], 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/noise.bin"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(connection,), daemon=True).start()

    def one(self, connection):
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(4096)
            self.asked.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            try:
                for part in answer:
                    if isinstance(part, bytes):
                        connection.sendall(part)
                        self.sent += len(part)
                    else:
                        time.sleep(part)
            except OSError:
                pass


@pytest.fixture
def raw(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    wait = time.sleep
    monkeypatch.setattr(download.time, "sleep", lambda s: wait(s) if threading.current_thread() is not main else None)
    main, made = threading.current_thread(), []

    def serve(*answers):
        made.append(Raw(*answers))
        return made[-1]

    yield serve
    for one in made:
        one.socket.close()


def endless(head, piece):
    yield head
    for _ in range(3000):
        yield piece


def refused(server, root, **changes):
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        fetch(plain(server.url, **changes), root)
    assert time.monotonic() - start < 10 and "\n" not in str(error.value)
    return str(error.value)


def test_a_known_size_bounds_what_is_written(raw, tmp_path):
    piece = chunk(bytes(100_000))
    assert "more than the 5000 bytes expected" in refused(raw(endless(CHUNKED, piece)), tmp_path, bytes=5000)
    assert "more than the 5000" in refused(raw(endless(OK + b"\r\n", bytes(100_000))), tmp_path, bytes=5000)
    long = OK + b"Content-Length: 302000000\r\n\r\n"
    assert "size is 302000000, expected 5000" in refused(raw(endless(long, bytes(100_000))), tmp_path, bytes=5000)
    assert "size is 10, expected 5000" in refused(
        raw([OK + b"Content-Length: 10\r\n\r\n", b"0" * 10]), tmp_path, bytes=5000
    )
    assert left(tmp_path) == []


def test_the_length_of_an_answer_bounds_what_is_written(raw, tmp_path):
    server = raw([OK + b"Content-Length: 300000\r\n\r\n", NOISE, NOISE])
    fetch(plain(server.url, sha256=SHA256), tmp_path)
    assert (tmp_path / "noise.bin").read_bytes() == NOISE


def test_a_chunked_answer_that_is_cut_is_not_whole(raw, tmp_path):
    whole = [CHUNKED, chunk(NOISE[:100_000]), chunk(NOISE[100_000:]), b"0\r\n\r\n"]
    for cut in (whole[:2], [*whole[:2], b"f000\r\nab"], [*whole[:2], b"nonsense\r\n"], [*whole[:3]]):
        server = raw(cut)
        assert "broke off" in refused(server, tmp_path / "cut") and 2 <= len(server.asked) <= 5
        assert not (tmp_path / "cut" / "noise.bin").exists()
    fetch(plain(raw(whole[:2], whole).url), tmp_path / "again")
    assert (tmp_path / "again" / "noise.bin").read_bytes() == NOISE


@pytest.mark.parametrize(
    "answer",
    [
        [30],
        [b"HTTP/1.1 200"] + [0.1, b"."] * 60,
        [OK, *[0.1, b"X-A: b\r\n"] * 60],
        [OK + b"Content-Length: 300000\r\n\r\n", NOISE[:1000], 30],
        [OK + b"Content-Length: 300000\r\n\r\n", *[b"x", 0.05] * 300],
        [CHUNKED, *[chunk(b"x"), 0.05] * 300],
    ],
    ids=["nothing", "status drips", "headers drip", "stalls", "drips", "chunks drip"],
)
def test_a_server_that_stalls_is_given_up(raw, tmp_path, answer):
    refused(raw(answer), tmp_path)
    assert not (tmp_path / "noise.bin").exists()


def test_nothing_a_server_says_controls_the_terminal(raw, tmp_path):
    for answer in (
        b"HTTP/1.1 404 \x1b[2J\x1b]0;owned\x07 \x9b31m\r\n\r\n",
        b"HTTP/1.1 302 go\r\nLocation: nowhere:\x1b[31m\r\n\r\n",
        b"\x1b[31m\r\n\r\n",
        b"HTTP/1.1 206 part\r\nContent-Range: \x1b[31m\r\n\r\n",
        b"HTTP/1.1 299 \x1b[31m\r\n\r\n",
    ):
        assert refused(raw([answer]), tmp_path).isprintable()


@pytest.mark.parametrize(
    "answer, message",
    [
        ([OK + b"Content-Length: 0\r\n\r\n"], "empty file"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], "answers 204"),
        ([OK + b"Content-Type: text/html; charset=utf-8\r\nContent-Length: 2\r\n\r\n", b"hi"], "a web page"),
        ([b"HTTP/1.1 302 go\r\nLocation: http://[::1\r\n\r\n"], "noise.bin: "),
        ([b"HTTP/1.1 302 go\r\nLocation: file:///etc/passwd\r\n\r\n"], "302"),
        ([b"nonsense\r\n\r\n"], "nonsense"),
        ([], "closed connection"),
    ],
)
def test_answers_that_are_no_file(raw, tmp_path, answer, message):
    assert message in refused(raw(answer), tmp_path) and left(tmp_path) == []


def test_a_length_that_is_no_number_and_a_tag_that_is_no_text(raw, tmp_path):
    server = raw([OK + b"Content-Length: 9e9\r\nETag: \xff\x1b\r\n\r\n", NOISE])
    fetch(plain(server.url, sha256=SHA256), tmp_path)
    assert left(tmp_path) == ["noise.bin"]


def test_https_comes_first_and_is_not_left(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(download, "_receive", lambda url, *_: asked.append(url))  # None: it broke off
    monkeypatch.setattr(download, "TRIES", 1)
    monkeypatch.setattr(download.time, "sleep", lambda s: None)
    with pytest.raises(UserError):
        fetch(download.File(["http://a/b", "https://a/b"], "x", None, None, None, None, "x"), tmp_path)
    assert asked == ["https://a/b", "http://a/b"]
    request = download.urllib.request.Request("https://a/b")
    with pytest.raises(download.urllib.error.URLError, match="not secured"):
        download._StaysSecure().redirect_request(request, None, 302, "", {}, "http://a/b")


def test_a_missing_checksum_is_said_each_time(raw, tmp_path):
    server = raw([OK + b"Content-Length: 300000\r\n\r\n", NOISE])
    for _ in range(2):
        assert sum("no published checksum" in line for line in fetch(plain(server.url), tmp_path)) == 1
    assert not any("no published" in line for line in fetch(plain(server.url, sha256=SHA256), tmp_path))
    (tmp_path / download.RECORD).write_text("{")
    with pytest.raises(UserError, match=f"cannot read .*{download.RECORD}"):
        fetch(plain(server.url), tmp_path)


def test_folders_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make"):
        fetch(plain("http://127.0.0.1:9/x"), tmp_path / "file")


# --- archives


def tarred(entries, mode="w:gz"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as packed:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, tuple):
                info.type, info.linkname, data = *data, b""
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return file.getvalue()


def encrypted():
    data = bytearray(zipped({"set/1.png": NOISE}))
    data[6] |= 1
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def method_of(number):
    data = bytearray(zipped({"set/1.png": NOISE}))
    at = data.index(b"PK\x01\x02")
    data[8:10] = data[at + 10 : at + 12] = struct.pack("<H", number)
    return bytes(data)


def bomb():
    """A zip of a few kB whose directory names one member of zeros, of 1.1 GB, a thousand times."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("set/1.png", bytes(10_000_000))
        packed.filelist *= 1000
    return file.getvalue()


def tar_bomb():
    info = tarfile.TarInfo("set/1.png")
    info.size = 10**13
    return zlib.compress(info.tobuf(), wbits=31)


ZIP, TAR, GZ, XZ, BZ2 = (
    zipped({"set/1.png": NOISE, "set/2.png": NOISE[:99]}),
    *(tarred({"set/1.png": NOISE, "set/2.png": NOISE[:99]}, f"w:{kind}") for kind in ("", "gz", "xz", "bz2")),
)
CHAIN = {"set/a": (tarfile.SYMTYPE, "."), "set/a/b": (tarfile.SYMTYPE, "../.."), "set/a/b/out": b"x"}
DAMAGED = {
    "encrypted": (encrypted(), "encrypted"),
    "unknown method": (method_of(99), "compression"),
    "zip bomb": (bomb(), "would unpack to"),
    "tar bomb": (tar_bomb(), "would unpack to"),
    "crc of a zip": (ZIP.replace(NOISE[:50], bytes(50)), "CRC"),
    "crc of gz": (GZ[:-8] + bytes(4) + GZ[-4:], "CRC"),
    "length of gz": (GZ[:-4] + bytes(4), "length"),
    "zip cut": (ZIP[:-30], "neither zip nor tar"),
    "tar cut between files": (TAR[: 512 + 300_032], "cut short"),
    "tar cut in a file": (TAR[:200_000], "unexpected end"),
    "gz cut": (GZ[:-20_000], "end-of-stream"),
    "gz without its end": (GZ[:-8], "end-of-stream"),
    "xz cut": (XZ[:-20_000], "end-of-stream"),
    "bz2 cut": (BZ2[:-20_000], "end-of-stream|neither zip nor tar"),
    "xz changed": (XZ[:5000] + bytes(9) + XZ[5009:], "orrupt"),
    "tar inside out": (tarred({"set/../../out": b"x"}), "refused"),
    "chain of links": (tarred(CHAIN), "refused"),
    "hard link out": (tarred({"set/1": (tarfile.LNKTYPE, "../../etc/passwd")}), "refused|cannot be unpacked"),
    "device": (tarred({"set/1": (tarfile.CHRTYPE, "")}), "refused"),
    "a file that is a folder": (zipped({"set": b"", "set/1.png": b"x"}), "cannot be unpacked"),
    "a name too long": (zipped({"set/" + "a" * 300: b"x"}), "cannot be unpacked"),
    "controls": (zipped({"other\x1b[31m/1": b"x"}), r"found other\\x1b\[31m"),
    "nothing": (b"", "neither zip nor tar"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_archives_that_are_damaged_or_hostile_are_one_line(name, tmp_path, monkeypatch):
    data, message = DAMAGED[name]
    root = tmp_path / "root"
    root.mkdir()
    (root / "set.zip").write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        fetch(plain("", urls=[], save_as="set.zip", unpack="in", gives="in/set"), root)
    assert str(error.value).isprintable()
    assert left(tmp_path) == ["root/set.zip"]


@pytest.mark.parametrize("data", [ZIP, TAR, GZ, XZ, BZ2], ids=["zip", "tar", "gz", "xz", "bz2"])
def test_whole_archives_of_each_kind(data, tmp_path):
    (tmp_path / "set.zip").write_bytes(data)
    fetch(plain("", urls=[], save_as="set.zip", unpack="in", gives="in/set"), tmp_path)
    assert (tmp_path / "in" / "set" / "1.png").read_bytes() == NOISE


def test_what_compresses_well_is_unpacked(tmp_path):
    (tmp_path / "set.zip").write_bytes(tarred({"set/1.bmp": bytes(5_000_000)}))
    fetch(plain("", urls=[], save_as="set.zip", unpack="in", gives="in/set"), tmp_path)
    assert (tmp_path / "in" / "set" / "1.bmp").stat().st_size == 5_000_000
    assert unpack.LARGEST > 5_000_000 and np.prod([unpack.MOST_TIMES]) < 1032


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_archive_is_unpacked_as_it_was_packed_or_is_one_line(n, tmp_path):
    change = st.tuples(st.floats(0, 1), st.integers(0, 255))
    small = {"set/1.png": NOISE[:900], "set/ä b/2.png": bytes(3000), "__MACOSX/x": b"y"}
    packed = {
        "zip": zipped(small),
        **{kind: tarred(small, f"w:{kind}") for kind in ("", "gz", "xz", "bz2")},
    }
    checked = ("zip", "gz", "xz", "bz2")  # of a plain tar only the heads have checksums

    @settings(max_examples=n, deadline=10_000, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(sorted(packed)),
        st.lists(change, max_size=4),
        st.floats(0, 1) | st.none(),
        st.binary(max_size=9),
    )
    def check(kind, changes, cut, tail):
        data = bytearray(packed[kind])
        for place, value in changes:
            data[int(place * (len(data) - 1))] = value
        data = bytes(data if cut is None else data[: int(cut * len(data))]) + tail
        (tmp_path / "set.zip").write_bytes(data)
        try:
            unpack.unpack(tmp_path / "set.zip", tmp_path / "in", tmp_path / "in" / "set")
        except UserError as error:
            assert str(error).isprintable()
            assert left(tmp_path) == ["set.zip"]
            return
        found = {
            f"set/{p.relative_to(tmp_path / 'in' / 'set').as_posix()}": p.read_bytes()
            for p in (tmp_path / "in" / "set").rglob("*")
            if p.is_file()
        }
        shutil.rmtree(tmp_path / "in")
        if kind in checked and kind != "zip":
            assert found == {name: data for name, data in small.items() if name.startswith("set/")}
        if kind == "zip":  # names in it have no checksum
            assert set(found.values()) <= set(small.values())

    check()
