"""The pairs of a comparison as sentences to quote, and the tests behind them as a table."""

from __future__ import annotations

from sketchlab.report import page
from sketchlab.report.comparison import leaderboard, pairs
from sketchlab.report.comparison.family import Family, Table
from sketchlab.report.comparison.pairs import Pair
from sketchlab.report.scores import share
from sketchlab.report.sentences import Sentence, amount, render

QUOTED = 15  # sentences before the reader asks for more
EXPLAINED = (
    "A before B as ranked above; {}intervals are of each difference alone, p (Holm) is corrected for all pairs of this "
    "list. Same samples and several runs of each: t with the variance of the samples and of the runs, for new samples "
    "and new runs. One run of each: exact McNemar, or a cluster-robust t where samples show the same objects; it is "
    "about these two networks and says nothing about the settings. One run against several: no verdict. Splits of one "
    "pool: t over splits, with what they share in test samples counted once. Scores not kept sample by sample: t over "
    "runs, on these samples. “Would have seen”: with power .8, at the corrected level."
)


def tested(family: Family) -> str:
    if not family.pairs:
        return ""
    quotes = []
    guesses = {id(row.group): leaderboard.guessing(row) for row in family.leaderboard}
    for pair in family.pairs:
        style = "quote better" if pair.verdict.endswith(("better", "worse")) else "quote"
        remarks = list(pair.notes) if pair.test else []
        if guesses.get(id(pair.a)) and (chance := guesses.get(id(pair.b))):
            remarks.append(render(Sentence("pair at chance", pair.sentence, {"chance": chance})))
        notes = f'<span class="soft">{page.escape("; ".join(remarks))}</span>' if remarks else ""
        quotes.append(f'<p class="{style}">{page.escape(pair.sentence)}{notes}</p>')
    columns, rows, right = table(family)
    blocks = pairs.test_sets(family.groups, family.key)
    n, all_pairs = len(family.leaderboard), sum(len(block) * (len(block) - 1) // 2 for block in blocks)
    out = f"<h3>By {page.escape(family.key)}</h3>"
    if all_pairs > len(family.pairs):
        out += page.paragraph(
            f"{n} groups make {all_pairs:,} pairs{' on the same samples' if len(blocks) > 1 else ''}: each is tested "
            "against the best, corrected as if all had been.",
            "soft",
        )
    out += "".join(quotes[:QUOTED]) + page.details(f"{len(quotes) - QUOTED} more", "".join(quotes[QUOTED:]))
    unit = "differences in points; " if family.groups[0].declared(family.key).is_share else ""
    out += page.details("The tests", page.table(columns, rows, right) + page.paragraph(EXPLAINED.format(unit), "soft"))
    return out


def table(family: Family) -> Table:
    columns = ["A", "B", "A − B", "95% interval", "p (Holm)", "p", "verdict", "test", "runs", "n", "would have seen"]
    rows: list[list[object]] = []
    for pair in family.pairs:
        t = pair.test
        if t is None:
            rows.append([pair.a.name, pair.b.name, *["–"] * 4, pair.verdict, "; ".join(pair.notes), *["–"] * 3])
            continue
        low, high = (_signed(pair, v) for v in (t.low, t.high))
        seen = amount(pair.score, pairs.visible(pair.score, t, pair.many))
        row: list[object] = [pair.a.name, pair.b.name, _signed(pair, t.difference), f"[{low}, {high}]"]
        runs = str(t.runs[0]) if t.runs[0] == t.runs[1] else f"{t.runs[0]} and {t.runs[1]}"
        row += [_p(pair.p), _p(t.p), pair.verdict, t.method, runs, t.n or "–", seen]
        rows.append(row)
    return columns, rows, ["A − B", "95% interval", "p (Holm)", "p", "runs", "n", "would have seen"]


def _p(p: float | None) -> str:
    return "–" if p is None else "< .001" if p < 0.001 else share(p)


def _signed(pair: Pair, value: float) -> str:
    most = pairs.width(pair.score)
    value = min(max(value, -most), most)
    return f"{100 * value:+.1f}" if pair.score.is_share else f"{value:+.3g}"
