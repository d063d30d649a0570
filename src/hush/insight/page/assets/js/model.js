// The trace as payload.py wrote it, and what can be told from it without a screen.

const SLOW_GROUP = 5; // so many of a kind, before one of them can be slow for its kind
const SLOW_TIMES = 2; // times the median of its kind
const SLOW_FEW = 1.5; // times the median, where there are others of its kind
const SLOW_SHARE = 0.2; // of the trace, for what contains nothing
const ROUTINE = 25; // so many spans are shown without anything closed
const NOTHING = {};

class Model {
  constructor(data) {
    this.data = data;
    this.words = data.words;
    this.size = data.spans.length;
    this.took = Math.max(data.took, 1);
    const n = this.size;
    this.parent = new Int32Array(n);
    this.start = new Float64Array(n);
    this.end = new Float64Array(n);
    this.depth = new Uint16Array(n);
    this.after = new Int32Array(n); // the first span behind everything inside this one
    this.inside = new Int32Array(n); // how many are directly inside
    data.spans.forEach((row, i) => {
      this.parent[i] = row[0];
      this.start[i] = row[1];
      this.end[i] = row[1] + row[2];
      this.after[i] = i + 1;
      if (row[0] >= 0) {
        this.depth[i] = this.depth[row[0]] + 1;
        this.inside[row[0]] += 1;
      }
    });
    for (let i = n - 1; i >= 0; i--) {
      const p = this.parent[i];
      if (p >= 0 && this.after[i] > this.after[p]) this.after[p] = this.after[i];
    }
    this.criticals = this.#criticals();
    this.slows = this.#slows();
    this.troubles = this.#troubles();
    this.haystacks = null;
  }

  name(i) {
    return this.words[this.data.spans[i][3]];
  }

  outcome(i) {
    return this.words[this.data.spans[i][4]];
  }

  id(i) {
    return this.data.spans[i][5];
  }

  more(i) {
    return this.data.spans[i][6] || NOTHING;
  }

  label(i) {
    return this.more(i).label || this.name(i);
  }

  duration(i) {
    return this.end[i] - this.start[i];
  }

  /** Name of the mark and of the colours: an outcome, or "foreign" for a span of others. */
  look(i) {
    const outcome = this.outcome(i);
    return ["ok", "handled", "error", "timeout", "cancelled"].includes(outcome) ? outcome : "foreign";
  }

  isError(i) {
    const outcome = this.outcome(i);
    return outcome === "error" || outcome === "timeout";
  }

  /** Names and values of attributes. */
  facts(list) {
    const pairs = [];
    for (let at = 0; at < (list || []).length; at += 2) {
      const key = list[at];
      pairs.push(key < 0 ? [this.words[-1 - key], this.words[list[at + 1]]] : [this.words[key], list[at + 1]]);
    }
    return pairs;
  }

  ancestors(i) {
    const chain = [];
    for (let p = this.parent[i]; p >= 0; p = this.parent[p]) chain.push(p);
    return chain;
  }

  /** All that a search looks at, in lower case; made when first asked for. */
  haystack(i) {
    this.haystacks ||= new Array(this.size);
    if (this.haystacks[i] === undefined) {
      const more = this.more(i);
      const texts = [this.label(i), this.name(i), more.path, more.key, this.outcome(i), more.error, more.aside, this.id(i)];
      for (const [name, value] of this.facts(more.facts)) texts.push(`${name}=${value}`);
      for (const [name, , facts] of more.events || []) {
        texts.push(this.words[name]);
        for (const [key, value] of this.facts(facts)) texts.push(`${key}=${value}`);
      }
      this.haystacks[i] = texts.filter(Boolean).join("\n").toLowerCase();
    }
    return this.haystacks[i];
  }

  /** 2 for a step of the critical path, 1 for what contains one. */
  #criticals() {
    const marks = new Uint8Array(this.size);
    for (const [, , , at, kind] of this.data.path) {
      if (at < 0) continue;
      // What stands for several inside a span does not make the whole span a step.
      if (kind === "span" || !this.inside[at]) marks[at] = 2;
      else marks[at] ||= 1;
      for (const p of this.ancestors(at)) marks[p] ||= 1;
    }
    return marks;
  }

  #slows() {
    const marks = new Uint8Array(this.size);
    const kinds = new Map();
    for (let i = 0; i < this.size; i++) {
      const kind = this.data.spans[i][3];
      if (!kinds.has(kind)) kinds.set(kind, []);
      kinds.get(kind).push(i);
    }
    for (const all of kinds.values()) {
      if (all.length < SLOW_GROUP) continue;
      const sorted = all.map((i) => this.duration(i)).sort((a, b) => a - b);
      // Among many even twice the median is ordinary: then only the slowest hundredth counts.
      const high = sorted[Math.floor(sorted.length * (sorted.length >= 100 ? 0.99 : 0))];
      const bound = Math.max(SLOW_TIMES * sorted[sorted.length >> 1], high);
      for (const i of all) if (this.duration(i) > bound && this.duration(i) > this.took / 1000) marks[i] = 1;
    }
    // A fifth of the whole is much, unless everything of its kind took as long.
    for (const all of kinds.values()) {
      const sorted = all.map((i) => this.duration(i)).sort((a, b) => a - b);
      const bound = Math.max(SLOW_SHARE * this.took, all.length > 1 ? SLOW_FEW * sorted[(sorted.length - 1) >> 1] : 0);
      for (const i of all) if (!this.inside[i] && this.duration(i) >= bound) marks[i] = 1;
    }
    return marks;
  }

  /** 1 for what contains something that failed or was handled, or is such itself. */
  #troubles() {
    const marks = new Uint8Array(this.size);
    for (let i = this.size - 1; i >= 0; i--) {
      if (this.isError(i) || this.outcome(i) === "handled") marks[i] = 1;
      if (marks[i] && this.parent[i] >= 0) marks[this.parent[i]] = 1;
    }
    return marks;
  }

  /** Which spans are open at first: in a large trace an ordinary item's inside is closed. */
  openAtFirst() {
    const open = new Uint8Array(this.size).fill(1);
    if (this.size <= ROUTINE) return open;
    for (let i = 0; i < this.size; i++) {
      const prefix = this.more(i).prefix;
      const small = prefix === "item" || prefix === "iteration" || prefix === "attempt" || prefix === undefined;
      if (small && this.depth[i] > 0 && !this.criticals[i] && !this.troubles[i]) open[i] = 0;
    }
    return open;
  }

  /** The deepest first failure, which the others come from. */
  firstFailure() {
    let first = -1;
    for (let i = 0; i < this.size; i++) {
      if (this.isError(i) && this.more(i).raised && (first < 0 || this.end[i] < this.end[first])) first = i;
    }
    if (first >= 0) return first;
    for (let i = 0; i < this.size; i++) if (this.isError(i)) first = i;
    return first;
  }
}
