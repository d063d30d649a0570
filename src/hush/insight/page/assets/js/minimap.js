// How many items ran at each time, failures above it, and the stretch that is in sight.

const COLUMNS = 600;
const HEIGHT = 34;

class Minimap {
  constructor(model, view) {
    this.model = model;
    this.view = view;
    this.lane = document.querySelector("#mini-lane");
    this.counted = this.#counted();
    this.lane.append(this.#picture());
    this.left = el("div", { class: "shade left" });
    this.right = el("div", { class: "shade right" });
    this.frame = el("div", { class: "frame" }, el("i", { class: "handle left" }), el("i", { class: "handle right" }));
    this.lane.append(this.left, this.right, this.frame);
    document.querySelector("#mini-title").append(
      el("strong", {}, `${this.counted.noun} at once`),
      el("span", {}, `, peak ${count(this.counted.peak)}`),
    );
    view.addEventListener("time", () => this.draw());
    this.draw();
    this.#listen();
  }

  /** Items where there are any, else what contains nothing. */
  #counted() {
    const { model } = this;
    // Of a large map few items have spans: how many ran at once the map itself knows.
    let noun = this.model.data.omitted ? "Items with spans" : "Items";
    let of = [];
    for (let i = 0; i < model.size; i++) if (model.more(i).prefix === "item") of.push(i);
    if (!of.length) {
      noun = "Spans";
      for (let i = 0; i < model.size; i++) if (!model.inside[i]) of.push(i);
    }
    const steps = new Float64Array(of.length * 2);
    of.forEach((i, at) => {
      steps[2 * at] = model.start[i];
      steps[2 * at + 1] = model.end[i];
    });
    // At one instant ends come before starts: who follows does not overlap.
    const order = Array.from(steps.keys()).sort((a, b) => steps[a] - steps[b] || (b % 2) - (a % 2));
    const columns = new Float64Array(COLUMNS);
    const column = (ns) => Math.min(COLUMNS - 1, Math.max(0, Math.floor((ns / model.took) * COLUMNS)));
    let now = 0;
    let peak = 0;
    order.forEach((which, at) => {
      now += which % 2 ? -1 : 1;
      peak = Math.max(peak, now);
      const from = column(steps[which]);
      const to = at + 1 < order.length ? column(steps[order[at + 1]]) : from;
      for (let c = from; c <= to; c++) columns[c] = Math.max(columns[c], now);
    });
    return { noun, peak: Math.max(peak, of.length ? 1 : 0), columns };
  }

  #picture() {
    const { columns, peak } = this.counted;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${COLUMNS} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${this.counted.noun} at once over time, at most ${peak}`);
    const y = (n) => (HEIGHT - (n / Math.max(1, peak)) * (HEIGHT - 7)).toFixed(1);
    let area = `M0 ${HEIGHT}`;
    columns.forEach((n, c) => {
      if (c === 0 || n !== columns[c - 1]) area += `V${y(n)}`;
      area += `H${c + 1}`;
    });
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `${area}V${HEIGHT}Z`);
    path.setAttribute("class", "crowd");
    svg.append(path);
    const told = new Set();
    for (let i = 0; i < this.model.size; i++) {
      const look = this.model.look(i);
      if (!this.model.more(i).raised || look === "ok" || look === "foreign") continue;
      const c = Math.min(COLUMNS - 1, Math.floor((this.model.end[i] / this.model.took) * COLUMNS));
      const key = `${look}${c}`;
      if (told.has(key)) continue;
      told.add(key);
      const tick = document.createElementNS(SVG, "rect");
      for (const [name, value] of Object.entries({ x: Math.max(0, c - 1), y: 0, width: 2, height: 5, class: `tick ${look}` })) tick.setAttribute(name, value);
      svg.append(tick);
    }
    return svg;
  }

  draw() {
    const { view, model } = this;
    const from = (view.from / model.took) * 100;
    const to = (view.to / model.took) * 100;
    this.left.style.width = `${from}%`;
    this.right.style.left = `${to}%`;
    this.frame.style.left = `${from}%`;
    this.frame.style.width = `${to - from}%`;
    this.frame.classList.toggle("whole", !view.zoomed);
  }

  #listen() {
    const { lane, view, model } = this;
    const ns = (event) => {
      const box = lane.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * model.took;
    };
    let drag = null;
    lane.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const handle = event.target.closest(".handle");
      const inFrame = view.zoomed && event.target.closest(".frame");
      const at = ns(event);
      drag = handle
        ? { fixed: handle.classList.contains("left") ? view.to : view.from }
        : inFrame
          ? { grabbed: at, from: view.from, to: view.to }
          : { fixed: at };
      lane.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    lane.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const at = ns(event);
      if (drag.grabbed !== undefined) view.show(drag.from + at - drag.grabbed, drag.to + at - drag.grabbed);
      else if (Math.abs(at - drag.fixed) > model.took / 500) view.show(Math.min(at, drag.fixed), Math.max(at, drag.fixed));
    });
    for (const name of ["pointerup", "pointercancel"]) lane.addEventListener(name, () => (drag = null));
    lane.addEventListener("dblclick", () => view.reset());
  }
}
