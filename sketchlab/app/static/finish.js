// "Finish it": a run of pipeline=draw proposes three endings of the drawing; one is drawn on the sheet stroke by stroke.
import { ask } from "./ask.js";
import { outline, path } from "./sheet.js";

const $ = (id) => document.getElementById(id);
const NS = "http://www.w3.org/2000/svg";
const AS_RECOGNISED = "\n"; // no class has this name
const POINT_MS = 45; // that the pen takes from point to point
const number = () => crypto.getRandomValues(new Uint32Array(1))[0] >>> 1; // below 2³¹
let drawers = [], sheet = null, best = () => null, proposals = [], chosen = 0, asked = 0, timer = null;

// answer: () → the likeliest class of the drawing, {name, p}, or null.
export function start(found, ofSheet, answer, attempt) {
  [drawers, sheet, best] = [found, ofSheet, answer];
  $("finish-card").hidden = !drawers.length;
  $("drawer").replaceChildren(...drawers.map((run, i) => new Option(`${run.model}, ${run.data}`, i)));
  $("drawers").hidden = drawers.length < 2;
  const acts = { finish, take, "finish-from": note, "finish-class": changed, drawer: another };
  for (const [id, act] of Object.entries(acts)) {
    $(id).addEventListener(id === "finish" || id === "take" ? "click" : "input", () => attempt(act));
  }
  another();
}

const classes = () => drawers[Number($("drawer").value)]?.classes ?? [];

function another() {
  $("finish-class").replaceChildren(new Option("as recognised", AS_RECOGNISED), new Option("left open", ""),
    ...classes().map((name) => new Option(name)));
  clear();
  note();
}

// The class that the ending is drawn of, "" where it is open: the one chosen, or the answer beside the sheet where it is
// confident enough.
function given() {
  const wanted = $("finish-class").value;
  if (wanted !== AS_RECOGNISED) return wanted;
  const one = best(), known = classes();
  return one && one.p >= Number($("finish-from").value) / 100 && known.includes(one.name) ? one.name : "";
}

function note() {
  $("finish-confident").hidden = $("finish-class").value !== AS_RECOGNISED;
  $("finish-level").textContent = `${$("finish-from").value} %`;
  if (!drawers.length) return;
  $("finish").disabled = !sheet.drawing.length;
  const name = given(), why = $("finish-class").value === AS_RECOGNISED ? ": none it knows is likely enough" : "";
  const how = name ? `It is drawn as ${name}.` : `The class is left open${why}.`;
  $("finish-note").textContent = sheet.drawing.length ? how : "Begin a drawing first, as large as the finished one would be.";
}

// Another drawing, or another answer: what was proposed is of the one before.
export function changed() {
  if (proposals.length) clear();
  asked++;
  note();
}

function clear() {
  stop();
  proposals = [];
  $("proposals").replaceChildren();
  $("take").hidden = true;
  $("finish").textContent = "Finish it";
}

async function finish() {
  if (!sheet.drawing.length) return;
  const mine = ++asked, name = given();
  const body = { run: Number($("drawer").value), drawing: sheet.drawing, class: name, seed: number() };
  const said = await ask("finish", body);
  if (mine !== asked) return;
  proposals = said.proposals;
  $("finish").textContent = "Three others";
  $("take").hidden = false;
  $("proposals").replaceChildren(...proposals.map(card));
  choose(0);
}

function card(ending, i) {
  const button = document.createElement("button"), svg = document.createElementNS(NS, "svg");
  button.setAttribute("aria-label", `Proposal ${i + 1}`);
  svg.setAttribute("viewBox", "-32 -32 319 319");
  for (const stroke of sheet.drawing) path(svg).setAttribute("d", outline(stroke));
  for (const stroke of ending) {
    const line = path(svg);
    line.setAttribute("d", outline(stroke));
    line.setAttribute("class", "added");
  }
  button.append(svg);
  button.addEventListener("click", () => choose(i));
  return button;
}

// Draws a proposal on the sheet, point by point; without motion where people ask for none.
function choose(i) {
  stop();
  chosen = i;
  [...$("proposals").children].forEach((one, k) => one.setAttribute("aria-pressed", k === i));
  const ending = proposals[i], total = ending.reduce((n, [xs]) => n + xs.length, 0);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let n = still ? total : 1;
  const step = () => {
    sheet.show(begun(ending, n), "added");
    if (n++ < total) timer = setTimeout(step, POINT_MS);
  };
  step();
}

// The first n points of strokes.
function begun(strokes, n) {
  const out = [];
  for (const [xs, ys] of strokes) {
    if (n <= 0) break;
    out.push([xs.slice(0, n), ys.slice(0, n)]);
    n -= xs.length;
  }
  return out;
}

function stop() {
  clearTimeout(timer);
  sheet.show([]);
}

// The chosen ending joins the drawing; undo takes it away again. Its strokes have times where the drawing's have.
function take() {
  const timed = sheet.drawing.some((stroke) => stroke.length > 2);
  const added = proposals[chosen].map(([x, y]) => (timed ? [x, y, x.map(() => 0)] : [x, y]));
  clear();
  sheet.become([...sheet.drawing, ...added]);
}
