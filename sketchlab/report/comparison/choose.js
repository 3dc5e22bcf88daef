// Sort every table, filter and choose runs. Without it the page is whole, and about all runs.
addEventListener('DOMContentLoaded', () => {
  const make = (tag, text, more = {}) => Object.assign(document.createElement(tag), {textContent: text}, more);
  const value = cell => {
    if (cell.dataset.order !== undefined) return +cell.dataset.order;
    const found = cell.textContent.replaceAll(',', '').match(/^[<\s]*([-+]?\d*\.?\d+(e[-+]?\d+)?)/);
    return found ? +found[1] : cell.textContent;
  };
  const compare = (a, b) => typeof a === typeof b ? (typeof a === 'number' ? a - b : a.localeCompare(b))
    : typeof a === 'number' ? -1 : 1;
  for (const table of document.querySelectorAll('main table')) {
    const body = table.tBodies[0], heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
    if (!heads.length || body.rows.length < 3) continue;
    table.classList.add('sort');
    heads.forEach((head, column) => {
      const button = make('button', head.textContent, {type: 'button'});
      head.replaceChildren(button);
      button.addEventListener('click', () => {
        const sign = head.ariaSort === 'ascending' ? -1 : 1, known = [], open = [];
        for (const row of body.rows) (row.cells[column].textContent === '–' ? open : known).push(row);
        known.sort((a, b) => sign * compare(value(a.cells[column]), value(b.cells[column])));
        heads.forEach(each => each.ariaSort = null);
        head.ariaSort = sign > 0 ? 'ascending' : 'descending';
        body.append(...known, ...open); // what has no value is last in both directions
      });
    });
  }

  const place = document.getElementById('chooser');
  if (!place) return;
  const {runs, command} = JSON.parse(place.querySelector('script').textContent);
  const table = place.querySelector('table'), rows = [...table.tBodies[0].rows]; // in the order of `runs`
  const kept = `runs chosen on ${location.pathname}`;
  let chosen = new Set(runs.keys());
  const before = JSON.parse(sessionStorage.getItem(kept) || 'null'); // a page that reloads itself keeps the choice
  if (before) chosen = new Set([...runs.keys()].filter(i => before.includes(runs[i].path)));

  const filter = make('input', '', {type: 'search', placeholder: 'Filter: words that a run has', ariaLabel: 'Filter runs'});
  const these = make('button', '', {type: 'button'}), all = make('button', 'All runs', {type: 'button'});
  const line = make('p', '', {className: 'controls'}), about = make('div', '', {id: 'chosen'});
  line.append(filter, these, all);
  about.setAttribute('aria-live', 'polite');
  table.closest('.scroll').before(line, about);
  const bar = make('div', '', {id: 'bar', hidden: true}), words = make('span'), back = make('button', 'All runs', {type: 'button'});
  bar.append(words, back);
  document.body.append(bar);

  const boxes = rows.map((row, i) => {
    const box = make('input', '', {type: 'checkbox', ariaLabel: `Choose ${runs[i].name}`});
    box.addEventListener('change', () => { chosen[box.checked ? 'add' : 'delete'](i); show(); });
    row.cells[0].prepend(box, ' ');
    return box;
  });
  const texts = rows.map(row => row.textContent.toLowerCase());
  const visible = () => [...runs.keys()].filter(i => !rows[i].hidden);
  const narrow = () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, i) => row.hidden = !wanted.every(word => texts[i].includes(word)));
    these.textContent = `Choose these ${visible().length}`;
  };
  const show = () => {
    const some = chosen.size < runs.length;
    rows.forEach((row, i) => { boxes[i].checked = chosen.has(i); });
    document.body.classList.toggle('some', some);
    bar.hidden = !some;
    words.textContent = `${chosen.size} of ${runs.length} runs chosen. Verdicts, means and intervals are about all runs. `;
    some ? sessionStorage.setItem(kept, JSON.stringify([...chosen].map(i => runs[i].path))) : sessionStorage.removeItem(kept);
    const has = new Set([...chosen].map(i => runs[i].group));
    for (const box of document.querySelectorAll('.keys input[data-group]')) {
      if (box.checked !== has.has(box.dataset.group)) box.click();
    }
    about.replaceChildren();
    if (!some || !chosen.size) return;
    const groups = new Map();
    for (const i of chosen) {
      const {group, score, value} = runs[i];
      if (value === null) continue;
      const key = JSON.stringify([group, score]);
      groups.set(key, [...(groups.get(key) || []), value]);
    }
    const columns = ['group', 'score', 'runs', 'mean', 'lowest', 'highest'];
    const means = make('table', '', {className: 'stack'}), head = means.createTHead().insertRow(), body = means.createTBody();
    for (const text of columns) head.append(make('th', text));
    const text = v => Math.abs(v) < 1 ? v.toFixed(3).replace('0.', '.') : v.toPrecision(4);
    for (const [key, values] of groups) {
      const row = body.insertRow(), mean = values.reduce((a, b) => a + b) / values.length;
      const cells = [...JSON.parse(key), values.length, ...[mean, Math.min(...values), Math.max(...values)].map(text)];
      cells.forEach((text, i) => {
        const cell = row.insertCell();
        cell.textContent = text;
        if (i) cell.dataset.label = columns[i];
      });
    }
    const scroll = make('div', '', {className: 'scroll'});
    scroll.append(means);
    const paths = [...chosen].map(i => runs[i].path);
    about.append(make('h3', `The ${chosen.size} chosen runs`), scroll,
      make('p', 'Means alone. Tests and intervals of the chosen runs:', {className: 'soft'}),
      make('pre', paths.length > 60 ? `(choose at most 60 runs for a command; ${paths.length} are chosen)`
        : `${command[0]} ${paths.join(' ')} ${command[1]}`));
  };
  filter.addEventListener('input', narrow);
  these.addEventListener('click', () => { chosen = new Set(visible()); show(); });
  for (const button of [all, back]) button.addEventListener('click', () => {
    chosen = new Set(runs.keys()); filter.value = ''; narrow(); show();
  });
  narrow(); show();
});
