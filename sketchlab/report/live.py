"""A run that trains, on its page: how far it is, and when the page is written again."""

from __future__ import annotations

import datetime

from sketchlab.report import page
from sketchlab.report.read import Run
from sketchlab.report.run import facts

# A page that was not written again when it should have been says so and stays as it is: its run may be gone.
SCRIPT = """addEventListener('DOMContentLoaded', () => {
  const live = document.querySelector('.live'), due = Date.parse(live.dataset.next), wait = due - Date.now();
  if (wait > 0) setTimeout(() => location.reload(), Math.min(wait + 1000, 2 ** 31 - 1));
  else {
    live.dataset.late = '';
    live.querySelector('.late').hidden = false;
  }
});
"""
LATE = (
    "That time has passed and this page was not written again: the run was killed, or this is a copy. It no longer "
    "reloads; the run's own command goes on from its last checkpoint."
)


def line(run: Run, next_s: float) -> str:
    """HTML: step, time left, when the page was written; next_s > 0: by when it is written again, and its script."""
    now = datetime.datetime.now().astimezone().replace(microsecond=0)
    known, parts = run.progress, []
    if known:
        parts.append(f"Step {known['step']:,} of {known['steps']:,}")
        if (left_s := known.get("seconds_left")) is not None:
            parts.append(f"about {facts.duration(max(left_s, 0))} left")
    parts.append(f"written at {_time(now)}")
    if not next_s:
        return page.paragraph(_sentence(parts), "live")
    due = now + datetime.timedelta(seconds=round(next_s))
    said = page.escape(_sentence(parts).removesuffix(".") + f", next by {_time(due)}.")
    late = f'<strong class="late" hidden> {page.escape(LATE)}</strong>'
    return f'<p class="live" data-next="{due.isoformat()}">{said}{late}</p><script>{SCRIPT}</script>'


def _sentence(parts: list[str]) -> str:
    text = ", ".join(parts)
    return text[0].upper() + text[1:] + "."


def _time(when: datetime.datetime) -> str:
    return f"{when:%H:%M:%S}"
