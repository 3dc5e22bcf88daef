// Curves to look into: values under the pointer, zoom, log scale. It moves what the figure already shows; without it the
// figure stays as it was drawn. One script for the page of a run and of a comparison.
addEventListener('DOMContentLoaded', () => {
for (const look of document.querySelectorAll('.look')) {
  const data = JSON.parse(look.querySelector('script').textContent), svg = look.querySelector('svg');
  const tip = look.querySelector('.tip'), [left, top, right, bottom] = data.box, NS = svg.namespaceURI;
  const home = {x: data.range, y: data.y, log: data.log}, values = data.lines.flatMap(l => l.mean.filter(v => v !== null));
  const all = [...new Set(data.lines.flatMap(l => l.x))].sort((a, b) => a - b);
  let view = {...home}, at = -1, from = null;

  const add = (kind, given, parent) => {
    const made = document.createElementNS(NS, kind);
    for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
    return parent.appendChild(made);
  };
  const share = (v, [a, b], log) => log ? (Math.log(Math.max(v, 1e-12)) - Math.log(a)) / (Math.log(b) - Math.log(a))
    : (v - a) / (b - a);
  const back = (s, [a, b], log) => log ? a * (b / a) ** s : a + s * (b - a);
  const placeX = (x, w = view) => left + share(x, w.x) * (right - left);
  const placeY = (y, w = view) => bottom - share(y, w.y, w.log) * (bottom - top);
  const moveX = px => placeX(back((px - left) / (right - left), home.x));
  const moveY = py => Math.max(-1e4, Math.min(1e4, placeY(back((bottom - py) / (bottom - top), home.y, home.log))));

  // what lies in data coordinates: lines, markers, bands; each with the numbers it was drawn with
  const axes = svg.querySelector('[id$="axes_1"]'), moved = [], labels = [], ticks = [];
  for (const part of axes.children) {
    if (/(patch|legend|text)_\d+$/.test(part.id)) continue;
    if (/matplotlib\.axis_\d+$/.test(part.id)) { ticks.push(...part.querySelectorAll('[id*="tick_"]')); continue; }
    if (part.id.endsWith('-label')) { labels.push(part); continue; }
    const used = [...part.querySelectorAll('use')], band = part.id.endsWith('-band');
    const down = band && used.length ? +used[0].getAttribute('y') : 0;
    for (const path of part.querySelectorAll('path'))
      if (band || !path.closest('defs')) moved.push([path, path.getAttribute('d'), down]);
    if (!band) for (const use of used) moved.push([use, +use.getAttribute('x'), +use.getAttribute('y')]);
  }
  const own = add('g', {class: 'ticks'}, axes);
  const cursor = add('line', {y1: top, y2: bottom, class: 'cursor', visibility: 'hidden'}, svg);
  const frame = add('rect', {class: 'frame', visibility: 'hidden'}, svg);

  const steps = (low, high, log, whole) => {
    if (log && high / low > 8) {
      const out = [], fine = high / low < 300;
      for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
        for (const m of fine ? [1, 2, 5] : [1]) if (m * 10 ** e >= low && m * 10 ** e <= high) out.push(m * 10 ** e);
      return out;
    }
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = Math.max([1, 2, 5, 10].find(m => m * power >= rough) * power, whole ? 1 : 0), out = [];
    for (let v = Math.ceil(low / step - 1e-9); v * step <= high * (1 + 1e-9); v++) out.push(v * step);
    return out;
  };
  const say = v => String(+v.toPrecision(4));
  const draw = () => {
    const changed = JSON.stringify(view) !== JSON.stringify(home);
    for (const [part, first, second] of moved) {
      if (part.localName === 'use') {
        part.setAttribute('x', moveX(first)); part.setAttribute('y', moveY(second));
      } else {
        let x = false;
        part.setAttribute('d', first.replace(/-?[\d.]+(?:e-?\d+)?/g, v =>
          ((x = !x) ? moveX(+v) : moveY(+v + second) - second).toFixed(2)));
      }
    }
    for (const part of [...ticks, ...labels]) part.style.display = changed ? 'none' : '';
    own.replaceChildren();
    if (changed) {
      for (const v of steps(...view.x, false, true)) {
        const x = placeX(v);
        add('path', {d: `M${x} ${top}V${bottom + 3.5}`}, own);
        add('text', {x, y: bottom + 14, 'text-anchor': 'middle'}, own).textContent = say(v);
      }
      for (const v of steps(...view.y, view.log)) {
        const y = placeY(v);
        add('path', {d: `M${left - 3.5} ${y}H${right}`}, own);
        add('text', {x: left - 6, y: y + 3.5, 'text-anchor': 'end'}, own).textContent = say(v);
      }
    }
    look.querySelector('[data-do=home]').disabled = !changed;
    if (!tip.hidden) show(at);
  };
  const ranged = log => {  // the whole height on the other scale
    if (log === home.log) return home.y;
    const good = values.filter(v => v > 0), low = Math.min(...values), high = Math.max(...values);
    if (log) return [Math.min(...good) * 0.8, Math.max(high, home.y[1] * 0.9) * 1.1];
    return [Math.min(0, low), high * 1.05];
  };
  const zoom = (factor, about = (view.x[0] + view.x[1]) / 2) => {
    const [a, b] = view.x.map(v => about + (v - about) * factor), least = Math.min(1, (home.x[1] - home.x[0]) / 4);
    if (b - a >= least) view = {...view, x: [Math.max(a, home.x[0]), Math.min(b, home.x[1])]};
    draw();
  };

  const hide = () => { tip.hidden = true; cursor.setAttribute('visibility', 'hidden'); };
  const seen = i => all[i] >= view.x[0] && all[i] <= view.x[1];
  const show = i => {
    if (i < 0 || i >= all.length || !seen(i)) return hide();
    at = i;
    const x = all[at], rows = [];
    for (const l of data.lines) {
      const j = l.x.indexOf(x), box = document.getElementById(l.box);
      if (j < 0 || l.mean[j] === null || (box && !box.checked)) continue;
      rows.push([l.mean[j], l.swatch, l.name, l.text[j]]);
    }
    rows.sort((a, b) => data.less ? a[0] - b[0] : b[0] - a[0]);
    tip.replaceChildren();
    const head = document.createElement('b'), table = document.createElement('table');
    head.textContent = (data.axis || 'epoch') + ' ' + x;
    for (const [, swatch, name, text] of rows) {
      const row = table.insertRow(), key = row.insertCell();
      key.className = 'keys'; key.innerHTML = swatch;
      row.insertCell().textContent = name; row.insertCell().textContent = text;
    }
    tip.append(head, table);
    tip.hidden = false;
    cursor.setAttribute('x1', placeX(x)); cursor.setAttribute('x2', placeX(x));
    cursor.setAttribute('visibility', 'visible');
    const wide = svg.getBoundingClientRect().width, scale = wide / svg.viewBox.baseVal.width, px = placeX(x) * scale;
    tip.style.left = 0;
    const beside = px > wide / 2 ? px - tip.offsetWidth - 12 : px + 12;
    tip.style.left = Math.max(0, Math.min(beside, look.clientWidth - tip.offsetWidth)) + 'px';
    tip.style.top = (svg.getBoundingClientRect().top - look.getBoundingClientRect().top + top * scale) + 'px';
  };
  const point = e => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    return [(e.clientX - box.left) * scale, (e.clientY - box.top) * scale];
  };
  const inside = ([x, y]) => [Math.max(left, Math.min(right, x)), Math.max(top, Math.min(bottom, y))];
  const move = e => {
    const [x, y] = point(e);
    if (from) {
      const [u, v] = inside([x, y]), flat = Math.abs(v - from[1]) < 8;
      const given = {x: Math.min(u, from[0]), width: Math.abs(u - from[0]), y: flat ? top : Math.min(v, from[1]),
        height: flat ? bottom - top : Math.abs(v - from[1])};
      for (const [key, value] of Object.entries(given)) frame.setAttribute(key, value);
      frame.setAttribute('visibility', given.width > 4 ? 'visible' : 'hidden');
      return;
    }
    if (x < left - 10 || x > right + 10) return hide();
    let best = -1;
    all.forEach((v, i) => { if (seen(i) && (best < 0 || Math.abs(placeX(v) - x) < Math.abs(placeX(all[best]) - x))) best = i; });
    show(best);
  };
  svg.addEventListener('pointermove', move);
  svg.addEventListener('pointerdown', e => {
    move(e);
    const p = point(e);
    if (e.pointerType === 'mouse' && e.button === 0 && p.every((v, i) => v === inside(p)[i])) {
      from = p; svg.setPointerCapture(e.pointerId); e.preventDefault(); svg.focus({preventScroll: true});
    }
  });
  svg.addEventListener('pointerup', e => {
    if (!from) return;
    const [u, v] = inside(point(e)), [a, b] = from;
    from = null; frame.setAttribute('visibility', 'hidden');
    if (Math.abs(u - a) < 6) return;
    const ends = [a, u].sort((p, q) => p - q).map(px => back((px - left) / (right - left), view.x));
    const heights = [b, v].sort((p, q) => q - p).map(py => back((bottom - py) / (bottom - top), view.y, view.log));
    view = {...view, x: ends, y: Math.abs(v - b) < 8 ? view.y : heights};
    draw();
  });
  svg.addEventListener('pointercancel', () => { from = null; frame.setAttribute('visibility', 'hidden'); });
  svg.addEventListener('pointerleave', hide); svg.addEventListener('blur', hide);
  const reset = () => { view = {...home}; log.checked = home.log; draw(); };
  svg.addEventListener('dblclick', reset);
  const log = look.querySelector('[data-do=log]');
  log.checked = home.log;
  log.closest('label').hidden = !home.log && values.filter(v => v > 0).length === 0;
  log.addEventListener('change', () => { view = {...view, log: log.checked, y: ranged(log.checked)}; draw(); });
  look.querySelector('[data-do=in]').addEventListener('click', () => zoom(0.5, at >= 0 && seen(at) ? all[at] : undefined));
  look.querySelector('[data-do=out]').addEventListener('click', () => zoom(2));
  look.querySelector('[data-do=home]').addEventListener('click', reset);
  svg.addEventListener('keydown', e => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    if (step) {
      e.preventDefault();
      const next = at + step;
      show(next >= 0 && next < all.length && seen(next) ? next : Math.max(0, all.findIndex((_, i) => seen(i))));
    }
    if (e.key === '+') zoom(0.5, at >= 0 && seen(at) ? all[at] : undefined);
    if (e.key === '-') zoom(2);
    if (e.key === '0') reset();
    if (e.key === 'Escape') hide();
  });
  look.addEventListener('change', () => { if (!tip.hidden) show(at); });
  look.querySelector('.tools').hidden = false;
  draw();
}});
