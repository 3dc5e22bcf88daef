// The sheet: strokes by mouse, pen or touch, and every state of the drawing before the one it is in.
// A stroke is QuickDraw's [[x…], [y…], [t…]] (t in ms). What is drawn here always has times, which marks it as raw:
// the server simplifies it. A loaded stroke without times is in the simplified convention and is sent as it came.
const NS = "http://www.w3.org/2000/svg";
const LOW = -32, HIGH = 287; // the sheet's view: the square 0…255 of the convention, and a margin
const STEP = 12, FINE = 2; // of the pen moved by keys
const CLOSE = 0.3; // points nearer than this to the one before are left out

export class Sheet {
  // changed(drawn): there is another drawing or picture; tell(text): what the pen does, for who cannot see it.
  constructor(svg, changed, tell) {
    this.svg = svg;
    this.ink = svg.querySelector("#ink");
    this.ghost = svg.querySelector("#ghost");
    this.image = svg.querySelector("#picture");
    this.pen = svg.querySelector("#pen");
    [this.changed, this.tell] = [changed, tell];
    this.drawing = [];
    this.picture = null; // a picture file in place of a drawing: {name, file, src}
    this.at = [128, 128]; // of the pen
    this.past = [];
    this.limit = null;
    this.pointer = null; // the one that draws: a palm or a second finger does not join in
    svg.addEventListener("pointerdown", (event) => this.begin(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    svg.addEventListener("pointerup", (event) => this.end(event));
    svg.addEventListener("pointercancel", (event) => this.end(event));
    svg.addEventListener("keydown", (event) => this.key(event));
    svg.addEventListener("blur", () => this.lift());
  }

  begin(event) {
    this.lift();
    if (event.button !== 0 || this.pointer !== null) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.put(event.pointerId, event.timeStamp);
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
    this.finish();
  }

  // By keys: arrows move the pen, space puts it down and lifts it.
  key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey || !(way || event.key === " ")) return;
    event.preventDefault();
    if (way) {
      const step = event.shiftKey ? FINE : STEP;
      this.at = this.at.map((value, i) => Math.min(HIGH, Math.max(LOW, value + step * way[i])));
      if (this.pointer === "keys") this.point(...this.at, event.timeStamp);
    } else if (this.pointer === "keys") {
      this.lift();
    } else if (this.pointer === null && !event.repeat) {
      this.put("keys", event.timeStamp);
      this.point(...this.at, event.timeStamp);
      this.tell("Pen down");
    }
    ["cx", "cy"].forEach((name, i) => this.pen.setAttribute(name, this.at[i]));
  }

  lift() {
    if (this.pointer !== "keys") return;
    this.finish();
    this.tell("Pen up");
  }

  put(pointer, time) {
    this.pointer = pointer;
    this.stroke = [[], [], []];
    if (!this.drawing.length) this.start = time;
    this.image.removeAttribute("href"); // a stroke begins a drawing
    this.line = path(this.ink);
    this.show([]);
  }

  finish() {
    this.pointer = null;
    this.become([...this.drawing, this.stroke], true);
  }

  add(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    const [x, y] = [at.x, at.y].map((value) => Math.round(Math.min(HIGH, Math.max(LOW, value)) * 100) / 100);
    this.point(x, y, event.timeStamp);
  }

  point(x, y, time) {
    const [xs, ys, ts] = this.stroke, n = xs.length;
    if (n && Math.hypot(x - xs[n - 1], y - ys[n - 1]) < CLOSE) return;
    xs.push(x);
    ys.push(y);
    ts.push(Math.max(0, Math.round(time - (this.start ?? time))));
    this.line.setAttribute("d", outline(this.stroke));
  }

  // Another drawing, or a picture; undo brings back the one before. drawn: by a stroke of the hand, not from a file or a
  // button.
  become(drawing, drawn = false, picture = null) {
    this.past.push([this.drawing, this.picture]);
    this.set(drawing, drawn, picture);
  }

  undo() {
    if (!this.past.length) return;
    const [drawing, picture] = this.past.pop();
    this.set(drawing, false, picture);
  }

  set(drawing, drawn = false, picture = null) {
    [this.drawing, this.picture] = [drawing, picture];
    if (this.pointer === "keys") this.pointer = null; // a stroke that is not finished goes
    this.show([]);
    this.paint();
    this.changed(drawn);
  }

  // Strokes past the limit are pale: the network does not look at them.
  paint() {
    this.ink.replaceChildren();
    if (this.picture) this.image.setAttribute("href", this.picture.src);
    else this.image.removeAttribute("href");
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
