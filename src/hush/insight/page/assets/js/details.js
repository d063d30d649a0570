// All that is known of one span.

const GROUPS = [
  ["Fan-in", /^hush\.fan_in\.|^hush\.released_by$/],
  ["Map", /^hush\.map\./],
  ["Model call", /^gen_ai\.|^hush\.llm\.|^server\./],
  ["Tokens and cost", /^hush\.tokens\.|^hush\.(cost|wasted)_usd$/],
  ["Waits and attempts", /^hush\.(wait\.|run_s|backoff_s|wasted_s|loop_blocked|attempts?$)/],
  ["Failure", /^error\.|^hush\.cancel\.|^hush\.(outcome|partial_failure|failed\.|abandoned)/],
  ["Hush", /^hush\./],
  ["Other", /./],
];

class Details {
  constructor(model, view) {
    this.model = model;
    this.view = view;
    this.panel = document.querySelector("#details");
    this.followers = null;
    view.addEventListener("selected", () => this.draw());
  }

  draw() {
    const { model, view, panel } = this;
    const i = view.selected;
    panel.hidden = i < 0;
    document.querySelector("#work").classList.toggle("detailed", i >= 0);
    if (i < 0) return;
    const more = model.more(i);
    const look = model.look(i);
    const parts = [
      el(
        "header",
        {},
        el("div", { class: "bar-line" }, el("span", { class: `badge ${look}` }, mark(look), model.outcome(i) || "foreign"), model.criticals[i] === 2 ? el("span", { class: "badge critical" }, mark("critical"), "critical path") : null, el("button", { type: "button", class: "close", title: "Close (Esc)", "aria-label": "Close the details", onclick: () => this.close() }, mark("close"))),
        el("h2", {}, ...named(model, i)),
        more.path ? el("p", { class: "where" }, el("bdi", {}, line(more.path)), more.key ? el("bdi", { class: "key" }, line(more.key)) : null) : null,
        el("div", { class: "actions" }, el("button", { type: "button", onclick: () => view.zoomTo(i) }, "Zoom in"), model.parent[i] >= 0 ? el("button", { type: "button", onclick: () => view.go(model.parent[i]) }, "Parent") : null),
      ),
      this.#failure(more, look),
      this.#said(i, more),
      this.#times(i, more),
      this.#events(i, more),
      this.#links(i, more),
      this.#facts(i, more),
    ];
    panel.replaceChildren(...parts.filter(Boolean));
    panel.scrollTop = 0;
  }

  close() {
    this.panel.hidden = true;
    document.querySelector("#work").classList.remove("detailed");
    document.querySelector("#rows").focus({ preventScroll: true });
  }

  #section(title, ...children) {
    return el("section", {}, el("h3", {}, title), ...children);
  }

  #failure(more, look) {
    if (!more.error) return null;
    const section = el("section", { class: `wrong ${look}` }, el("p", { class: "message" }, el("bdi", {}, show(more.error))));
    for (const [name, , facts] of more.events || []) {
      if (this.model.words[name] !== "exception") continue;
      const trace = this.model.facts(facts).find(([key]) => key === "exception.stacktrace");
      if (trace) section.append(el("details", { open: true }, el("summary", {}, "Stack trace"), el("pre", { tabindex: 0 }, show(trace[1]))));
    }
    return section;
  }

  #said(i, more) {
    const step = this.model.data.path.find((one) => one[3] === i && one[4] === "span");
    const said = [...(step ? [[`On the critical path for ${duration(step[1] * 1e9)}, ${percent(step[2])} of the run.`]] : []), ...(more.said || []).map((parts) => sentence(parts, this.view)), ...(more.notes || []).map((note) => [show(note)])];
    if (!said.length) return null;
    return this.#section("What happened", ...said.map((parts) => el("p", { class: "sentence" }, ...parts)));
  }

  #times(i, more) {
    const { model } = this;
    const rows = [["Start", `+${duration(model.start[i])}`], ["Duration", duration(model.duration(i))], ["End", `+${duration(model.end[i])}`]];
    const sums = new Map();
    for (const [kind, from, to] of more.waits || []) sums.set(kind, (sums.get(kind) || 0) + to - from);
    for (const [kind, ns] of sums) rows.push([`Waited, ${model.words[kind]}`, duration(ns)]);
    rows.push(["Of the whole", percent(model.duration(i) / model.took)]);
    return this.#section("Times", el("dl", { class: "pairs short" }, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
  }

  #events(i, more) {
    if (!(more.events || []).length) return null;
    const items = more.events.map(([name, at, facts]) => {
      const pairs = this.model.facts(facts).filter(([key]) => key !== "exception.stacktrace");
      return el(
        "li",
        {},
        el("div", { class: "event" }, el("bdi", {}, line(this.model.words[name])), el("span", { class: "when" }, `+${duration(at)}`)),
        pairs.length ? this.#pairs(pairs) : null,
      );
    });
    return this.#section(`Events (${count(items.length)})`, el("ol", { class: "events" }, ...items));
  }

  /** The spans that this one is linked to, and those that are linked to this one. */
  #links(i, more) {
    this.followers ||= this.#following();
    const items = (more.links || []).map(([at, id]) => el("li", {}, el("span", { class: "arrow" }, "after "), at >= 0 ? jump(this.model.label(at), at, this.view) : el("bdi", { class: "id" }, `${line(id)} (in another trace)`), at >= 0 ? this.#gap(this.model.end[at], this.model.start[i]) : null));
    for (const at of this.followers.get(i) || []) items.push(el("li", {}, el("span", { class: "arrow" }, "before "), jump(this.model.label(at), at, this.view), this.#gap(this.model.end[i], this.model.start[at])));
    return items.length ? this.#section("Links", el("ul", { class: "links" }, ...items)) : null;
  }

  #gap(from, to) {
    return to - from > 0 ? el("span", { class: "when" }, ` ${duration(to - from)} between`) : null;
  }

  #following() {
    const following = new Map();
    for (let i = 0; i < this.model.size; i++) {
      for (const [at] of this.model.more(i).links || []) {
        if (at < 0) continue;
        if (!following.has(at)) following.set(at, []);
        following.get(at).push(i);
      }
    }
    return following;
  }

  #pairs(pairs) {
    return el("dl", { class: "pairs" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, el("bdi", {}, line(name))), el("dd", {}, ...this.#value(name, value))]));
  }

  #value(name, value) {
    if (Array.isArray(value)) return [el("ul", {}, ...value.map((one) => el("li", {}, el("bdi", {}, show(one)))))];
    if (typeof value === "number" && /_s$/.test(name)) return [el("bdi", {}, String(value)), el("span", { class: "when" }, ` = ${duration(value * 1e9)}`)];
    return [el("bdi", {}, show(value === null ? "null" : value))];
  }

  #facts(i, more) {
    const left = this.model.facts(more.facts);
    const groups = [];
    for (const [title, pattern] of GROUPS) {
      const taken = left.filter(([name]) => pattern.test(name));
      for (const pair of taken) left.splice(left.indexOf(pair), 1);
      if (taken.length) groups.push(el("h4", {}, title), this.#pairs(taken));
    }
    const own = [["span id", this.model.id(i)], ["name", this.model.name(i)]];
    if (more.kind) own.push(["kind", more.kind]);
    if (more.scope) own.push(["scope", more.scope]);
    if (more.status) own.push(["status", more.status]);
    return this.#section("Attributes", ...groups, el("h4", {}, "Span"), this.#pairs(own));
  }
}
