"""python -m sketchlab.app RUN [RUN …]: a page to draw on, with finished runs that say what it is after every stroke.

Runs of a GAN show new pictures there, and ask people which are real; runs of pipeline=draw finish drawings.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

import uvicorn

from sketchlab.app.page_drawer import PageDrawer, draws
from sketchlab.app.page_generator import PageGenerator, makes
from sketchlab.app.page_model import PageModel, PhotoModel, opened
from sketchlab.app.server import application, is_loopback
from sketchlab.errors import UserError, exit_on_error
from sketchlab.runs import OpenedRun

PORT = 8004


def main(words: list[str] | None = None) -> None:
    """Serve until Ctrl-C. Exit status 1 for a mistake."""
    arguments = parser().parse_args(words)
    exit_on_error(lambda: serve(arguments))


def parser() -> argparse.ArgumentParser:
    what = (__doc__ or "").partition("\n")[0]
    out = argparse.ArgumentParser("python -m sketchlab.app", description=what, allow_abbrev=False)
    out.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folders of finished runs that classify, retrieve, generate or draw",
    )
    out.add_argument(
        "--save", type=Path, metavar="DIR", help="folder for labelled drawings, as data=strokes reads them"
    )
    out.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default %(default)s: this machine only)"
    )
    out.add_argument("--port", type=int, default=PORT, help="default %(default)s; 0: any that is free")
    return out


def serve(arguments: argparse.Namespace) -> None:
    """Raises UserError before anything is served: a run that cannot answer, a folder or port that cannot be had."""
    listener = listen(arguments.host, arguments.port)
    with listener:
        if arguments.save is not None:
            made(arguments.save)
        models, generators, drawers = runs(arguments.runs)
        app = application(models, arguments.save, arguments.host, generators, drawers)
        host, port = listener.getsockname()[:2]
        print(f"draw at http://{f'[{host}]' if ':' in host else host}:{port}/ (Ctrl-C ends it)", flush=True)
        if not is_loopback(arguments.host):
            print("note: every machine that reaches this address can ask and save", file=sys.stderr, flush=True)
        options = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", server_header=False)
        uvicorn.Server(options).run(sockets=[listener])


def runs(paths: list[Path]) -> tuple[list[PageModel | PhotoModel], list[PageGenerator], list[PageDrawer]]:
    """Those that say something about a drawing, that make pictures, that finish drawings; each is told of as it is
    opened. Raises UserError where some finish drawings and none judges them."""
    models: list[PageModel | PhotoModel] = []
    generators: list[PageGenerator] = []
    drawers: list[PageDrawer] = []
    for path in paths:
        run = OpenedRun(path)
        if makes(run):
            generators.append(PageGenerator(run))
            no_test = [f"no eye test: {generators[-1].why}"] * bool(generators[-1].why)
            about = [*generators[-1].facts()["about"], *no_test]
        elif draws(run):
            drawers.append(PageDrawer(run))
            about = ["finishes drawings", *drawers[-1].facts()["about"]]
        else:
            models.append(opened(path))
            about = models[-1].facts()["about"]
        print(f"{path}: {', '.join(about)}", flush=True)
    if drawers and not models:
        raise UserError(
            f"app: {drawers[0].run.path} finishes drawings, and no run judges them; expected a finished classifier too"
        )
    return models, generators, drawers


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to host and port. Raises UserError for one that is taken or cannot be."""
    if not 0 <= port < 65536:
        raise UserError(f"--port {port}: expected 0 to 65535")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"--host {host} --port {port}: {why}; another --port, or 0 for any that is free?") from None
    return listener


def made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--save {folder}: {error.strerror}; expected a folder, or a place for one") from None


if __name__ == "__main__":
    main()
