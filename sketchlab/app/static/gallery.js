// What a run of a GAN shows: eight new pictures at a time, and the eye test. The page is never told what a picture of
// the test is before all are answered: the server works it out from the test's number.
import { ask } from "./ask.js";

const $ = (id) => document.getElementById(id);
let generators = [], test = null, place = 0, seen = -1, busy = false, asked = 0; // seen: the place whose picture is shown

const chosen = () => Number(document.querySelector("#generators input:checked").value);
const number = () => crypto.getRandomValues(new Uint32Array(1))[0] >>> 1; // below 2³¹

// Runs a step and says what went wrong.
async function attempt(step) {
  $("said").textContent = "";
  $("said").classList.remove("wrong");
  try {
    await step();
  } catch (error) {
    $("said").textContent = error.message;
    $("said").classList.add("wrong");
  }
}

// A step of the test: what is pressed while one is under way is not taken for an answer to the next picture.
async function alone(step) {
  if (busy) return;
  busy = true;
  await attempt(step);
  busy = false;
}

export function start(found) {
  generators = found;
  choose();
}

export function choose() {
  const { classes, about, eye } = generators[chosen()];
  end();
  $("about").textContent = about.join(" · ");
  $("kind").hidden = !classes.length;
  $("class").replaceChildren(new Option("each in turn", ""), ...classes.map((name) => new Option(name)));
  $("begin").hidden = !eye.n;
  $("rules").textContent = eye.n
    ? `${eye.n} pictures, one at a time: some are real, from the test data, some are generated. Which is which is shown at `
      + "the end. Every answer is saved in the run folder."
    : `There is no eye test of this run: ${eye.why}`;
  attempt(another);
}

async function another() {
  const mine = ++asked, seed = number();
  const { images } = await ask("make", { run: chosen(), class: $("class").value, seed });
  if (mine !== asked) return;
  $("made").replaceChildren(...images.map(({ src, class: name }, i) => {
    const figure = document.createElement("figure"), image = new Image(), caption = document.createElement("figcaption");
    Object.assign(image, { src, alt: `generated ${name || `picture ${i + 1}`}` });
    caption.textContent = name;
    figure.title = `number ${i} of seed ${seed}`;
    figure.append(image, ...(name ? [caption] : []));
    return figure;
  }));
}

// --- the eye test

function end() {
  test = null;
  $("generators").disabled = $("views").disabled = false;
  $("test").hidden = $("verdict").hidden = true;
  $("before-test").hidden = $("new").hidden = false;
}

async function show() {
  const { src } = await ask("eye", { run: chosen(), test, place });
  seen = place;
  $("shown").src = src;
  $("shown").alt = `picture ${place + 1}`;
  $("turn").textContent = `Picture ${place + 1} of ${generators[chosen()].eye.n}`;
}

async function begin() {
  [test, place, seen] = [number(), 0, -1];
  $("generators").disabled = $("views").disabled = true;
  try {
    await show();
  } catch (error) {
    end();
    throw error;
  }
  $("test").hidden = false;
  $("verdict").hidden = $("before-test").hidden = $("new").hidden = true; // generated ones beside it would give it away
  $("test").focus(); // on neither answer
}

async function answer(said) {
  if (test === null) return;
  if (seen !== place) return show(); // it could not be had the first time
  ({ answered: place } = await ask("eye/answer", { run: chosen(), test, place, said, who: $("who").value }));
  if (place < generators[chosen()].eye.n) return show();
  const found = await ask("eye/verdict", { run: chosen(), test });
  end();
  const lines = [...found.says, ...(found.n_all > place ? [`All ${found.n_all} answers of this run:`, ...found.all] : [])];
  $("verdict").replaceChildren(...lines.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
  $("verdict").hidden = false;
  $("start").focus();
}

function stop() {
  const done = place;
  end();
  $("said").textContent = `Stopped after ${done} of ${generators[chosen()].eye.n}: these answers are kept.`;
  $("start").focus();
}

const ACTIONS = {
  another,
  start: begin,
  real: () => answer("real"),
  generated: () => answer("generated"),
  stop,
};
const act = (id) => (id === "another" ? attempt : alone)(ACTIONS[id]);
for (const id of Object.keys(ACTIONS)) $(id).addEventListener("click", () => act(id));
$("class").addEventListener("change", () => attempt(another));

const KEYS = { n: "another", r: "real", g: "generated" };
document.addEventListener("keydown", (event) => {
  if ($("gallery").hidden || event.target.matches("input[type=text], select")) return;
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
  const id = KEYS[event.key.toLowerCase()];
  if (!id || (id === "another") !== (test === null)) return; // answers in a test, new pictures outside it
  event.preventDefault();
  act(id);
});
