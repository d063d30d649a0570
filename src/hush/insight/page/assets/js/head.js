// What stands above the waterfall: whose trace it is, the diagnosis, the critical path.

/** Write a sentence whose parts are texts and references to spans. */
function sentence(parts, view) {
  return parts.map((part) => (typeof part === "string" ? show(part) : jump(part[0], part[1], view)));
}

/** A reference to a span. */
function jump(text, i, view) {
  if (i < 0) return show(text);
  return el("button", { type: "button", class: "jump", onclick: () => view.go(i) }, el("bdi", {}, line(text)));
}

function drawHead(model, view, toggleTheme, showHelp) {
  const { data } = model;
  const look = model.size ? data.outcome || "foreign" : "foreign";
  const title = el("h1", {}, el("bdi", {}, line(data.title)));
  const badge = data.outcome ? el("span", { class: `badge ${look}` }, mark(look), data.outcome) : null;
  const facts = el("dl", { class: "facts" });
  const fact = (name, ...value) => facts.append(el("div", {}, el("dt", {}, name), el("dd", {}, ...value)));
  if (model.size) {
    fact("Took", el("strong", {}, duration(data.took)));
    fact("Spans", line(data.summary));
    if (data.usage) fact("Models", line(data.usage));
    if (data.began) fact("Began", el("time", { datetime: data.began }, data.began.replace("T", " ").replace("Z", " UTC")));
    fact("Trace", copyable(data.trace, 16));
  }
  document.querySelector("#head").append(
    el("div", { class: "who" }, el("div", { class: "title" }, badge, title), facts),
    el(
      "div",
      { class: "corner" },
      el("button", { type: "button", id: "keys", title: "Keys and signs (?)", "aria-label": "Keys and signs", onclick: showHelp }, "?"),
      el("button", { type: "button", id: "theme", title: "Light or dark", "aria-label": "Light or dark", onclick: toggleTheme }, mark("theme")),
    ),
  );
  if (data.error && model.isError(0)) {
    const first = model.firstFailure();
    document.querySelector("#head").append(
      el("p", { class: "failure" }, mark("error", "Failed:"), el("bdi", {}, line(data.error)), first >= 0 ? jump("Show where", first, view) : null),
    );
  }
}

function copyable(text, shown) {
  const copy = async (event) => {
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(text);
      button.dataset.said = "copied";
    } catch {
      button.dataset.said = "not allowed";
    }
    setTimeout(() => delete button.dataset.said, 1500);
  };
  return el("button", { type: "button", class: "id", title: `Copy ${text}`, onclick: copy }, text.length > shown ? `${text.slice(0, shown)}…` : text);
}

function drawDiagnosis(model, view) {
  if (!model.data.diagnosis.length) return;
  const section = document.querySelector("#diagnosis");
  section.hidden = false;
  section.querySelector("ol").append(...model.data.diagnosis.map((parts) => el("li", {}, ...sentence(parts, view))));
}

function drawPath(model, view) {
  const steps = model.data.path;
  if (!steps.length) return;
  const section = document.querySelector("#path");
  section.hidden = false;
  const longest = Math.max(...steps.map((step) => step[1]));
  const whole = steps.reduce((sum, step) => sum + step[1], 0) || 1;
  const strip = el("div", { class: "strip", "aria-hidden": "true" });
  const list = el("ol", { class: "steps" });
  for (const [label, seconds, share, at, kind] of steps) {
    const told = duration(seconds * 1e9);
    const go = at < 0 ? null : () => view.go(at);
    const piece = el("i", { class: `${kind} ${seconds === longest ? "longest" : ""}`, title: `${line(label)}: ${told}, ${percent(share)}`, onclick: go });
    piece.style.flexGrow = String(Math.max(seconds / whole, 0.002));
    const light = (on) => () => piece.classList.toggle("lit", on);
    strip.append(piece);
    const words = [el("bdi", { class: "what" }, line(label)), el("span", { class: "much" }, told), el("span", { class: "share" }, percent(share))];
    const step =
      at < 0
        ? el("span", { class: "step" }, ...words)
        : el("button", { type: "button", class: "step", title: line(label), onclick: go, onpointerenter: light(true), onpointerleave: light(false), onfocus: light(true), onblur: light(false) }, ...words);
    if (seconds === longest) step.classList.add("longest");
    list.append(el("li", {}, step));
  }
  section.append(strip, list);
}
