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
  // What went well only in part is amber as what was handled is.
  const look = !model.size ? "foreign" : data.outcome === "partial" ? "handled" : data.outcome === "unfinished" ? "cancelled" : data.outcome || "foreign";
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
  const { said, findings, together } = model.data.diagnosis;
  const remark = model.data.remark;
  if (!said.length && !findings.length && !remark) return;
  const section = document.querySelector("#diagnosis");
  section.hidden = false;
  const list = section.querySelector("ol");
  list.append(...findings.map((finding, place) => el("li", {}, drawFinding(finding, place, view))));
  if (together?.length) list.append(el("li", { class: "together" }, `Together they save ${duration(together[0] * 1e9)} (${percent(together[1])}).`));
  list.append(...said.map((parts) => el("li", { class: findings.length ? "note" : "" }, ...sentence(parts, view))));
  if (remark) list.append(el("li", { class: "note" }, show(remark)));
}

/** A finding: what it is, where, what it would save; behind that, closed but for the first, the words. */
function drawFinding(finding, place, view) {
  const { kind, tone, path, at, saves, share, text, remedy } = finding;
  const saved = saves > 0 ? el("span", { class: "saves" }, `saves ${duration(saves * 1e9)} (${percent(share)})`) : null;
  // A button in a summary is a click of its own.
  const where = path ? el("span", { class: "where", onclick: (event) => event.target.closest("button") && event.preventDefault() }, jump(path, at, view)) : null;
  return el(
    "details",
    { class: `finding ${tone}`, open: place === 0 },
    el("summary", {}, el("span", { class: "n" }, `${place + 1}`), el("strong", {}, kind), where, saved),
    el("p", {}, ...sentence(text, view)),
    remedy.length ? el("p", { class: "remedy" }, ...sentence(remedy, view)) : null,
  );
}

const MOST_STEPS = 8; // of the critical path, before the short ones are folded

function drawPath(model, view) {
  const steps = model.data.path;
  if (!steps.length) return;
  const section = document.querySelector("#path");
  section.hidden = false;
  const longest = Math.max(...steps.map((step) => step[1]));
  const whole = steps.reduce((sum, step) => sum + step[1], 0) || 1;
  const bound = [...steps].sort((a, b) => b[1] - a[1])[MOST_STEPS - 1]?.[1] ?? 0;
  const strip = el("div", { class: "strip", "aria-hidden": "true" });
  const list = el("ol", { class: "steps" });
  const folded = [];
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
    const item = el("li", {}, step);
    if (steps.length > MOST_STEPS && seconds < bound) folded.push(item);
    list.append(item);
  }
  section.append(strip, list);
  if (!folded.length) return;
  const fold = (on) => folded.forEach((item) => (item.hidden = on));
  const more = el("button", { type: "button", class: "jump", onclick: () => { fold(false); more.remove(); } }, `and ${plural(folded.length, "shorter step")}`);
  fold(true);
  section.append(more);
}
