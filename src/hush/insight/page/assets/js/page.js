// Puts the parts together: keys, theme, help, printing.

const begun = performance.now();
const model = new Model(JSON.parse(document.querySelector("#data").textContent));
const view = new View(model);

const KEYS = [
  ["↑ ↓", "another row"],
  ["← →", "close or open what is in it"],
  ["Enter", "details"],
  ["Esc", "close the details"],
  ["/", "search"],
  ["n  p", "next, previous match"],
  ["+  −  0", "zoom in, out, all"],
  ["Shift ← →", "move the time"],
  ["z", "zoom to the span"],
  ["e  c", "open all, close all"],
  ["t", "light or dark"],
  ["wheel", "over the axis: zoom; over the bars with Ctrl"],
  ["drag", "over the bars: zoom to a stretch; with Shift: move"],
];
const SIGNS = [
  ["bar ok", "ran"],
  ["wait", "waited: for a slot, the source, a limit, another attempt"],
  ["bar handled", "failed, and was handled"],
  ["bar error", "failed"],
  ["bar timeout", "ran out of time"],
  ["bar cancelled", "cancelled"],
  ["bar foreign", "a span of another library"],
  ["crit", "on the critical path"],
];

function drawHelp() {
  const help = document.querySelector("#help");
  help.append(
    el("header", {}, el("h2", { id: "help-title" }, "Keys and signs"), el("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => help.close() }, mark("close"))),
    el("dl", { class: "keys" }, ...KEYS.flatMap(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)])),
    el("dl", { class: "signs" }, ...SIGNS.flatMap(([sign, what]) => [el("dt", {}, el("i", { class: sign })), el("dd", {}, what)])),
  );
  help.addEventListener("click", (event) => event.target === help && help.close());
  return () => help.showModal();
}

const MEMORY = "hush.trace-page.theme";
function toggleTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  // Who is back at what the system says follows the system again.
  if (next === system) delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    if (next === system) localStorage.removeItem(MEMORY);
    else localStorage.setItem(MEMORY, next);
  } catch {
    // A page from a file may have no memory.
  }
}
try {
  const theme = localStorage.getItem(MEMORY);
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // As above.
}

document.body.classList.toggle("empty", !model.size);
const showHelp = drawHelp();
drawHead(model, view, toggleTheme, showHelp);
drawDiagnosis(model, view);
drawPath(model, view);
new Minimap(model, view);
const waterfall = new Waterfall(model, view);
const details = new Details(model, view);
const finder = new Finder(model, view);
listenToPointer(model, view, waterfall);

const tool = (text, title, act) => el("button", { type: "button", title, "aria-label": title, onclick: act }, text);
document.querySelector("#tree-tools").append(tool("Open all", "Open all (e)", () => view.openAll(true)), tool("Close all", "Close all (c)", () => view.openAll(false)));
const reset = tool("All", "Show the whole time (0)", () => view.reset());
document.querySelector("#zoom-tools").append(tool("−", "Zoom out (-)", () => view.zoom(1.6)), tool("+", "Zoom in (+)", () => view.zoom(1 / 1.6)), reset);
const zoomed = () => (reset.disabled = !view.zoomed);
view.addEventListener("time", zoomed);
zoomed();

/** What a key does; true where it did something. */
function press(event) {
  const { key, shiftKey } = event;
  const i = view.selected;
  const inRows = document.activeElement === waterfall.box || document.activeElement === document.body;
  const acts = {
    "/": () => finder.field.focus(),
    n: () => finder.step(1),
    p: () => finder.step(-1),
    N: () => finder.step(-1),
    "+": () => view.zoom(1 / 1.6),
    "=": () => view.zoom(1 / 1.6),
    "-": () => view.zoom(1.6),
    0: () => view.reset(),
    z: () => i >= 0 && view.zoomTo(i),
    e: () => view.openAll(true),
    c: () => view.openAll(false),
    t: toggleTheme,
    "?": showHelp,
    Escape: () => (details.panel.hidden ? null : details.close()),
  };
  const moves = {
    ArrowDown: () => waterfall.move(1),
    ArrowUp: () => waterfall.move(-1),
    PageDown: () => waterfall.move(waterfall.page),
    PageUp: () => waterfall.move(-waterfall.page),
    Home: () => waterfall.move(-view.rows.length),
    End: () => waterfall.move(view.rows.length),
    Enter: () => i >= 0 && view.go(i),
    " ": () => i >= 0 && view.go(i),
    ArrowRight: () => {
      if (shiftKey) view.pan(0.2);
      else if (i >= 0 && model.inside[i] && !view.open[i]) view.toggle(i, true);
      else waterfall.move(1);
    },
    ArrowLeft: () => {
      if (shiftKey) view.pan(-0.2);
      else if (i >= 0 && model.inside[i] && view.open[i]) view.toggle(i, false);
      else if (i >= 0 && model.parent[i] >= 0) view.go(model.parent[i], { quietly: details.panel.hidden });
    },
  };
  const act = acts[key] || (inRows ? moves[key] : null);
  if (act) act();
  return Boolean(act);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("#help").open) return;
  if (event.target.closest("input, textarea") && event.key !== "Escape") return;
  if (press(event)) event.preventDefault();
});

window.addEventListener("beforeprint", () => {
  for (const finding of document.querySelectorAll(".finding")) finding.open = true;
  waterfall.print(true);
});
window.addEventListener("afterprint", () => waterfall.print(false));
// What the first finding is about is in sight from the beginning, wherever it stands.
const guilty = model.data.diagnosis.findings.find((finding) => finding.at > 0);
if (guilty) {
  view.go(guilty.at, { quietly: true });
  waterfall.box.scrollTop = view.place[guilty.at] * ROW - waterfall.box.clientHeight / 3;
}
document.documentElement.dataset.ready = String(Math.round(performance.now() - begun));
