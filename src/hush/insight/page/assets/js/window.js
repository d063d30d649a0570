// What is shown at the moment: a stretch of time, the rows, the selected span.

const SHORTEST = 1e3; // nanoseconds; nobody zooms further

class View extends EventTarget {
  constructor(model) {
    super();
    this.model = model;
    this.from = 0;
    this.to = model.took;
    this.open = model.openAtFirst();
    this.filters = new Set();
    this.selected = -1;
    this.hits = new Set();
    this.rows = new Int32Array(0);
    this.place = new Int32Array(model.size); // of a span among the rows, or -1
    this.#list();
  }

  tell(what) {
    this.dispatchEvent(new Event(what));
  }

  // --- time ---

  get zoomed() {
    return this.from > 0 || this.to < this.model.took;
  }

  /** Where an instant is, 0 to 1 for what is in sight. */
  at(ns) {
    return (ns - this.from) / (this.to - this.from);
  }

  show(from, to) {
    const whole = this.model.took;
    const wide = Math.min(whole, Math.max(SHORTEST, to - from));
    const middle = (from + to) / 2;
    this.from = Math.min(Math.max(0, middle - wide / 2), whole - wide);
    this.to = this.from + wide;
    this.tell("time");
  }

  /** Zoom around a point: 0 is the left edge of what is in sight, 1 the right one. */
  zoom(factor, around = 0.5) {
    const wide = this.to - this.from;
    const next = Math.min(this.model.took, Math.max(SHORTEST, wide * factor));
    const fixed = this.from + wide * around;
    const from = Math.min(Math.max(0, fixed - next * around), this.model.took - next);
    this.show(from, from + next);
  }

  pan(share) {
    const by = (this.to - this.from) * share;
    this.show(this.from + by, this.to + by);
  }

  reset() {
    this.show(0, this.model.took);
  }

  zoomTo(i) {
    const { start, end } = this.model;
    const room = Math.max((end[i] - start[i]) * 0.15, SHORTEST);
    let from = start[i];
    for (const [, begin] of this.model.more(i).waits || []) from = Math.min(from, begin);
    this.show(from - room, end[i] + room);
  }

  // --- rows ---

  static tests = {
    errors: (model, i) => model.isError(i) && Boolean(model.more(i).raised),
    handled: (model, i) => model.outcome(i) === "handled",
    critical: (model, i) => model.criticals[i] === 2,
    slow: (model, i) => model.slows[i] === 1,
  };

  matches(i, filters = this.filters) {
    for (const name of filters) if (View.tests[name](this.model, i)) return true;
    return false;
  }

  #list() {
    const { model } = this;
    const kept = this.filters.size ? new Uint8Array(model.size) : null;
    if (kept) {
      for (let i = model.size - 1; i >= 0; i--) {
        if (this.matches(i)) kept[i] = 1;
        if (kept[i] && model.parent[i] >= 0) kept[model.parent[i]] = 1;
      }
    }
    const rows = [];
    this.place.fill(-1);
    for (let i = 0; i < model.size; i = this.open[i] && (!kept || kept[i]) ? i + 1 : model.after[i]) {
      if (kept && !kept[i]) continue;
      this.place[i] = rows.length;
      rows.push(i);
    }
    this.rows = Int32Array.from(rows);
  }

  relist() {
    this.#list();
    this.tell("rows");
  }

  toggle(i, open = !this.open[i]) {
    if (!this.model.inside[i] || Boolean(this.open[i]) === open) return;
    this.open[i] = open ? 1 : 0;
    this.relist();
  }

  openAll(open) {
    for (let i = 0; i < this.model.size; i++) this.open[i] = open || !this.model.depth[i] ? 1 : 0;
    this.relist();
  }

  filter(name, on) {
    if (on) this.filters.add(name);
    else this.filters.delete(name);
    if (on) {
      for (let i = 0; i < this.model.size; i++) {
        if (this.matches(i)) for (const p of this.model.ancestors(i)) this.open[p] = 1;
      }
    }
    this.relist();
    this.tell("filters");
  }

  /** Select a span and bring it into sight, wherever it is hidden. */
  go(i, { quietly = false } = {}) {
    if (i < 0 || i >= this.model.size) return;
    const shut = this.model.ancestors(i).filter((p) => !this.open[p]);
    for (const p of shut) this.open[p] = 1;
    if (shut.length) this.#list();
    if (this.place[i] < 0 && this.filters.size) {
      this.filters.clear();
      this.#list();
      this.tell("filters");
    }
    this.selected = i;
    if (this.at(this.model.end[i]) < 0 || this.at(this.model.start[i]) > 1) {
      const half = (this.to - this.from) / 2;
      const middle = (this.model.start[i] + this.model.end[i]) / 2;
      this.show(middle - half, middle + half);
    }
    this.tell("rows");
    this.tell("reveal");
    this.tell(quietly ? "moved" : "selected");
  }
}
