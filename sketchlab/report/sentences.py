"""Every sentence that a report generates: records of (kind, subject, numbers), and the words of each kind.

Whoever makes a record has checked its condition; the words stand here alone.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sketchlab.metrics import declared
from sketchlab.report import scores


class Value(NamedTuple):
    """A value of a score, printed as the score is declared."""

    score: declared.Score
    value: float


class Gap(NamedTuple):
    """The size of a difference of two values of a score: of shares in points."""

    score: declared.Score
    value: float


@dataclass(frozen=True)
class Sentence:
    """kind: a key of WORDS. subject: what it is about. numbers: what it states, by the names in WORDS; a Sentence
    among them is a part of this one, None is left out."""

    kind: str
    subject: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


SO_FAR = "what is below is what it had written until then."
DIVERGED = "training may have diverged; try a smaller loop.lr."
INTERVAL = "its 95% interval on n = {n} holds that value."
LUCK = (
    "The best epoch ({epoch:g}, {value:share} on {where}) is within what chance gives: the best of {epochs} epochs of "
    "pure guessing on n = {n} scores {mean:share} on average and up to {q95:share} in 95 of 100 runs. It is no "
    "evidence of learning."
)
ALONE = "One run of each says nothing about the settings."
WORDS = {
    # the result of a run
    "no result": "No score yet",
    "result": "{where} {metric} {value}{of}{chance}{known}{epoch}",
    "in brackets": " ({n}{comma}{interval})",
    "of n": "n = {n}",
    "with interval": "{subject}",
    "and chance": "; chance {chance}",
    "and that": "; {subject}",
    "weights of": "; weights of epoch {epoch:g}",
    "after": "; after epoch {epoch:g}",
    # warnings of a run
    "note": "{subject}",
    "failed": f"This run failed: {SO_FAR}{{message}}",
    "interrupted": f"This run was interrupted: {SO_FAR} The same command goes on from its last checkpoint.{{message}}",
    "running": "This run had not ended when the report was written: the figures are not final.{message}",
    "unknown": "status.json is missing: whether this run ended is not known.{message}",
    "message": " It said: {subject}",
    "resumed": "From {subject} on this run went on with another {changes}: the last digits of its scores may differ "
    "from those of a run that was not cut.",
    "code of a group": "{subject}: its runs were made by different code ({files}), which may be why they differ.",
    "infinite": f"{{subject}} was infinite in {{n}} of {{evaluations:#evaluation}}: {DIVERGED}",
    "not a number": f"The final {{subject}} is not a number: {DIVERGED}",
    "written": "{where}: {line}",
    "nothing trains": "No parameter of this network was trainable: the scores are those of the network it started "
    "from.",
    "guessing": f"The {{where}} {{metric}} {{value}} is not significantly better than guessing ({{guess}}): {INTERVAL}",
    "nothing learnt": "At chance: on {where} the loss is {loss:.3f} ≈ ln {classes} = {level:.3f}, and the accuracy "
    "{value} is what guessing gives ({guess}). The network has learned nothing it can use here: look at the learning "
    "rate, at what is frozen, and at whether labels and images belong together.",
    "below guessing": "The {where} {metric} {value} is below guessing ({guess}): labels and outputs may be in "
    "different orders.",
    "commonest class": "The {where} {metric} {value} is no better than always answering the commonest class, which "
    "would score {commonest:share}.",
    "chance by classes": "1/{classes} = {chance}",
    "chance": "{chance}",
    "one class": "All {n} predictions on {where} are “{answer}”.",
    "best of many": LUCK,
    "tiny": "Tiny {where} split: n = {n}{objects}. Scores on so few samples vary a lot with the draw: small "
    "differences mean nothing.",
    "tiny, of hits": "Tiny {where} split: n = {n}{objects}. One {unit} more or less moves a share by {step:.1f} "
    "points, and a score of .75 is known to about ±{half:.0f} points: small differences mean nothing.",
    "of objects": ", of {n:#object}",
    "overfits": "The validation loss was lowest at epoch {epoch:g} ({low:.3g}) and rose to {last:.3g} by the end: the "
    "network overfits{sure}. Fewer epochs, more augmentation or dropout may help.",
    "too sure": ", and its probabilities are too sure",
    "loss rose": "The validation loss was lowest at epoch {epoch:g} ({low:.3g}) and rose to {last:.3g} by the end, and "
    "the training loss rose too, from {before:.3g} to {train:.3g}: training did not converge; try a smaller loop.lr.",
    "unequal classes": "Unequal classes: training has {rarest:#sample} of its rarest class and {commonest} of its "
    "commonest.{accuracy}",
    "accuracy of unequal classes": " Accuracy is mostly about the common ones; the table by class covers all.",
    "other predictions": "predictions_{subject}.csv has accuracy {counted:share}, the final metrics say "
    "{value:share}: they come from different states of the network.",
    # a GAN: what the detectors answer
    "detector": "{subject}: {finding}",
    "answer": "{subject}? {answer}: {finding}",
    "few kinds": "the generator makes few kinds of image, far more alike than the real ones ({numbers}).",
    "many kinds": "generated images differ from each other as real ones do, or more ({numbers}).",
    "ms-ssim": "MS-SSIM between pairs {fake:.2f} generated, {real:.2f} real, on {subject}",
    "unsure": "the discriminator is not sure on both sides: {numbers}.",
    "sure, falls": "the discriminator is sure on both sides ({numbers}), but {score} still gets better.",
    "sure, still": "the discriminator tells every image apart ({numbers}) and {score} no longer gets better. Let the "
    "discriminator learn less often (pipeline.gd_ratio) or more slowly (pipeline.lr_d).",
    "sure, too few": "the discriminator is sure on both sides ({numbers}), but {n:#evaluation} of {score} cannot say "
    "whether it still gets better; three can.",
    "sure, no score": "the discriminator is sure on both sides ({numbers}), but no score says whether images still get "
    "better.",
    "predictions": "its mean prediction on {subject} is {real:.2f} on real images, {fake:.2f} on generated ones",
    "stuck": "both losses stand still ({numbers}): nothing is learnt any more. pipeline.gate_window=500 raises the "
    "learning rates when that happens.",
    "moves": "the losses still move ({numbers}).",
    "losses": "over {n:#evaluation} loss_g moved by {g:.1%}, loss_d by {d:.1%}",
    "scoring classifier": "The scoring classifier gets only {value:.2f} of the real images of {subject} right: what it "
    "says of generated ones means little. It should be trained on pictures of this size, drawn as these are.",
    "kid before": "KID on {subject}, in {features} features: {value:.3g}, {share:.2%} of {before:.3g} before training.",
    "fid bias": "{score} on {where} is {value:.4g}. Of real images against real ones it is {real:.3g} with {n_real} "
    "and {n_other} of them, and 0 with very many: so much is its bias here (Chong and Forsyth 2020), which falls as "
    "one over the number of images.",
    "gate": "The stuck gate fired {n:#time}: {times}.",
    # a comparison: its headline, of at most two lines, and the same in full below it
    "short": "{subject} {value}{verdict}",
    "short better": ", better than {subject}{p}",
    "short worse": ", but worse than {subject} on shared samples{p}",
    "short no evidence": "; no significant difference to {subject}{p}",
    "short too few": "; too few runs to tell from {subject}",
    "short at chance": ", not significantly better than guessing ({chance})",
    "no score": "No run has finished with a score yet.",
    "more test sets": "{n:#more test set}: see the table.",
    "leader": "{subject}: {where} {metric} {value} ({runs}; {against}).{chance}",
    "leader alone": "{subject}: {where} {metric} {value} ({apart}{runs}).{chance}",
    "own samples": "on samples of its own, ",
    "one run": "one run",
    "mean of runs": "mean of {n:#run}",
    "better": "better than {other} by {gap}{p}{alone}",
    "worse": "but worse than {other} on the samples of both, by {gap}{p}{alone}",
    "no evidence": "no evidence of a difference to {other}{p}{alone}",
    "too few": "too few to tell from {other}",
    "p": " ({p:p})",
    "group": "{subject}",
    "network": "the network of {subject}",
    "one run of each": "; one run of each says nothing about the settings",
    "both at chance": " Both are at chance ({chance}).",
    "leader at chance": " That is not significantly better than guessing ({chance}).",
    # a comparison: its pairs
    "pair better": "{better} better than {other} {where}, by {gap} ({how}).",
    "pair few": "{subject}: too few to tell {where} ({how}; {seen}).",
    "pair alike": "{subject}: no evidence of a difference {where} ({how}); {seen}.",
    "networks better": "The network of {better} is better than that of {other} {where}, by {gap} ({how}). " + ALONE,
    "networks few": "The networks of {subject}: too few to tell {where} ({how}; {seen}). " + ALONE,
    "networks alike": "The networks of {subject}: no evidence of a difference {where} ({how}); {seen}. " + ALONE,
    "p alone": "{p:p}",
    "p of many": "{p:p}, corrected for {many:#comparison}",
    "seen": "this test would have seen one of {gap}",
    "seen none": "this test could have seen no difference",
    "pair untested": "{a} and {b}: too few to tell ({of_a} and {of_b}; {why}).",
    "not paired": "{a} ({of_a}) and {b} ({of_b}) were tested on different {where} samples ({on_a} and {on_b}): not "
    "paired{gap}. What differs may be the samples as much as the settings.",
    "newcombe": "; difference {difference:+.1f} points, 95% Newcombe [{low:+.1f}, {high:+.1f}]",
    "samples": "{n:#sample}",
    "unknown samples": "unknown samples",
    # a comparison: its warnings and notes
    "at chance": "{subject} is not significantly better than guessing in {groups}: see the column of intervals. "
    "Guessing gives {chance}.",
    "pair at chance": "both are at chance ({chance})",
    "code of groups": "{subject}: made by other code than the runs they are compared with ({files}), which may be why "
    "they differ.",
    "other samples": "{subject}: {n} different sets of samples ({each}{more}). Scores compare only within one of them.",
    "more sets": "; and {n} more",
    "pictures of groups": "{subject}: the samples have the same names as those of the other groups, but not the same "
    "pictures or sizes.",
    "of runs": "{subject}: {warning}",
    "unfinished": "{subject}: {states}; drawn as curves, but in no mean and in no test.",
    "half a run": "Left out, half a run: {subject} has no {missing}.",
    "left out": "Left out: {subject}",
    "no score to compare": "No score to compare by in: {subject}.",
    "same settings": "{subject}: {older} and {later} have the same settings and seed; the later one counts.",
    "copy": "{subject}: {run} has the same weights and scores as {first}: counted once.",
    "seed changes nothing": "{subject}: {n:#run} give the same predictions: the seed changes nothing here, n = 1.",
    "two kinds of results": "{subject}: results of two kinds, which differ by more than their settings. {each}.",
    "blind": "{subject} is {blind}, in {groups}: see the pages of the runs.",
    "without the score": "{subject}: {runs} not in the mean, finished without a (finite) {key}.",
    # a comparison: why a pair is tested as it is, or not
    "runs elsewhere": "{n:#run} on samples that the other was not tested on left out",
    "other pictures": "the samples have the same names in both, but not the same pictures or sizes",
    "scores alone": "{subject}, so by the scores of runs alone",
    "other test sets": "their test sets differ",
    "unknown sizes": "how many samples each split has is not known",
    "no variance": "their scores do not vary, so nothing says how much they could",
    "one run each": "one run each",
    "one run against": "one run against {n}: what other runs of {subject} would score is not known; 95% of further "
    "runs of {other} would lie between {low} and {high}",
    "on splits": "{metric}on {n} splits{same}",
    "of the same": " of the same {subject}",
    "on scores": "{metric}on the same samples, {runs}",
    "on samples": "{metric}on {these} {samples}{runs}",
    "in metric": "in {subject} ",
    "and runs": ", {subject}",
    "runs of each": "{n:#run} of each",
    "runs of both": "{n:#run} of {a} and {m:#run} of {b}",
    # an evaluation on other data
    "worst under stress": "{subject}: {value} right (95% {interval}, n = {n}); unchanged {unchanged}.",
    "one class asked": "1 of the run's {known} classes was asked about ({classes}): a network that always says so "
    "would score 1, so this tells nothing of telling classes apart.",
    "few classes": "{asked} of the run's {known} classes were asked about ({classes}): the run's own score beside it "
    "is on these classes alone.",
    "no list of samples": "The run kept no list of its samples: it may have been trained on some of these.",
    "trained on": "What was evaluated ({n:#sample}) includes {seen:#training sample} of the run: the score says "
    "nothing about new ones.",
    "objects seen": "What was evaluated ({n:#sample}) includes {seen:#picture} named as objects that the run was "
    "trained on (the same object in another picture, if the two data sets name their objects alike).",
    "transfer": "{subject} ({split}): accuracy {value} (n = {n}, 95% [{low}, {high}])",
    "own score": "the run's own {subject}: {value} (n = {n})",
    "drop": "Drop: {drop:.1f} points, 95% Newcombe [{low:.1f}, {high:.1f}]: {verdict}.",
    "drop clear": "more than noise explains",
    "drop unclear": "no evidence of a change",
    "drop at chance": "neither score is significantly better than guessing ({chance:share}): there was nothing to lose",
    "where the drop is of": "The interval is of two shares of different samples; the run's own is its {split} score "
    "on the same {classes:#class}, by {weights}. It holds for these two data sets as they are: colours, framing and "
    "difficulty differ with the kind of picture.",
}


class _Words(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        match value:
            case None:
                return ""
            case Sentence():
                return render(value)
            case Value():
                return scores.text(*value)
            case Gap():
                return amount(*value)
        if format_spec == "share":
            return scores.share(value)
        if format_spec == "p":
            return p_text(value)
        if format_spec.startswith("#"):
            return counted(value, format_spec[1:])
        return super().format_field(value, format_spec)


def render(sentence: Sentence) -> str:
    return _Words().vformat(WORDS[sentence.kind], (), {**sentence.numbers, "subject": sentence.subject})


def stored(value: Any) -> Sentence:
    """A sentence as JSON keeps it (kind, subject, numbers); a plain text, of before, as a note."""
    if isinstance(value, Mapping) and value.get("kind") in WORDS:
        return Sentence(str(value["kind"]), str(value.get("subject", "")), dict(value.get("numbers") or {}))
    return Sentence("note", str(value))


def unique(sentences: Iterable[Sentence]) -> list[Sentence]:
    """Each (kind, subject) once, the first of them."""
    found: dict[tuple[str, str], Sentence] = {}
    for sentence in sentences:
        found.setdefault((sentence.kind, sentence.subject), sentence)
    return list(found.values())


def counted(n: int, noun: str) -> str:
    """1 sample, 2 samples, 2 queries."""
    if n != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}es" if noun.endswith("ss") else f"{noun}s"
    return f"{n} {noun}"


def amount(score: declared.Score, difference: float) -> str:
    """A difference of a share in points, of anything else as it is; – for none."""
    if math.isnan(difference):
        return "–"
    if not score.is_share:
        return f"{difference:.3g}"
    points = 100 * difference
    digits = ".0f" if points >= 9.5 else ".1f" if points >= 0.1 else ".1g"
    return f"{points:{digits}} points"


def p_text(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {scores.share(p, 3 if p < 0.1 else 2)}"
