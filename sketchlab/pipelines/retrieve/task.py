"""Retrieval: sketches and photos in one space, where what belongs together is close (das_debnath)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from sketchlab import components, rng
from sketchlab.engine import optim
from sketchlab.engine.features import Features
from sketchlab.engine.protocols import Dataset, Pairs, Raw
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import Config as Loop
from sketchlab.engine.task import Explained, trainable
from sketchlab.errors import UserError
from sketchlab.layers.chain import Trained, frozen_prefix, set_train
from sketchlab.metrics import retrieval as metrics
from sketchlab.pipelines.retrieve import by_text, losses, mining
from sketchlab.pipelines.retrieve import rankings as found
from sketchlab.pipelines.retrieve.declared import ANSWERS as ANSWERS
from sketchlab.pipelines.retrieve.declared import SCORES as SCORES
from sketchlab.pipelines.retrieve.declared import TAKES as TAKES
from sketchlab.pipelines.retrieve.declared import TITLE as TITLE
from sketchlab.pipelines.retrieve.embedding_map import embedding_map
from sketchlab.pipelines.retrieve.pair_maker import MATCHES, PairMaker
from sketchlab.pipelines.retrieve.sheet import best_and_worst, sheet
from sketchlab.schema import Machine, Shown, added, only

DOMAINS = ("sketch", "photo")
IMAGES = (*DOMAINS, "negative")  # of a batch, the last one in triplets alone
# What is trained for is what the best epoch is chosen by. class_mAP looks at the whole ranking of every query, so it
# moves less by chance than a recall; of the recalls by instance, @10 moves least.
MONITORS = {"class": "class_mAP", "instance": "recall@10"}
RANK_BY = {"class": ("class_mAP",), "instance": ("recall@1", "recall@5", "recall@10", "class_mAP")}  # those it has


@dataclass(frozen=True)
class Config:
    match: str  # class: a photo matches when it is of the sketch's class (das_debnath); instance: of the very object
    loss: str  # contrastive (das_debnath), triplet or infonce (losses.py), or a file of your own: loss=<choice>
    sampler: str  # pairs: photos drawn for each sketch; all, semihard, hard: of those in the batch; see mining.py
    balance: bool  # batches of as many sketches of each class as can be; false: every sketch once an epoch
    # contrastive: weight of pairs that match, for sampler=pairs by number; das_debnath: half
    match_share: Annotated[float, only(loss=("contrastive",))]
    # match=instance: share of the photos drawn that do not match that are of the sketch's class
    hard_share: Annotated[float, only(match=("instance",))]
    # contrastive: others are pushed apart up to this distance; triplet: this much farther than the match
    margin: Annotated[float, only(loss=("contrastive", "triplet"))]
    temperature: Annotated[float, only(loss=("infonce",))]  # infonce: squared distances are divided by twice this
    cache: bool  # run what is frozen once per image; the result is the same without, only slower
    eval_batch: Machine[int]  # samples per forward pass where nothing is learnt
    sheet_rows: Shown[int]  # best, and as many worst, queries on the sheet; 0 = no sheet and no map
    loss_options: Annotated[dict[str, Any], added({})]  # of a loss of your own: the keys of its Config
    # with {} for the name of a class: photos are searched by text, too, in CLIP's space, and by sketches as they were
    # before training; needs a frozen image side of a CLIP, such as model=siamese_clip_b32; [] = not done
    prompts: Annotated[list[str], added([])]

    def __post_init__(self) -> None:
        if self.match not in MATCHES:
            raise UserError(f"pipeline.match={self.match}: expected {' or '.join(MATCHES)}")
        _ = self.rule
        if self.hard_share and self.sampler != "pairs":
            raise UserError(
                f"pipeline.hard_share={self.hard_share}: for photos drawn, with pipeline.sampler=pairs alone"
            )
        if not 0 <= self.hard_share <= 1 or (self.hard_share and self.match == "class"):
            raise UserError(f"pipeline.hard_share={self.hard_share}: expected a share; 0 with pipeline.match=class")
        if self.eval_batch < 1 or self.sheet_rows < 0:
            raise UserError(
                f"pipeline.eval_batch={self.eval_batch}, sheet_rows={self.sheet_rows}: expected at least 1 and 0"
            )

    @property
    def own_loss(self) -> bool:
        return self.loss in components.implementations("loss")

    @property
    def rule(self) -> mining.Rule:
        if self.own_loss and self.sampler != "all":
            raise UserError(
                f"pipeline.sampler={self.sampler}: pipeline.loss={self.loss} takes whole batches, expected all"
            )
        return mining.Rule(
            "contrastive" if self.own_loss else self.loss, self.sampler, self.match_share, self.margin, self.temperature
        )


class Retrieve:
    """The task: parts net and optimizer, splits of sketches with their photos.

    net: (B, C, S, S) → (B, D), for both domains; or an nn.ModuleDict of two such networks, `sketch` and `photo`.
    """

    weights = ("net",)
    fixed_shapes = True

    def __init__(
        self, config: Config, net: nn.Module, data: Dataset[Pairs], loop: Loop, runtime: Runtime, seed: int
    ) -> None:
        self.config, self.loop, self.runtime, self.data, self.seed = config, loop, runtime, data, seed
        if data.prepare.active and data.views:
            raise UserError(
                f"data.augment.views={data.views}: retrieval makes new pairs every epoch and keeps no features of "
                "frozen layers; set data.augment.views=0"
            )
        self.net = runtime.place(net)
        self.train, self.n_train, self.views = data.splits["train"], len(data.splits["train"]), 0
        self.splits = tuple(name for name in ("val", "test") if name in data.splits)
        self.monitor = f"val/{MONITORS[config.match]}" if "val" in self.splits else ""
        for name in self.splits:
            found.check_gallery(data.splits[name], name, config.match)
        self.text: Any = None  # weights.clip_text.TextSide
        self.searched: dict[str, tuple[Tensor, ...]] = {}  # by split, what its last evaluation found
        self.makers = {name: self._maker(name) for name in ("train", *self.splits)}
        self.loss: nn.Module | None = (
            None  # of the user's own: (n, D) embeddings, (n,) numbers, equal = match → a number
        )
        if config.own_loss:
            self.loss = components.make("loss", config.loss, config.loss_options, len(data.classes)).to(runtime.device)
            if getattr(self.loss, "by_class", False) and config.match != "class":
                raise UserError(
                    f"pipeline.match={config.match}: pipeline.loss={config.loss} learns a vector per class; set class"
                )
        self.optimizer = optim.make(self.learning(), loop, runtime)
        self.parts = {"net": Trained(net), "optimizer": self.optimizer}
        if self.loss is not None and self.loss.state_dict():
            self.parts["loss"] = self.loss
        towers = dict(net.items()) if isinstance(net, nn.ModuleDict) else {"net": net}
        example = runtime.layout(self._images(self.train.sketch.gather(torch.zeros(1, dtype=torch.int64)), None))
        self.networks = {name: (tower, (example,)) for name, tower in towers.items()}
        halves = {name: frozen_prefix(tower) for name, tower in towers.items()}
        worth = all(any(True for _ in prefix.parameters()) for prefix, _ in halves.values())  # not a mere border
        self.cached = config.cache and not data.prepare.active and worth
        self.rests = {name: rest if self.cached else towers[name] for name, (_, rest) in halves.items()}
        self.forwards = {name: runtime.forward(rest) for name, rest in self.rests.items()}
        self.norm_batch = 85  # pairs, of up to three images each
        self.features = {name: self._features_of(prefix, name) for name, (prefix, _) in halves.items() if self.cached}
        if self.cached:  # here, not in the loader's threads
            for domain in DOMAINS:
                self._inputs("train", domain, torch.zeros(1, dtype=torch.int64))

    def _maker(self, split: str) -> PairMaker:
        pair, hard = self.data.splits[split], self.config.hard_share
        if self.config.match == "instance" and len(pair.photo.labels.unique()) < 2:
            hard = 1.0  # what does not match is another object of the one class there is
        return PairMaker(pair.sketch, pair.photo, self.config.match, hard, self.data.classes, split)

    def take_text(self, side: Any) -> None:
        """Names of the classes as CLIP has them. Raises UserError where its image side is not kept as features."""
        if "net" not in self.features:
            raise UserError(
                "pipeline.prompts needs a frozen image side that runs once per image: model.backbone.tune=freeze, "
                "model.shared=true, pipeline.cache=true and no augmentation"
            )
        self.text = side

    # --- batches

    def draw(self, places: Tensor, keys: Tensor) -> dict[str, Any]:
        """Each sketch with a photo; other (B,) bool: the two do not match. With sampler=pairs of loss=triplet: with a
        matching photo and another, `negative`; with the other samplers: with a matching one, truth (B,): equal = match.
        """
        maker, drawn = self.makers["train"], self.config.sampler == "pairs"
        places = maker.balanced(keys, self.loop.batch_size // self.runtime.ranks) if self.config.balance else places
        if drawn and self.config.loss == "triplet":
            photos, negatives = maker.both(places, keys)
            more = {"negative": self._inputs("train", "photo", negatives)}
        elif drawn:
            photos, other = maker.draw(places, keys, self.config.match_share)
            more = {"other": other}
        else:
            photos, _ = maker.both(places, keys)
            more = {"truth": maker.truth[places]}
        sketch, photo = self._inputs("train", "sketch", places), self._inputs("train", "photo", photos)
        return {"sketch": sketch, "photo": photo, "keys": keys, **more}

    def _features_of(self, prefix: nn.Module, name: str) -> Features:
        """Of the domains that a network sees: both when weights are shared."""
        seen = DOMAINS if name == "net" else (name,)
        splits = self.data.splits.items()
        parts = {f"{split} {domain}": getattr(pair, domain) for split, pair in splits for domain in seen}
        return Features(prefix, parts, self.data.prepare, self.data.views, self.runtime, self.seed)

    def _inputs(self, split: str, domain: str, places: Tensor) -> Tensor:
        """(B,) places in a domain of a split → raw samples, or what the frozen layers give for them."""
        if not self.cached:
            return getattr(self.data.splits[split], domain).gather(places)
        return (self.features.get("net") or self.features[domain]).of(f"{split} {domain}", places)

    def prepare(self, raw: dict[str, Any]) -> dict[str, Tensor]:
        """The photo of a pair is augmented by another key than its sketch."""
        keys, out = raw["keys"], {}
        for name, values in raw.items():
            if name in IMAGES:
                own = keys if name == "sketch" else rng.fold_each(rng.fold(name), keys)
                out[name] = self._images(values, own)
            elif name != "keys":
                out[name] = self.runtime.to_device(values)
        return out

    def _images(self, raw: Raw, keys: Tensor | None) -> Tensor:
        """Raw samples → what the network takes, on the device; features are that already."""
        if isinstance(raw, Tensor) and raw.is_floating_point():
            return self.runtime.to_device(raw)
        return self.runtime.prepared(self.data.prepare, raw, keys)

    def _embed(self, sketch: Tensor, *photos: Tensor) -> list[Tensor]:
        """(B, C, S, S) each → (B, D) float32 each. Shared weights see both domains as one batch, so that batch norm
        does in training what it does afterwards: one set of statistics for sketches and photos alike."""
        with self.runtime.autocast():
            if "net" in self.forwards:
                return list(self.forwards["net"](torch.cat([sketch, *photos])).float().split(len(sketch)))
            photo_embeddings = self.forwards["photo"](torch.cat(photos)).float().split(len(sketch))
            return [self.forwards["sketch"](sketch).float(), *photo_embeddings]

    # --- the step

    def begin_step(self, epoch: float) -> None:
        set_train(self.net)
        if self.loss is not None:  # what it counts decides the next step: all ranks resume with rank 0's
            self.runtime.same_buffers(self.loss)
        optim.set_rate(self.optimizer, self.loop, epoch)

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns loss, and the mean distance of the matching and of the other pairs learnt from (0 where there are
        none): with mined pairs these are the difficult ones."""
        totals = torch.zeros(3, device=self.runtime.device)
        counts, parts = torch.zeros(3, device=self.runtime.device), self.loop.accumulate
        for part in range(parts):
            share = {key: value[part::parts] for key, value in batch.items()}
            embedded = self._embed(*(self.runtime.layout(share[name]) for name in IMAGES if name in share))
            learnt = mining.of_batch(self.config.rule, share, embedded)
            loss = learnt.loss
            if self.loss is not None:  # numbers of the sketches, then of their photos
                loss = self.loss(torch.cat(embedded), share["truth"].repeat(2))
            optim.backward(loss / parts, self.optimizer, self.runtime)
            totals += torch.stack([loss.detach() / parts, *(learnt.means * learnt.counts)])
            counts[1:] += learnt.counts
        counts[:1] += 1
        optim.update(self.optimizer, self.runtime, self.loop)
        return dict(zip(("loss", "distance_match", "distance_other"), totals / counts.clamp(min=1), strict=True))

    def end_step(self) -> None:
        pass

    def learning(self) -> list[nn.Parameter]:
        return trainable(self.net) + ([] if self.loss is None else trainable(self.loss))

    # --- scores

    @torch.no_grad()
    def embeddings(self, split: str) -> tuple[Tensor, Tensor]:
        """Sketches (n, D) and photos (G, D) on the CPU, every sample exactly once, in order, on every rank."""
        self.runtime.same_buffers(self.net)
        self.net.eval()
        out = []
        for domain in DOMAINS:
            samples = getattr(self.data.splits[split], domain)
            forward, parts = self.forwards.get("net") or self.forwards[domain], []
            batches = self.runtime.shard(len(samples)).split(self.config.eval_batch)
            for places in self.runtime.bar(batches, f"embedding {split} {domain}"):
                with self.runtime.autocast():
                    parts.append(forward(self._images(self._inputs(split, domain, places), None)).float().cpu())
            embedded = torch.cat(parts)
            out.append(self.runtime.gather({"embedded": embedded}, len(samples))["embedded"])
        return out[0], out[1]

    def _in_clip(self, split: str, domain: str) -> Tensor:
        """(n, E) samples of a split in CLIP's own space."""
        n = len(getattr(self.data.splits[split], domain))
        batches = torch.arange(n).split(self.config.eval_batch)
        return torch.cat([self.text.images(self._inputs(split, domain, places)).float() for places in batches])

    def norm_inputs(self, places: Tensor, keys: Tensor) -> list[tuple[nn.Module, Tensor]]:
        """Sketches and photos in the shares of training."""
        raw = self.draw(places, keys)
        sketch, *photos = (self._images(raw[name], None) for name in IMAGES if name in raw)
        if "net" in self.rests:
            return [(self.rests["net"], torch.cat([sketch, *photos]))]
        return [(self.rests["sketch"], sketch), (self.rests["photo"], torch.cat(photos))]

    def _pair_distances(self, split: str, sketches: Tensor, photos: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) distances of every sketch to a matching and to another photo, the same ones at every evaluation."""
        places = torch.arange(len(sketches))
        which, hard = rng.uniform(rng.fold_each(rng.fold(self.seed, "pairs", split), places), 2).double().unbind(1)
        maker = self.makers[split]
        chosen = maker.matching(places, which), maker.others(places, which, hard)
        match, other = (losses.distance(sketches, photos[at]) for at in chosen)
        return match, other

    def evaluate(self, split: str) -> dict[str, Any]:
        """Scores of a search (metrics/retrieval.py): gallery = the split's photos, queries = its sketches.

        loss, distance_match and distance_other are over one matching and one other photo a sketch; roc_area and
        pair_accuracy are of the same pairs, at the threshold that is best on val: val's own is optimistic, and without
        val there is none.
        """
        pair, (sketches, photos) = self.data.splits[split], self.embeddings(split)
        match, other = self._pair_distances(split, sketches, photos)
        on_val = (match, other) if split == "val" else None
        if split != "val" and "val" in self.splits:
            on_val = self._pair_distances("val", *self.embeddings("val"))
        threshold = found.best_threshold(*on_val) if on_val else None
        device = self.runtime.exact
        scores = found.search(sketches.to(device), photos.to(device), pair)
        scores |= found.pairs(match, other, threshold)
        in_clip: dict[str, Any] = {}
        if self.text is not None:
            asked, given = (self._in_clip(split, domain).to(device) for domain in DOMAINS)
            trained, names = scores["class_mAP"], self.data.classes
            in_clip = by_text.search(self.text.classes.to(device), asked, given, pair, trained, names)
        loss = mining.of_drawn(self.config.rule, match, other)  # with a loss of one's own the contrastive one
        distances, matches = (t.cpu() for t in metrics.nearest(sketches.to(device), photos.to(device), found.SHOWN))
        rank_by = torch.stack([scores[name].per_query for name in RANK_BY[self.config.match] if name in scores]).sum(0)
        self.searched[split] = sketches, photos, matches, rank_by
        chosen_on = "val" if "val" in self.splits else "none"
        return found.evaluation(scores) | {
            "loss": loss.item(),
            "distance_match": match.mean().item(),
            "distance_other": other.mean().item(),
            "predictions": found.match_table(pair, self.data.classes, distances, matches),
            "pair_distances": torch.stack([match, other]),
            "pairs": {"match": self.config.match, "threshold": threshold, "chosen_on": chosen_on},
            "warnings": found.warnings(scores),
            "protocol": found.protocol(list(scores), pair, self.config.match, chosen_on, split == chosen_on),
            **in_clip,
        }

    def explain(self, split: str) -> Explained:
        """Of what `evaluate` found last: the best and worst queries, the map of the embeddings."""
        sketches, photos, matches, rank_by = self.searched[split]
        pair, rows = self.data.splits[split], self.config.sheet_rows

        def best_worst_sheet() -> dict[str, Any]:
            places = best_and_worst(rank_by, pair.sketch.labels, rows)
            return {"retrieval_sheet": sheet(pair, places, matches[places], len(places) // 2)} if len(places) else {}

        parts: Explained = {"embeddings": lambda: found.embeddings(pair, sketches, photos)}
        if not rows:
            return parts
        return parts | {
            "sheet of matches": best_worst_sheet,
            "map of the embeddings": lambda: embedding_map(pair, self.data.classes, sketches, photos, self.seed),
        }


def build(config: Config, net: nn.Module, data: Dataset[Pairs], loop: Loop, runtime: Runtime, seed: int) -> Retrieve:
    return Retrieve(config, net, data, loop, runtime, seed)
