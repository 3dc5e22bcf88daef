"""Downloads: resumed, verified, unpacked without leaving their folder, and whole or not there."""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sketchlab.data.commands.unpack import unpack
from sketchlab.errors import UserError
from sketchlab.storage.files import read_dict, write_json

RECORD = "checksums.json"  # below the data root: digests of what was fetched without an official checksum
TRIES, TIMEOUT_S, BLOCK = 5, 30, 1 << 20
SLOWEST = 1024  # bytes in TIMEOUT_S; what is slower has stalled


@dataclass(frozen=True)
class File:
    """One file of a data set as its publisher offers it."""

    urls: list[str]  # tried in order; [] = the publisher has no direct address, it must be fetched by hand
    save_as: str  # below the data root
    bytes: int | None  # size, null where it is not known for certain
    sha256: str | None  # null where it is not known for certain
    md5: str | None  # as published, where there is no sha256
    unpack: str | None  # folder below the data root that the archive goes into; null = the file stays as it is
    gives: str  # what is there afterwards, below the data root


@dataclass(frozen=True)
class Source:
    """conf/data/source/<name>.yaml: where a data set comes from and what it is."""

    title: str
    page: str  # address a person opens
    licence: str  # as the publisher states it
    citation: str
    layout: str  # what lies where below the data root
    by_hand: str  # what to do without a network, or where the publisher asks for a form
    files: list[File]


def fetch(source: Source, root: Path, say: Callable[[str], None] = print) -> None:
    """Bring all files of a source below `root`; what is there already is left alone. Raises UserError."""
    for file in source.files:
        if (root / file.gives).exists():
            if file.gives == file.save_as:
                _known(file, verify(file, root / file.gives, root), root, say)
            say(f"{root / file.gives} is there already")
            continue
        target = root / file.save_as
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {target.parent}: {error.strerror}") from None
        if not target.exists():
            download(file, target, source)
        sha256 = verify(file, target, root)
        if file.unpack is not None:
            unpack(target, root / file.unpack, root / file.gives)
            target.unlink()
        if not (root / file.gives).exists():
            raise UserError(f"{target} is there, but {root / file.gives} is not. {source.by_hand}")
        _known(file, sha256, root, say)
        say(f"{root / file.gives} is ready")


def by_hand(file: File, target: Path, source: Source) -> str:
    address = file.urls[0] if file.urls else f"it from {source.page}"
    if file.unpack is None and file.gives != file.save_as:  # an archive of a kind that is not unpacked here
        return f"by hand: get {address}. {source.by_hand}"
    again = f"put it at {target} and give the same command again: it is checked" + " and unpacked" * (
        file.unpack is not None
    )
    return f"by hand: get {address}, {again}. {source.by_hand}".strip()


def download(file: File, target: Path, source: Source) -> None:
    """Fetch to target.part, going on where an earlier try stopped, then rename. Raises UserError."""
    if not file.urls:
        raise UserError(f"{source.title} has no direct address; {by_hand(file, target, source)}")
    part, reason = target.with_name(target.name + ".part"), ""
    for url in sorted(file.urls, key=lambda url: not url.startswith("https:")):
        for attempt in range(TRIES):
            had = _size(part)
            try:
                if _receive(url, part, file.bytes):
                    os.replace(part, target)
                    part.with_name(part.name + ".tag").unlink(missing_ok=True)
                    return
                reason = f"{url}: the connection broke off at {_size(part):,} bytes"
            except urllib.error.HTTPError as error:
                reason = f"{url}: the server answers {error.code} {error.reason}"
                break
            except _Refused as error:
                reason = f"{url}: {error}"
                for left in (part, part.with_name(part.name + ".tag")):
                    left.unlink(missing_ok=True)
                break
            except (http.client.HTTPException, OSError, ValueError) as error:  # the last of addresses it leads to
                reason = f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}"
            if attempt and _size(part) == had:
                break  # twice without a byte
            time.sleep(min(2**attempt, 5) if had else 0.2)
    kept = f" ({part.stat().st_size:,} bytes are kept, the same command goes on from there)" if part.exists() else ""
    raise UserError(f"{' '.join(reason.split())}{kept}; {by_hand(file, target, source)}")


class _Refused(Exception):
    """An answer that is not the file, and would not be when asked again."""


class _StaysSecure(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"https leads to {newurl[:200]}, which is not secured")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _receive(url: str, part: Path, expected: int | None) -> bool:
    """Append to `part` until the server has sent all; False when it stopped before. No more than `expected` bytes are
    written. Raises _Refused, and what networks raise; UserError where it cannot be written."""
    tag, have = part.with_name(part.name + ".tag"), _size(part)
    headers = {"User-Agent": "sketchlab"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.exists():
            headers["If-Range"] = tag.read_text("utf-8")  # a file that changed meanwhile is sent from its start
    try:
        answer = _answer(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True  # nothing was left to send
        part.unlink(missing_ok=True)
        return False
    with answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status == 206 and not resumed:
            raise urllib.error.URLError(f"asked for bytes from {have}, got {answer.headers.get('Content-Range')}")
        if answer.status not in (200, 206):
            raise _Refused(f"the server answers {answer.status} {answer.reason}")
        if answer.headers.get_content_type() == "text/html":
            raise _Refused("the server sends a web page instead of the file")
        start, length = have if resumed else 0, answer.length
        total = expected if length is None else start + length
        if expected is not None and total != expected:
            raise _Refused(f"size is {total}, expected {expected}; the publisher's file has changed")
        mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        try:
            if mark and mark.isascii() and mark.isprintable():
                tag.write_text(mark, encoding="utf-8")
            out = open(part, "ab" if resumed else "wb")  # noqa: SIM115
        except OSError as error:
            raise _unwritable(part, error) from None
        with out, tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, mininterval=0.5) as bar:
            size = start
            for block in _blocks(answer, length):
                size += len(block)
                if total is not None and size > total:
                    raise _Refused(f"the server sends more than the {total} bytes expected")
                try:
                    out.write(block)
                    out.flush()
                except OSError as error:
                    raise _unwritable(part, error) from None
                bar.update(len(block))
    if not size:
        raise _Refused("the server sends an empty file")
    return total is None or size == total


def _unwritable(part: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {part}: {error.strerror}; it goes on from there next time")


def _answer(request: urllib.request.Request) -> Any:
    """urlopen; the head of an answer may not take longer than twice the timeout, however slowly it drips."""
    got: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            got.put(urllib.request.build_opener(_StaysSecure).open(request, timeout=TIMEOUT_S))
        except Exception as error:  # raised below, in the thread that waits
            got.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = got.get(timeout=2 * TIMEOUT_S)
    except queue.Empty:
        raise TimeoutError("the server does not answer") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _blocks(answer: Any, length: int | None) -> Iterator[bytes]:
    """What arrives, until the end or where it breaks off. Raises TimeoutError for less than 1 kB in TIMEOUT_S."""
    left, since, arrived = length, time.monotonic(), 0
    while left is None or left > 0:
        try:
            block = answer.read1(BLOCK if left is None else min(BLOCK, left))
        except http.client.IncompleteRead:  # in the middle of a chunked answer
            raise ConnectionError("the connection broke off") from None
        if not block:
            return
        yield block
        left, arrived = None if left is None else left - len(block), arrived + len(block)
        if (now := time.monotonic()) - since > TIMEOUT_S:
            if arrived < SLOWEST:
                raise TimeoutError(f"less than {SLOWEST} bytes in {TIMEOUT_S} s")
            since, arrived = now, 0


def digests(path: Path) -> tuple[str, str]:
    """SHA-256 and MD5 in one reading."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with (
        open(path, "rb") as file,
        tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc=f"checking {path.name}", delay=2) as bar,
    ):
        while block := file.read(BLOCK):
            sha256.update(block)
            md5.update(block)
            bar.update(len(block))
    return sha256.hexdigest(), md5.hexdigest()


def verify(file: File, target: Path, root: Path) -> str:
    """The SHA-256 of a download. One that is not what was published, or fetched before, is put aside: UserError."""
    size, (sha256, md5) = target.stat().st_size, digests(target)
    official = file.sha256 or file.md5
    expected_sha256 = file.sha256 if official else _remembered(root).get(file.save_as)
    wanted = {"size": (file.bytes, size), "sha256": (expected_sha256, sha256), "md5": (file.md5, md5)}
    for what, (expected, found) in wanted.items():
        if expected is not None and expected != found:
            aside = target.with_name(target.name + ".refused")
            os.replace(target, aside)
            whose = "" if official or what == "size" else f" (as recorded in {root / RECORD} at an earlier download)"
            raise UserError(
                f"{file.save_as}: {what} is {found}, expected {expected}{whose}; put aside as {aside.name}. Fetch it "
                "again; if it stays so, the publisher's file has changed"
            )
    return sha256


def _remembered(root: Path) -> dict[str, str]:
    record = root / RECORD
    return read_dict(record) if record.exists() else {}


def _known(file: File, sha256: str, root: Path, say: Callable[[str], None]) -> None:
    """Say where a file has no published checksum; its digest is kept, once it proved to be what it is fetched for."""
    if file.sha256 or file.md5:
        return
    record, before = root / RECORD, _remembered(root)
    if file.save_as not in before:
        write_json(record, {**before, file.save_as: sha256})
    how = "the one recorded" if file.save_as in before else "recorded"
    say(f"{file.save_as}: no published checksum; its sha256 {sha256} is {how} in {record}")
