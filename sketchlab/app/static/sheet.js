// The sheet: strokes by mouse, pen or touch, and every state of the drawing before the one it is in.
// A stroke is QuickDraw's [[x…], [y…], [t…]] (t in ms). What is drawn here always has times, which marks it as raw:
// the server simplifies it. A loaded stroke without times is in the simplified convention and is sent as it came.
const NS = "http://www.w3.org/2000/svg";
const LOW = -32, HIGH = 287; // the sheet's view: the square 0…255 of the convention, and a margin
const CLOSE = 0.3; // points nearer than this to the one before are left out

export class Sheet {
  constructor(svg, changed) {
    this.svg = svg;
    this.ink = svg.querySelector("#ink");
    this.ghost = svg.querySelector("#ghost");
    this.changed = changed;
    this.drawing = [];
    this.past = [];
    this.limit = null;
    this.pointer = null; // the one that draws: a palm or a second finger does not join in
    svg.addEventListener("pointerdown", (event) => this.begin(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    svg.addEventListener("pointerup", (event) => this.end(event));
    svg.addEventListener("pointercancel", (event) => this.end(event));
  }

  begin(event) {
    if (event.button !== 0 || this.pointer !== null) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.stroke = [[], [], []];
    if (!this.drawing.length) this.start = event.timeStamp;
    this.line = path(this.ink);
    this.show([]);
    this.add(event);
  }

  move(event) {
    if (event.pointerId !== this.pointer) return;
    const fine = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of fine.length ? fine : [event]) this.add(one);
  }

  end(event) {
    if (event.pointerId !== this.pointer) return;
    if (event.type === "pointerup") this.add(event);
    this.pointer = null;
    this.become([...this.drawing, this.stroke], true);
  }

  add(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    const [x, y] = [at.x, at.y].map((value) => Math.round(Math.min(HIGH, Math.max(LOW, value)) * 100) / 100);
    const [xs, ys, ts] = this.stroke, n = xs.length;
    if (n && Math.hypot(x - xs[n - 1], y - ys[n - 1]) < CLOSE) return;
    xs.push(x);
    ys.push(y);
    ts.push(Math.max(0, Math.round(event.timeStamp - (this.start ?? event.timeStamp))));
    this.line.setAttribute("d", outline(this.stroke));
  }

  // Another drawing; undo brings back the one before. drawn: by a stroke of the hand, not from a file or a button.
  become(drawing, drawn = false) {
    this.past.push(this.drawing);
    this.set(drawing, drawn);
  }

  undo() {
    if (this.past.length) this.set(this.past.pop());
  }

  set(drawing, drawn = false) {
    this.drawing = drawing;
    this.show([]);
    this.paint();
    this.changed(drawn);
  }

  // Strokes past the limit are pale: the network does not look at them.
  paint() {
    this.ink.replaceChildren();
    this.drawing.forEach((stroke, i) => {
      const line = path(this.ink);
      line.setAttribute("d", outline(stroke));
      if (this.limit !== null && i >= this.limit) line.setAttribute("class", "late");
    });
  }

  // What would replace the drawing, or (kind "added") join it.
  show(strokes, kind = "") {
    this.ghost.replaceChildren();
    this.ghost.setAttribute("class", kind);
    for (const stroke of strokes) path(this.ghost).setAttribute("d", outline(stroke));
  }
}

export function path(parent) {
  return parent.appendChild(document.createElementNS(NS, "path"));
}

export function outline([xs, ys]) {
  const points = xs.map((x, i) => `${x} ${ys[i]}`);
  return `M${points.join("L")}${points.length === 1 ? `L${points[0]}` : ""}`; // a dot is a line to itself
}
