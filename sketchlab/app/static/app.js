import { ask } from "./ask.js";
import * as finish from "./finish.js";
import * as gallery from "./gallery.js";
import { Sheet } from "./sheet.js";

const $ = (id) => document.getElementById(id);
const MOST_LINES = 1000; // drawings of a file that can be looked through
const MOST_BYTES = 8 << 20; // of a file that are read
const OFF = 101; // % from which a drawing is replaced by itself: more than any confidence
const KEPT = "sketchlab.auto"; // the name under which the browser keeps it
let runs = [], canSave = false, asked = 0, answer = null, offered = null, file = [], shown = 0;

const sheet = new Sheet($("sheet"), (drawn) => {
  $("empty").hidden = sheet.drawing.length > 0;
  $("replace").hidden = true;
  $("undo").disabled = !sheet.past.length;
  $("clear").disabled = $("download").disabled = !sheet.drawing.length;
  $("keep").disabled = !sheet.drawing.length || !$("label").value.trim();
  strokesLeft();
  finish.changed();
  predict(drawn);
});

// --- what goes wrong is said

function tell(text, wrong = false) {
  $("message").textContent = text;
  $("message").classList.toggle("wrong", wrong);
}

// Runs a step and says what went wrong; a slower answer to an older question never replaces a newer one.
async function attempt(step) {
  try {
    await step();
  } catch (error) {
    tell(error.message, true);
  }
}

const chosen = () => Number(document.querySelector("#runs input:checked").value);

// drawn: a stroke by hand is what changed; then a confident answer may replace the drawing by itself.
function predict(drawn = false) {
  const mine = ++asked;
  answer = null;
  if (!sheet.drawing.length) return blank();
  return attempt(async () => {
    const said = await ask("predict", { run: chosen(), drawing: sheet.drawing });
    if (mine !== asked) return;
    answer = said;
    tell("");
    SHOW[said.kind](said);
    finish.changed();
    await offer(drawn);
  });
}

// --- the answer: one way to show it for each kind of run

const SHOW = { classes: showClasses, photos: showPhotos };

function showClasses(said) {
  const best = said.classes[0];
  $("top").replaceChildren(best.name, quiet(`, ${percent(best.p)}`));
  $("photos").replaceChildren();
  const rows = [...$("bars").children];
  said.classes.forEach(({ name, p }, i) => {
    const row = rows[i] ?? $("bars").appendChild(bar());
    row.hidden = false;
    row.children[0].textContent = name;
    row.children[1].firstChild.style.width = `${100 * p}%`;
    row.children[2].textContent = percent(p);
  });
  rows.slice(said.classes.length).forEach((row) => row.remove());
  facts(`${said.ms < 1 ? "under 1" : Math.round(said.ms)} ms`);
}

// Of a retrieval run: the photos nearest to the drawing.
function showPhotos(said) {
  $("top").textContent = "Nearest photos";
  $("bars").replaceChildren();
  $("photos").replaceChildren(...said.photos.map(({ name, distance, src }) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const image = document.createElement(src ? "img" : "span");
    if (src) Object.assign(image, { src, alt: name });
    caption.textContent = distance.toPrecision(3);
    figure.title = `${name}, distance ${distance}`;
    figure.append(image, caption);
    return figure;
  }));
  facts(`${said.ms < 1 ? "under 1" : Math.round(said.ms)} ms`);
}

function bar() {
  const row = document.createElement("li");
  row.append(...["span", "div", "span"].map((tag) => document.createElement(tag)));
  row.children[0].className = "name";
  row.children[1].className = "track";
  row.children[1].append(document.createElement("i"));
  row.children[2].className = "p";
  return row;
}

const percent = (p) => (p < 0.01 ? "< 1 %" : p < 1 && p > 0.99 ? "> 99 %" : `${Math.round(100 * p)} %`);

function quiet(text) {
  const small = document.createElement("small");
  small.textContent = text;
  return small;
}

function blank() {
  $("top").replaceChildren(quiet("What is it?"));
  $("bars").replaceChildren();
  $("photos").replaceChildren();
  facts("");
  noOffer("A likely enough class is offered as a clean shape in place of your drawing.");
}

function facts(time) {
  $("facts").textContent = [...runs[chosen()].about, ...(time ? [`answered in ${time}`] : [])].join(" · ");
}

function strokesLeft() {
  const { limit, late } = runs[chosen()], n = sheet.drawing.length;
  $("left").replaceChildren();
  if (limit === null) return;
  const pips = $("left").appendChild(document.createElement("span"));
  pips.className = "pips";
  pips.setAttribute("aria-hidden", "true");
  for (let i = 0; i < Math.min(limit, 12); i++) pips.append(document.createElement("i"));
  [...pips.children].forEach((pip, i) => pip.classList.toggle("used", i < n));
  const left = limit - n, more = late === "last" ? "later ones join the last frame" : "later ones are not looked at";
  $("left").append(left > 0 ? `${left} ${left === 1 ? "stroke" : "strokes"} left` : `no strokes left: ${more}`);
}

// --- a clean shape

async function offer(drawn = false) {
  const best = answer?.classes?.[0], mine = asked;
  if (!best) return noOffer("This run names no class, so it offers no clean shape.");
  if (sheet.drawing === offered?.became) return noOffer("This is the clean shape. Undo brings your drawing back.");
  const auto = drawn && best.p >= Number($("auto").value) / 100, level = Number($("sure").value) / 100;
  if (best.p < level && !auto) return noOffer(`No offer: ${percent(best.p)} for ${best.name} is below ${percent(level)}.`);
  const said = await ask("clean", { run: chosen(), class: best.name, drawing: sheet.drawing });
  if (mine !== asked) return;
  if (!said.strokes) return noOffer(said.says);
  offered = { strokes: said.strokes.map(([x, y]) => [x, y, x.map(() => 0)]) };
  sheet.show(offered.strokes);
  $("offer").textContent = `${best.name}: ${said.says}. Dashed on the sheet.`;
  $("replace").hidden = false;
  if (auto && sheet.pointer === null) replace(); // not during the next stroke, which asks again
}

function noOffer(text) {
  sheet.show([]);
  if (!offered?.became) offered = null;
  $("replace").hidden = true;
  $("offer").textContent = text;
}

function showAuto() {
  const auto = Number($("auto").value);
  $("auto-level").textContent = auto < OFF ? `${auto} %` : "off";
}

function replace() {
  if ($("replace").hidden) return;
  offered = { became: offered.strokes };
  sheet.become(offered.became);
}

// --- files

function word() {
  return $("label").value.trim();
}

async function download() {
  if (!sheet.drawing.length) return;
  const name = word() || "drawing";
  const { line } = await ask("ndjson", { run: chosen(), label: name, drawing: sheet.drawing });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([line], { type: "application/x-ndjson" }));
  link.download = `${name}.ndjson`;
  link.click();
  URL.revokeObjectURL(link.href);
  tell(`Saved ${name}.ndjson`);
}

async function keep() {
  const { label, n } = await ask("save", { run: chosen(), label: word(), drawing: sheet.drawing });
  tell(`Kept: ${label}.ndjson has ${n} ${n === 1 ? "drawing" : "drawings"} now`);
}

async function open(picked) {
  const text = await picked.slice(0, MOST_BYTES).text();
  const lines = text.split("\n");
  if (picked.size > MOST_BYTES) lines.pop(); // cut in the middle
  file = lines.filter((line) => line.trim()).slice(0, MOST_LINES);
  if (!file.length) throw new Error(`${picked.name}: no drawings in this file`);
  await look(0);
}

async function look(place) {
  if (place < 0 || place >= file.length) return;
  shown = place;
  $("pager").hidden = file.length < 2;
  $("place").textContent = `drawing ${place + 1} of ${file.length}`;
  $("before").disabled = place === 0;
  $("after").disabled = place === file.length - 1;
  const { word: label, drawing } = await ask("read", { line: file[place] });
  if (label) $("label").value = label;
  sheet.become(drawing);
}

// --- controls

const ACTIONS = {
  undo: () => sheet.undo(),
  clear: () => sheet.drawing.length && sheet.become([]),
  replace,
  keep,
  download,
  open: () => $("file").click(),
  before: () => look(shown - 1),
  after: () => look(shown + 1),
};
for (const [id, act] of Object.entries(ACTIONS)) $(id).addEventListener("click", () => attempt(act));

const KEYS = { u: "undo", c: "clear", r: "replace", s: "download", o: "open" };
document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if ($("draw").hidden || event.target.matches("input[type=text]") || event.altKey) return;
  const held = event.ctrlKey || event.metaKey;
  const id = held ? (key === "z" ? "undo" : null) : KEYS[key];
  if (!id || event.repeat) return;
  event.preventDefault();
  attempt(ACTIONS[id]);
});

$("sure").addEventListener("input", () => {
  $("level").textContent = `${$("sure").value} %`;
  if (answer) attempt(offer);
});
$("auto").addEventListener("input", () => {
  localStorage.setItem(KEPT, $("auto").value);
  showAuto();
});
$("label").addEventListener("input", () => {
  $("keep").disabled = !sheet.drawing.length || !word();
});
$("file").addEventListener("change", () => {
  const [picked] = $("file").files;
  $("file").value = "";
  if (picked) attempt(() => open(picked));
});

function choose() {
  sheet.limit = runs[chosen()].limit;
  $("words").replaceChildren(...runs[chosen()].classes.map((name) => new Option(name)));
  sheet.paint();
  strokesLeft();
  predict();
}

// --- the runs, and which half of the page is seen: what models drawings, what makes pictures

function view(name) {
  for (const half of ["draw", "gallery"]) $(half).hidden = half !== name;
  $("runs").hidden = name !== "draw";
  $("generators").hidden = name !== "gallery";
}

// A pill for each run; the first one is chosen.
function pills(fieldset, name, found, changed) {
  const models = found.map((run) => run.model);
  found.forEach((run, i) => {
    const label = document.createElement("label"), input = document.createElement("input");
    const twin = models.filter((model) => model === run.model).length > 1;
    Object.assign(input, { type: "radio", name, value: i, checked: i === 0 });
    input.addEventListener("change", changed);
    label.append(input, twin ? `${run.model}, ${run.data}` : run.model);
    label.title = `${run.model}-${run.data}/${run.id}`;
    fieldset.append(label);
  });
}

attempt(async () => {
  let generators, drawers;
  $("auto").value = localStorage.getItem(KEPT) ?? OFF;
  showAuto();
  ({ runs, generators, drawers, save: canSave } = await ask("runs"));
  pills($("runs"), "run", runs, choose);
  pills($("generators"), "generator", generators, gallery.choose);
  document.querySelectorAll("#views input").forEach((input) => input.addEventListener("change", () => view(input.value)));
  $("views").hidden = !(runs.length && generators.length);
  view(runs.length ? "draw" : "gallery");
  if (generators.length) gallery.start(generators);
  $("keep").hidden = !canSave;
  if (!runs.length) return;
  finish.start(drawers, sheet, () => answer?.classes?.[0] ?? null, attempt);
  sheet.set([]);
  choose();
});
