// The rows in sight, and only those: a trace may have tens of thousands.

const ROW = 24; // pixels, as in page.css
const SPARE = 8; // rows above and below what is in sight
const MOST_PRINTED = 1500;
const TICK_ROOM = 72; // pixels between two ticks, at least
const LABEL = 44; // pixels of a tick's text, about
const NICE = [1, 2, 5, 10];

class Waterfall {
  constructor(model, view) {
    this.model = model;
    this.view = view;
    this.box = document.querySelector("#rows");
    this.canvas = document.querySelector("#canvas");
    this.grid = document.querySelector("#grid");
    this.axis = document.querySelector("#axis-lane");
    this.nothing = document.querySelector("#nothing");
    this.cursor = el("div", { class: "cursor" }, el("span"));
    this.picked = el("div", { class: "picked", hidden: true });
    this.ruler = el("div", { id: "ruler", "aria-hidden": "true" });
    this.ruler.addEventListener("click", (event) => {
      const part = (event.clientY - this.ruler.getBoundingClientRect().top) / this.ruler.clientHeight;
      this.box.scrollTop = part * view.rows.length * ROW - this.box.clientHeight / 2;
    });
    document.querySelector("#table").append(this.ruler);
    this.ruled = null;
    this.printed = false;
    this.asked = 0;
    this.box.addEventListener("scroll", () => this.ask(), { passive: true });
    new ResizeObserver(() => this.ask()).observe(this.box);
    for (const what of ["time", "rows"]) view.addEventListener(what, () => this.ask());
    view.addEventListener("reveal", () => this.reveal());
    this.draw();
  }

  /** Draw once before the next picture, however often it is asked for. */
  ask() {
    this.asked ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.asked);
    this.asked = 0;
    const { view, model, box } = this;
    const all = view.rows.length;
    box.setAttribute("aria-rowcount", all);
    this.canvas.style.height = `${all * ROW}px`;
    let first = Math.max(0, Math.floor(box.scrollTop / ROW) - SPARE);
    let last = Math.min(all, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + SPARE);
    if (this.printed) [first, last] = [0, Math.min(all, MOST_PRINTED)];
    const names = document.querySelector("#axis .name").offsetWidth;
    const levels = Math.max(2, Math.floor((names * INDENTED) / STEP));
    const rows = [];
    for (let place = first; place < last; place++) {
      const row = drawRow(model, view, view.rows[place], place, levels);
      row.style.top = `${place * ROW}px`;
      rows.push(row);
    }
    this.canvas.replaceChildren(...rows);
    const active = view.selected >= 0 && view.place[view.selected];
    if (active !== false && active >= first && active < last) box.setAttribute("aria-activedescendant", `r${view.selected}`);
    else box.removeAttribute("aria-activedescendant");
    this.nothing.hidden = all > 0;
    if (!all) this.nothing.textContent = model.size ? "No span matches the filters." : "This trace has no spans.";
    // What the scroll bar takes from the rows, the lines above them leave free as well.
    document.querySelector("#table").style.setProperty("--gutter", `${box.offsetWidth - box.clientWidth}px`);
    this.ticks();
    this.rule();
  }

  /** Beside the scroll bar: where among all rows something failed, is critical or was found. */
  rule() {
    const { view, model, box, ruler } = this;
    const all = view.rows.length;
    ruler.hidden = all * ROW <= box.clientHeight;
    const state = [view.rows, view.hits, box.clientHeight];
    if (this.ruled?.every((part, at) => part === state[at])) return;
    this.ruled = state;
    const told = new Map();
    for (let place = 0; place < all; place++) {
      const i = view.rows[place];
      const looks = [];
      if (model.more(i).raised && model.look(i) !== "ok") looks.push(model.look(i));
      if (model.criticals[i] === 2) looks.push("critical");
      if (view.hits.has(i)) looks.push("found");
      for (const look of looks) told.set(`${look} ${Math.floor((place / all) * box.clientHeight)}`, look);
    }
    ruler.replaceChildren(
      ...Array.from(told, ([key, look]) => {
        const tick = el("i", { class: look });
        tick.style.top = `${key.split(" ")[1]}px`;
        return tick;
      }),
    );
  }

  ticks() {
    const width = this.axis.clientWidth;
    if (!width) return;
    const { view } = this;
    const span = view.to - view.from;
    // In the unit of the labels: a tick at 1000 s is no round number of minutes.
    const unit = view.to >= 7200e9 ? 3600e9 : view.to >= 300e9 ? 60e9 : 1;
    const least = (span * TICK_ROOM) / width / unit;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = NICE.find((n) => n * power >= least) * power * unit;
    const ticks = [];
    const lines = [];
    for (let n = Math.ceil(view.from / step - 1e-9); n * step <= view.to; n++) {
      const left = `${(view.at(n * step) * 100).toFixed(3)}%`;
      const tick = el("span", { class: "tick" }, instant(n * step, step));
      const rule = el("i");
      tick.style.left = rule.style.left = left;
      if (view.at(n * step) <= 1 - LABEL / width) ticks.push(tick); // else its text would be cut
      lines.push(rule);
    }
    this.axis.replaceChildren(...ticks, this.picked);
    this.grid.style.height = `${Math.max(this.box.clientHeight, view.rows.length * ROW)}px`;
    this.grid.replaceChildren(el("div", { class: "lane" }, ...lines, this.cursor));
  }

  /** Scroll so far that the selected row is in sight. */
  reveal() {
    const place = this.view.place[this.view.selected];
    if (place === undefined || place < 0) return;
    const top = place * ROW;
    const { scrollTop, clientHeight } = this.box;
    this.canvas.style.height = `${this.view.rows.length * ROW}px`;
    if (top < scrollTop + ROW) this.box.scrollTop = top - Math.min(3 * ROW, clientHeight / 3);
    else if (top + 2 * ROW > scrollTop + clientHeight) this.box.scrollTop = top - clientHeight + 4 * ROW;
    this.draw();
  }

  /** Move the selection by so many rows. */
  move(by) {
    const { view } = this;
    if (!view.rows.length) return;
    const here = view.selected >= 0 ? view.place[view.selected] : -1;
    const there = Math.min(view.rows.length - 1, Math.max(0, here < 0 ? (by > 0 ? 0 : view.rows.length - 1) : here + by));
    view.go(view.rows[there], { quietly: document.querySelector("#details").hidden });
  }

  get page() {
    return Math.max(1, Math.floor(this.box.clientHeight / ROW) - 1);
  }

  print(on) {
    this.printed = on;
    document.documentElement.classList.toggle("printed", on);
    this.draw();
  }
}
