"""A run of pipeline=draw opened again: new drawings, and endings of what somebody began."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.data.strokes import batch, simplify
from sketchlab.data.strokes import prepare as stroke_prepare
from sketchlab.engine import checkpoint
from sketchlab.errors import UserError
from sketchlab.pipelines.draw.rendered import strokes
from sketchlab.pipelines.draw.sampling import sample
from sketchlab.pipelines.gan.sheets import noise
from sketchlab.runs import OpenedRun
from sketchlab.runs.gan.generator import check_class, parts

Drawing = simplify.Drawing


class Drawer:
    """The network with the run's best (by val) or last weights, on the CPU. Raises UserError for any other run."""

    def __init__(self, run: OpenedRun, which: str = "best") -> None:
        run.check_answers("drawings", "draw")
        found, file = parts(run, which)
        self.run, self.settings = run, run.config["pipeline"]
        self.net: Any = run.model.build(len(run.classes))
        checkpoint.restore({"net": self.net}, {"net": found["net"]}, file)
        self.net.eval()

    @property
    def knows(self) -> list[str]:
        """The classes that can be asked for; none where the run was trained without them."""
        return self.run.classes if self.net.n_classes else []

    def new(self, n: int, seed: int, temperature: float | None = None, names: list[str] | None = None) -> list[Drawing]:
        """n drawings as stored ones are, 0…255, top left. Drawing i follows from seed and i, whatever n is.

        temperature: null = the run's own. names: classes in turn; null = all in turn. Raises UserError.
        """
        if n < 1:
            raise UserError(f"-n {n}: expected at least 1")
        points = self._sample("generate", n, seed, temperature, self.classes(n, names))
        made = self._stroke_prepare().strokes(points)
        return batch.to_drawings(made)

    def endings(
        self, beginning: Any, n: int, seed: int, temperature: float | None = None, name: str | None = None
    ) -> list[Drawing]:
        """n endings of a drawing, on its canvas: strokes to be drawn after those of `beginning`, at least one point.

        beginning: strokes [[x…], [y…]] within 0…255, as they stand there: nothing is moved or scaled, and each is
        finished. name: its class; null = left open. Raises UserError.
        """
        if n < 1:
            raise UserError(f"-n {n}: expected at least 1")
        given = self.begun(beginning)
        most = self.settings["max_points"]
        if given.shape[1] >= most:
            raise UserError(f"complete: the beginning has {given.shape[1]} points; expected fewer than {most}")
        classes = self.classes(n, [name]) if name else torch.full((n,), self.net.n_classes)
        points = self._sample("complete", n, seed, temperature, classes, given)
        made = [strokes(one, given.shape[1]) for one in points]
        return [[[[min(max(v, 0), 255) for v in axis] for axis in stroke] for stroke in one] for one in made]

    def begun(self, beginning: Any) -> Tensor:
        """(1, K, 5) raw points of strokes. Raises UserError."""
        try:
            checked = simplify.checked(beginning)
        except simplify.BadDrawing as error:
            raise UserError(f"complete: not a drawing: {error}") from None
        if min(s.min() for s in checked) < 0 or max(s.max() for s in checked) > simplify.SIDE:
            raise UserError("complete: the beginning leaves the canvas; expected coordinates in 0…255")
        whole = batch.of_drawings([[stroke.round().astype(int).T.tolist() for stroke in checked]])
        return stroke_prepare.points(whole, self.run.input)

    def classes(self, n: int, names: list[str] | None) -> Tensor:
        """(n,) the classes of `names` in turn, or all in turn. Raises UserError for one that the run does not know."""
        if not self.net.n_classes:
            if names:
                raise UserError(f"class {names[0]}: {self.run.path} was trained without classes (model.labels=true)")
            return torch.zeros(n, dtype=torch.int64)
        for name in names or []:
            check_class(self.run, name)
        numbers = torch.tensor([self.run.classes.index(name) for name in names or self.run.classes])
        return numbers[torch.arange(n) % len(numbers)]

    def _sample(
        self, what: str, n: int, seed: int, temperature: float | None, classes: Tensor, given: Tensor | None = None
    ) -> Tensor:
        heat = self.settings["temperature"] if temperature is None else temperature
        if not 0 < heat <= 10:
            raise UserError(f"--temperature {heat}: expected above 0, as 0.4; 1 = as learnt")
        places, key = torch.arange(n), rng.fold(what, seed)
        codes = noise(rng.fold(key, "code"), places, self.net.z) if self.net.z else None
        condition = classes if self.net.n_classes else None
        return sample(self.net, rng.fold_each(key, places), condition, codes, heat, self.settings["max_points"], given)

    def _stroke_prepare(self) -> stroke_prepare.Prepare:
        from sketchlab.runs import reading

        look = reading.raster_of(self.run.config["data"], self.run.input)
        return stroke_prepare.Prepare(self.run.input, look, None)
