// One row: its name, how long it took, and its bar with what it waited for.

const STEP = 14; // pixels of a level
const INDENTED = 0.34; // of the names' width, at most; deeper ones stand below each other
const LEAST_WAIT = 0.003; // of the lane; less is nothing to see
const ROOM = 0.22; // of the lane, for a text beside a bar

/** Put an element over a stretch of time; outside of what is in sight it is cut off. */
function stretch(made, view, from, to) {
  const left = Math.max(-0.01, view.at(from));
  const right = Math.min(1.01, view.at(to));
  if (right < 0 || left > 1) return null;
  made.style.left = `${(left * 100).toFixed(3)}%`;
  made.style.width = `${(Math.max(0, right - left) * 100).toFixed(3)}%`;
  return made;
}

/** The name, with the kind of span in front quieter than what it is called. */
function named(model, i) {
  const label = line(model.label(i));
  const prefix = model.more(i).prefix;
  if (!prefix || !label.startsWith(`${prefix} `)) return [el("bdi", { class: "called" }, label)];
  return [el("span", { class: "kind" }, prefix), el("bdi", { class: "called" }, label.slice(prefix.length + 1))];
}

function drawBar(model, view, i) {
  const look = model.look(i);
  const lane = el("div", { class: "lane", role: "gridcell" });
  const start = model.start[i];
  const end = model.end[i];
  const waits = model.more(i).waits || [];
  const drawn = [];
  let first = start;
  const seen = (from, to) => view.at(to) - view.at(from) >= LEAST_WAIT;
  for (const [, from, to] of waits) {
    if (to > start || !seen(from, to)) continue;
    first = Math.min(first, from);
    drawn.push(stretch(el("div", { class: "wait before" }), view, from, to));
  }
  const open = model.inside[i] > 0 && view.open[i];
  drawn.push(stretch(el("div", { class: `bar ${look} ${open ? "around" : ""}` }), view, start, end));
  for (const [kind, from, to] of waits) {
    if (to > start && seen(Math.max(from, start), to)) drawn.push(stretch(el("div", { class: `wait within ${model.words[kind]}` }), view, Math.max(from, start), to));
  }
  if (model.criticals[i] === 2) drawn.push(stretch(el("div", { class: "crit" }), view, start, end));
  else if (model.criticals[i] === 1 && !open) drawn.push(stretch(el("div", { class: "crit loose" }), view, start, end));
  const beside = drawBeside(model, view, i, view.at(first), view.at(end));
  lane.append(...drawn.filter(Boolean), ...(beside ? [beside] : []));
  // A bar that is out of sight leaves a hint at the edge behind which it is.
  if (view.at(end) < 0) lane.append(el("i", { class: "off left" }, "‹"));
  else if (view.at(first) > 1) lane.append(el("i", { class: "off right" }, "›"));
  return lane;
}

/** What went wrong, or what else is worth a word, where there is room. */
function drawBeside(model, view, i, from, to) {
  const more = model.more(i);
  const wrong = more.raised ? more.error : "";
  const text = wrong || (more.notes || []).join("; ") || "";
  if (!text || to < 0 || from > 1) return null;
  const made = el("div", { class: `beside ${wrong ? model.look(i) : ""}` }, el("bdi", {}, line(text)));
  if (1 - to >= ROOM) {
    made.style.left = `calc(${(Math.max(0, to) * 100).toFixed(2)}% + 6px)`;
    made.style.right = "4px";
  } else if (from >= ROOM) {
    made.style.left = "4px";
    made.style.right = `calc(${((1 - from) * 100).toFixed(2)}% + 6px)`;
    made.classList.add("before");
  } else {
    made.style.left = `calc(${(Math.max(0, from) * 100).toFixed(2)}% + 8px)`;
    made.classList.add("over");
  }
  return made;
}

function drawRow(model, view, i, place, levels) {
  const more = model.more(i);
  const look = model.look(i);
  const critical = model.criticals[i] === 2;
  const classes = ["row", look];
  if (model.isError(i) && !more.raised) classes.push("passed");
  if (critical) classes.push("critical");
  if (view.selected === i) classes.push("selected");
  if (view.hits.has(i)) classes.push("hit");
  if (view.filters.size && !view.matches(i)) classes.push("aside");
  const row = el("div", {
    class: classes.join(" "),
    id: `r${i}`,
    role: "row",
    "aria-level": model.depth[i] + 1,
    "aria-rowindex": place + 1,
    "aria-selected": view.selected === i ? "true" : "false",
    "aria-expanded": model.inside[i] ? String(Boolean(view.open[i])) : null,
  });
  row.dataset.span = i;
  const indent = el("span", { class: "indent" });
  indent.style.width = `${Math.min(model.depth[i], levels) * STEP}px`;
  const twisty = el("span", { class: "twisty" }, model.inside[i] ? mark("twisty") : null);
  const inside = !view.open[i] && model.after[i] - i > 2 ? el("span", { class: "count" }, count(model.after[i] - i - 1)) : null;
  const key = more.key ? el("bdi", { class: "aside-text" }, line(more.key)) : null;
  const aside = more.aside ? el("span", { class: "aside-text" }, line(more.aside)) : null;
  const outcome = model.outcome(i) || "span of another library";
  row.append(
    el("div", { class: "name", role: "rowheader" }, indent, twisty, mark(look, outcome), ...named(model, i), critical ? mark("critical", "on the critical path") : null, inside, aside, key),
    el("div", { class: "time", role: "gridcell" }, duration(model.duration(i))),
    drawBar(model, view, i),
  );
  return row;
}
