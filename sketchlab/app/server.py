"""The page's server: static files, and questions about drawings as JSON.

It trusts no request. A page of another origin could send to a server on this machine (and one whose name was pointed
here, read its answers), so Host and Origin are checked; bodies are limited; whatever is wrong with a request is said in
one line with a status of 4xx.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sketchlab.app import keep
from sketchlab.app.clean import clean
from sketchlab.app.examples import Examples
from sketchlab.app.eye_test import EyeTest
from sketchlab.app.page_generator import PageGenerator
from sketchlab.app.page_model import PageModel, PhotoModel, png, read_picture
from sketchlab.data.strokes import simplify
from sketchlab.errors import UserError
from sketchlab.runs import reading

MOST_BYTES = 2 * 2**20  # of a request; 20,000 points with times are about 0.5 MB
MOST_FILE_BYTES = 32 * 2**20  # of a picture file
MOST_STROKES = 2000
_DRAINED_BYTES = 64 * 2**20  # read and thrown away, so that who sends too much still hears why it was refused
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_MAKE: dict[str, type] = {"run": int, "class": str, "seed": int}
_EYE: dict[str, type] = {"run": int, "test": int, "place": int}
_HOST = re.compile(
    r"(?:\[([0-9a-f.%]*:[0-9a-f:.%]+)\]|([^\s:\[\]]+))(?::[0-9]{1,5})?"
)  # an IPv6 address stands in brackets
Answer = Callable[[dict[str, Any]], Any]
PageModels = Sequence[PageModel | PhotoModel]
PageGenerators = Sequence[PageGenerator]
Run = TypeVar("Run")


def application(models: PageModels, save: Path | None, host: str, generators: PageGenerators = ()) -> ASGIApp:
    """save: folder for labelled drawings, None = none. host: as given to --host, for the check of Host.

    generators: runs of a GAN; requests count them from 0 too, apart from the models.
    """
    turns, examples = [Newest() for _ in models], [Examples(model) for model in models]
    cleaned, made = [Newest() for _ in models], [Newest() for _ in generators]

    def newest(waiting: Sequence[Newest], answer: Answer) -> Answer:
        return lambda body: _of(waiting, body).answer(lambda: answer(body))

    clean_shape = newest(cleaned, lambda body: _clean(models, body))
    questions: dict[str, tuple[Answer, dict[str, type]]] = {
        "/predict": (newest(turns, lambda body: _predict(models, body)), {"run": int, "drawing": list}),
        "/examples": (lambda body: _of(examples, body).found(), {"run": int}),
        "/clean": (clean_shape, {"run": int, "class": str, "drawing": list}),
        "/read": (lambda body: keep.read(body["line"]), {"line": str}),
        "/ndjson": (lambda body: {"line": _line(models, body).decode()}, {"run": int, "label": str, "drawing": list}),
        "/save": (lambda body: _save(models, save, body), {"run": int, "label": str, "drawing": list}),
        "/make": (newest(made, lambda body: _of(generators, body).make(body["class"], body["seed"])), _MAKE),
        "/eye": (lambda body: _eye_picture(generators, body), _EYE),
        "/eye/answer": (lambda body: _eye_answer(generators, body), {**_EYE, "said": str, "who": str}),
        "/eye/verdict": (lambda body: _eye(generators, body).verdict(body["test"]), {"run": int, "test": int}),
    }
    picture: Answer = newest(turns, lambda body: _picture(models, body))
    facts = {"runs": [model.facts() for model in models], "save": save is not None}
    facts["generators"] = [generator.facts() for generator in generators]
    routes = [Route(path, _asked(answer, keys), methods=["POST"]) for path, (answer, keys) in questions.items()]
    routes.append(Route("/picture", _sent(picture, run=True), methods=["POST"]))
    routes.append(
        Route("/svg", _sent(lambda body: {"drawing": reading.svg_drawing(body["content"])}), methods=["POST"])
    )
    routes.append(Route("/runs", lambda request: JSONResponse(facts, headers=_HEADERS), methods=["GET"]))
    routes += [Route(path, _file(content, kind), methods=["GET"]) for path, content, kind in static()]
    handlers: Any = {HTTPException: _refused, UserError: _refused, simplify.BadDrawing: _refused}
    handlers[ClientDisconnect] = lambda request, error: Response(status_code=400)  # nobody hears it
    return Guard(Starlette(routes=routes, exception_handlers=handlers), host)


def static() -> list[tuple[str, bytes, str]]:
    """(path, content, type) of the page's files: these names and no others are served."""
    found = [(one.name, one.read_bytes()) for one in (files("sketchlab.app") / "static").iterdir()]
    kept = [(name, content, _TYPES[Path(name).suffix]) for name, content in found if Path(name).suffix in _TYPES]
    return [("/" if name == "index.html" else f"/{name}", content, kind) for name, content, kind in kept]


def _file(content: bytes, kind: str) -> Callable[[Request], Response]:
    return lambda request: Response(content, media_type=kind, headers=_HEADERS)


class Guard:
    """Refuses requests that name another host, or come from a page of another origin."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app, self.host = app, host.lower()
        self.loopback = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (why := self.refusal(Headers(scope=scope))):
            await _error(403, why)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def refusal(self, headers: Headers) -> str:
        """Why not; "" when all is well. No Origin: not sent by a page (or by this one, for a plain GET)."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.known(host):
            return f"Host {host[:80]!r} is not this server's: open the address that it printed when it started"
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return f"a page of another origin ({origin[:80]}) may not ask here"
        return ""

    def known(self, host: str) -> bool:
        """An address, this machine's name, or what --host said; on loopback only localhost and its addresses."""
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found[1] or found[2]
        if name == "localhost" or is_loopback(name):
            return True
        return not self.loopback and (_is_address(name) or name in (self.host, socket.gethostname().lower()))


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """A name is not resolved: only localhost and addresses are known to stay on this machine."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


# --- requests


def _asked(answer: Answer, keys: dict[str, type]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await _body(request, keys)
        return JSONResponse(await run_in_threadpool(answer, body), headers=_HEADERS)

    return endpoint


def _sent(answer: Answer, run: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """Answers a file, the body as it is; run: /…?run=NUMBER says who is asked."""

    async def endpoint(request: Request) -> Response:
        number = request.query_params.get("run", "") if run else "0"
        if not re.fullmatch("[0-9]{1,6}", number):
            raise HTTPException(400, f"run {number[:20]!r}: expected a number, as in {request.url.path}?run=0")
        content = await _content(request, "application/octet-stream", MOST_FILE_BYTES, "expected a smaller file")
        body = {"run": int(number), "content": content}
        return JSONResponse(await run_in_threadpool(answer, body), headers=_HEADERS)

    return endpoint


async def _content(request: Request, kind: str, most_bytes: int, hint: str) -> bytes:
    """The request's body. Raises HTTPException. Neither kind can be sent by another origin without its being asked."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise HTTPException(415, f"expected Content-Type: {kind}")
    content, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most_bytes:
            content += chunk
        elif size > _DRAINED_BYTES:
            break
    if size > most_bytes:
        raise HTTPException(413, f"more than {most_bytes >> 20} MB: {hint}")
    return bytes(content)


async def _body(request: Request, keys: dict[str, type]) -> dict[str, Any]:
    """The request's JSON object with exactly these keys. Raises HTTPException."""
    points = f"a drawing has at most {simplify.MOST_POINTS:,} points"
    content = await _content(request, "application/json", MOST_BYTES, points)
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"no JSON: {error}") from None
    if not isinstance(body, dict) or set(body) != set(keys):
        came = ", ".join(sorted(map(str, body)))[:80] if isinstance(body, dict) else type(body).__name__
        raise HTTPException(400, f"expected an object with {', '.join(keys)}; got {came or 'nothing'}")
    for key, kind in keys.items():
        if type(body[key]) is not kind:
            raise HTTPException(400, f"{key} is {type(body[key]).__name__}; expected {kind.__name__}")
    if len(body.get("drawing", ())) > MOST_STROKES:
        raise HTTPException(400, f"more than {MOST_STROKES:,} strokes")
    return body


def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _error(400, str(error))
    messages = {
        404: f"nothing at {request.url.path[:80]!r}",
        405: f"{request.method} is not for {request.url.path[:80]!r}",
    }
    return _error(error.status_code, messages.get(error.status_code, error.detail), error.headers)


def _error(status: int, why: str, headers: Any = None) -> Response:
    return JSONResponse({"error": " ".join(why.split())}, status, headers={**_HEADERS, **(headers or {})})


# --- answers


class Newest:
    """One answer at a time; of those who wait for their turn only the newest stays, the others are refused with 409."""

    def __init__(self) -> None:
        self._turn, self._newest, self._busy = threading.Condition(), 0, False

    def answer(self, step: Callable[[], Any]) -> Any:
        """Raises HTTPException when a newer question came while this one waited."""
        with self._turn:
            self._newest += 1
            mine = self._newest
            self._turn.notify_all()
            self._turn.wait_for(lambda: not self._busy or mine != self._newest)
            if mine != self._newest:
                raise HTTPException(409, "a newer question took this one's place")
            self._busy = True
        try:
            return step()
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()


def _of(runs: Sequence[Run], body: dict[str, Any]) -> Run:
    if not 0 <= body["run"] < len(runs):
        raise UserError(f"run {body['run']}: there are {len(runs)} that can answer this, from 0")
    return runs[body["run"]]


def _predict(models: PageModels, body: dict[str, Any]) -> dict[str, Any]:
    return _of(models, body).answer(simplify.convention(body["drawing"]))


def _picture(models: PageModels, body: dict[str, Any]) -> dict[str, Any]:
    """The answer about an image file, and the file as the network sees it."""
    model = _of(models, body)
    pixels = read_picture(model, body["content"])
    return {**model.answer(pixels), "src": png(reading.for_people(pixels)), "side_px": pixels.shape[-1]}


def _svg(body: dict[str, Any]) -> dict[str, Any]:
    return {"drawing": reading.svg_drawing(body["content"])}


def _clean(models: PageModels, body: dict[str, Any]) -> dict[str, Any]:
    """The clean shape of a class laid over the drawing, in the drawing's own units; strokes null: it has none.

    run: what the run's second head says, its turn and its longer side; null without that head.
    """
    name, strokes = body["class"], simplify.checked(body["drawing"])
    pose = _of(models, body).pose(simplify.convention(body["drawing"]))
    found = clean(name, strokes, near_deg=pose[0] if pose else 0)
    if found is None:
        return {"strokes": None}
    reach = np.ptp(np.concatenate(strokes), axis=0).max()
    lines = [[axis.round(2).tolist() for axis in stroke.T] for stroke in found.strokes]
    head = {"turn_deg": pose[0], "size": pose[1] * float(reach)} if pose else None
    return {"strokes": lines, "size": found.size, "turn_deg": found.turn_deg, "run": head}


def _line(models: PageModels, body: dict[str, Any]) -> bytes:
    """recognized as QuickDraw means it: the network that was playing, here the run shown, put this word first."""
    word, drawing = keep.check_word(body["label"]), simplify.convention(body["drawing"])
    return keep.line(word, drawing, _of(models, body).recognises(drawing, word))


def _save(models: PageModels, folder: Path | None, body: dict[str, Any]) -> dict[str, Any]:
    if folder is None:
        raise UserError("this page keeps no drawings: start it with --save DIR")
    word = keep.check_word(body["label"])
    return {"label": word, "n": keep.append(folder, word, _line(models, body))}


def _eye(generators: PageGenerators, body: dict[str, Any]) -> EyeTest:
    generator = _of(generators, body)
    if generator.eye is None:
        raise UserError(f"no eye test of this run: {generator.why}")
    return generator.eye


def _eye_picture(generators: PageGenerators, body: dict[str, Any]) -> dict[str, Any]:
    """A picture and nothing that tells what it is."""
    return {"src": png(_eye(generators, body).picture(body["test"], body["place"]))}


def _eye_answer(generators: PageGenerators, body: dict[str, Any]) -> dict[str, Any]:
    return _eye(generators, body).answer(body["test"], body["place"], body["said"], body["who"])
