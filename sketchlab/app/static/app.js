import { ask, send } from "./ask.js";
import * as finish from "./finish.js";
import * as gallery from "./gallery.js";
import { Sheet } from "./sheet.js";

const $ = (id) => document.getElementById(id);
const MOST_LINES = 1000; // drawings of a file that can be looked through
const MOST_BYTES = 8 << 20; // of a file that are read
const OFF = 101; // % from which a drawing is replaced by itself: more than any confidence
const KEPT = "sketchlab.auto"; // the name under which the browser keeps it
const SIDE = 319; // of the sheet, in the units of its strokes
const SLOW_MS = 250; // after which a wait is shown
const AGAIN_MS = 300; // after which a question is asked again whose place someone else's took
let runs = [], canSave = false, asked = 0, waiting = null, slow = 0, answer = null, offered = null, file = [], shown = 0;

const sheet = new Sheet($("sheet"), (drawn) => {
  const { drawing, picture } = sheet;
  tell("");
  tell("", false, "kept");
  $("empty").hidden = drawing.length > 0 || picture !== null;
  $("sheet").setAttribute("aria-label", picture ? `Sheet with a picture: ${picture.name}` : "Sheet to draw on");
  $("replace").hidden = true;
  $("undo").disabled = !sheet.past.length;
  $("clear").disabled = !drawing.length && !picture;
  $("download").disabled = !drawing.length;
  $("keep").disabled = !drawing.length || !word();
  strokesLeft();
  finish.changed();
  predict(drawn);
}, tell);

// --- what goes wrong is said where it was done

function tell(text, wrong = false, where = "message") {
  $(where).textContent = text;
  $(where).classList.toggle("wrong", wrong);
}

// Runs a step and says what went wrong.
async function attempt(step, where) {
  try {
    await step();
  } catch (error) {
    tell(error.message, true, where);
  }
}

const chosen = () => Number(document.querySelector("#runs input:checked").value);

// The answer about a drawing, or about a picture; null when a newer question took its place. One question at a time
// is under way: the one before is given up.
async function question(drawing, picture) {
  const mine = ++asked, run = chosen();
  waiting?.abort();
  waiting = new AbortController();
  const { signal } = waiting;
  working(true);
  try {
    for (;;) {
      try {
        const asking = () => (picture ? send(`picture?run=${run}`, picture.file, signal) : ask("predict", { run, drawing }, signal));
        const said = picture?.answers.get(run) ?? await asking();
        picture?.answers.set(run, said);
        return mine === asked ? said : null;
      } catch (error) {
        if (mine === asked && error.status !== 409) throw error;
        if (mine === asked) await new Promise((done) => setTimeout(done, AGAIN_MS)); // another page asks the same model
        if (mine !== asked) return null;
      }
    }
  } finally {
    if (mine === asked) working(false);
  }
}

// A sign of work for an answer that takes time.
function working(on) {
  clearTimeout(slow);
  $("answer").setAttribute("aria-busy", on);
  if (on) slow = setTimeout(() => ($("work").textContent = "Working…"), SLOW_MS);
  else $("work").textContent = "";
}

// drawn: a stroke by hand is what changed; then a confident answer may replace the drawing by itself.
function predict(drawn = false) {
  answer = null;
  if (!sheet.drawing.length && !sheet.picture) return blank();
  return attempt(async () => {
    try {
      const said = await question(sheet.drawing, sheet.picture);
      if (!said) return;
      answer = said;
    } catch (error) {
      blank();
      throw error;
    }
    SHOW[answer.kind](answer);
    facts(answer);
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
  $("spoken").textContent = `${best.name}, ${percent(best.p)}`;
}

// Of a retrieval run: the photos nearest to the drawing.
function showPhotos(said) {
  const far = (distance) => `distance ${distance.toPrecision(3)}`;
  $("top").textContent = "Nearest photos";
  $("bars").replaceChildren();
  $("photos").replaceChildren(...said.photos.map(({ name, class: kind, distance, src }) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const image = document.createElement(src ? "img" : "span");
    if (src) Object.assign(image, { src, alt: name });
    caption.append(Object.assign(document.createElement("b"), { textContent: kind ?? "" }), ` ${far(distance)}`);
    figure.title = name;
    figure.append(image, caption);
    return figure;
  }));
  const [{ name, class: kind, distance }] = said.photos;
  $("spoken").textContent = `Nearest photo: ${kind ?? name}, ${far(distance)}`;
}

function bar() {
  const row = document.createElement("li");
  row.append(...["span", "div", "span"].map((tag) => document.createElement(tag)));
  row.children[0].className = "name";
  row.children[1].className = "track";
  row.children[1].setAttribute("aria-hidden", "true");
  row.children[1].append(document.createElement("i"));
  row.children[2].className = "p";
  return row;
}

const percent = (p) => (p < 0.01 ? "< 1%" : p < 1 && p > 0.99 ? "> 99%" : `${Math.round(100 * p)}%`);

function quiet(text) {
  const small = document.createElement("small");
  small.textContent = text;
  return small;
}

function blank() {
  asked++; // what is still under way is not shown
  waiting?.abort();
  working(false);
  $("top").replaceChildren(quiet("What is it?"));
  $("bars").replaceChildren();
  $("photos").replaceChildren();
  $("spoken").textContent = "";
  facts();
  noOffer(runs[chosen()].finds
    ? "This model finds photos and names no class, so it offers no clean shape."
    : "When the model is confident enough, it offers a clean shape in place of your drawing.");
}

function facts(said) {
  const time = said ? [`answered in ${said.ms < 1 ? "under 1" : Math.round(said.ms)} ms`] : [];
  const far = said?.photos ? ["distance between embeddings, without a unit: 0 is the same"] : [];
  const seen = said?.src ? [`the sheet shows the picture as the model sees it, ${said.side_px} × ${said.side_px} pixels`] : [];
  $("facts").textContent = [...runs[chosen()].about, ...far, ...seen, ...time].join(" · ");
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
  const left = limit - n, more = `the model ${late === "last" ? "sees later ones as part of the last" : "does not see later ones"}`;
  $("left").append(left > 0 ? `${left} ${left === 1 ? "stroke" : "strokes"} left` : `no strokes left: ${more}`);
}

// --- a clean shape

async function offer(drawn = false) {
  const best = answer?.classes?.[0], mine = asked;
  if (!best) return noOffer("This model finds photos and names no class, so it offers no clean shape.");
  if (sheet.picture) return noOffer("A picture has no strokes, so there is no clean shape for it.");
  if (sheet.drawing === offered?.became) return noOffer("This is the clean shape. Undo brings your drawing back.");
  const auto = drawn && best.p >= Number($("auto").value) / 100, level = Number($("sure").value) / 100;
  if (best.p < level && !auto) return noOffer(`No offer: ${percent(best.p)} for ${best.name} is below ${percent(level)}.`);
  const said = await ask("clean", { run: chosen(), class: best.name, drawing: sheet.drawing }, waiting.signal)
    .catch((error) => {
      if (mine === asked) throw error;
    });
  if (mine !== asked) return;
  if (!said.strokes) return noOffer(`There is no clean shape for ${best.name}.`);
  offered = { strokes: said.strokes.map(([x, y]) => [x, y, x.map(() => 0)]) };
  sheet.show(offered.strokes);
  $("offer").textContent = `The dashed ${best.name} is ${inWords(said)}.`;
  $("replace").hidden = false;
  if (auto && sheet.pointer === null) replace(); // not during the next stroke, which asks again
}

const share = (units) => `${Math.round((100 * units) / SIDE)}%`;
const turned = (deg) => (Math.round(deg) === 0 ? "upright" : `turned ${Math.abs(Math.round(deg))}° ${deg > 0 ? "clockwise" : "anticlockwise"}`);

// Where a clean shape lies; a class that looks the same from all sides has no turn to speak of.
function inWords({ size: [wide, high], turn_deg: turn, run }) {
  const both = (size, deg) => `${size}${deg === null ? "" : `, ${turned(deg)}`}`;
  const own = run && ` (the model itself says ${both(`${share(run.size)} on the longer side`, turn === null ? null : run.turn_deg)})`;
  return both(`${share(wide)} of the sheet wide and ${share(high)} high`, turn) + (own ?? "");
}

function noOffer(text) {
  sheet.show([]);
  if (!offered?.became) offered = null;
  $("replace").hidden = true;
  $("offer").textContent = text;
}

function showAuto() {
  const auto = Number($("auto").value);
  $("auto-level").textContent = auto < OFF ? `${auto}%` : "off";
  $("auto").setAttribute("aria-valuetext", $("auto-level").textContent);
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
  tell(`Saved ${name}.ndjson`, false, "kept");
}

async function keep() {
  const { label, n } = await ask("save", { run: chosen(), label: word(), drawing: sheet.drawing });
  tell(`Added: ${label}.ndjson has ${n} ${n === 1 ? "drawing" : "drawings"} now`, false, "kept");
}

// Of several files the first is opened.
async function open([picked, ...others]) {
  if (!picked) throw new Error("Nothing to open: drop a picture or a file of drawings here");
  if (/\.(ndjson|json)(\.gz)?$/i.test(picked.name)) await openLines(picked);
  else if (/\.svg$/i.test(picked.name)) sheet.become((await send("svg", picked)).drawing);
  else await openPicture(picked, picked.name);
  if (others.length) tell(`Opened ${picked.name}, the first of ${others.length + 1} files`);
}

// A file that the model cannot take leaves the sheet as it is.
async function openPicture(picked, name) {
  const picture = { file: picked, name, answers: new Map() };
  try {
    const said = await question(null, picture);
    if (!said) return;
    picture.src = said.src;
  } catch (error) {
    if (!answer) predict(); // the question about what is on the sheet was given up
    throw error;
  }
  sheet.become([], false, picture);
}

async function openLines(picked) {
  const packed = /\.gz$/i.test(picked.name);
  const text = packed ? await unpacked(picked) : await picked.slice(0, MOST_BYTES).text();
  const lines = text.split("\n");
  if (packed ? text.length >= MOST_BYTES : picked.size > MOST_BYTES) lines.pop(); // cut in the middle
  file = lines.filter((line) => line.trim()).slice(0, MOST_LINES);
  if (!file.length) throw new Error(`${picked.name}: no drawings in this file`);
  await look(0);
}

// The first MOST_BYTES of a gzipped file, as text.
async function unpacked(picked) {
  const reader = picked.stream().pipeThrough(new DecompressionStream("gzip")).pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (let part = await reader.read(); !part.done && text.length < MOST_BYTES; part = await reader.read()) text += part.value;
  } catch {
    throw new Error(`${picked.name}: not a whole gzip file`);
  }
  return text;
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

// --- examples

async function examples() {
  const run = chosen();
  $("tries").replaceChildren();
  if (!$("examples").open) return;
  $("examples-note").textContent = "Reading the data of this run…";
  let found;
  try {
    found = await ask("examples", { run });
  } catch (error) {
    found = { examples: [], why: error.message };
  }
  if (run !== chosen()) return;
  $("examples-note").textContent = found.examples.length
    ? `From the run's ${found.split} data, which it was not trained on.`
    : `No examples: ${found.why ?? "the run has no val or test data"}`;
  $("tries").replaceChildren(...found.examples.map((one) => {
    const item = document.createElement("li"), button = item.appendChild(document.createElement("button"));
    const image = Object.assign(new Image(), { src: one.src, alt: "" });
    button.append(image, one.class);
    button.addEventListener("click", () => attempt(() => (one.drawing ? sheet.become(one.drawing) : openPicture(blob(one.src), one.id))));
    return item;
  }));
}

function blob(src) {
  return new Blob([Uint8Array.from(atob(src.split(",")[1]), (letter) => letter.charCodeAt(0))]);
}

// --- controls

const ACTIONS = {
  undo: () => sheet.undo(),
  clear: () => (sheet.drawing.length || sheet.picture) && sheet.become([]),
  replace,
  keep,
  download,
  open: () => $("file").click(),
  before: () => look(shown - 1),
  after: () => look(shown + 1),
};
const WHERE = { keep: "kept", download: "kept" }; // beside the button
const act = (id) => attempt(ACTIONS[id], WHERE[id]);
for (const id of Object.keys(ACTIONS)) $(id).addEventListener("click", () => act(id));

const KEYS = { u: "undo", c: "clear", r: "replace", s: "download", o: "open" };
document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if ($("draw").hidden || event.target.matches("input[type=text]") || event.altKey) return;
  const held = event.ctrlKey || event.metaKey;
  const id = held ? (key === "z" ? "undo" : null) : KEYS[key];
  if (!id || event.repeat) return;
  event.preventDefault();
  act(id);
});

$("sure").addEventListener("input", () => {
  $("level").textContent = `${$("sure").value}%`;
  $("sure").setAttribute("aria-valuetext", $("level").textContent);
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
  const picked = [...$("file").files];
  $("file").value = "";
  if (picked.length) attempt(() => open(picked));
});
$("examples").addEventListener("toggle", examples);

// Files may be dropped anywhere on the page, and pasted.
const takesFiles = () => !$("draw").hidden;
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("sheet").classList.toggle("over", takesFiles());
});
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => $("sheet").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault(); // the browser would leave the page and open it
  const dropped = [...event.dataTransfer.files];
  if (takesFiles()) attempt(() => open(dropped));
});
document.addEventListener("paste", (event) => {
  const pasted = [...event.clipboardData.files];
  if (takesFiles() && pasted.length) attempt(() => open(pasted));
});

function choose() {
  sheet.limit = runs[chosen()].limit;
  $("words").replaceChildren(...runs[chosen()].classes.map((name) => new Option(name)));
  sheet.paint();
  strokesLeft();
  tell("");
  predict();
  examples();
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
