// The pointer over the waterfall: zoom by wheel, by dragging over a stretch, and what is told.

const CLICK = 4; // pixels; less is no drag

function listenToPointer(model, view, waterfall) {
  const { axis, box, picked, cursor } = waterfall;
  const share = (event) => {
    const lane = axis.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - lane.left) / lane.width));
  };
  const overLane = (event) => event.clientX >= axis.getBoundingClientRect().left;
  const instantAt = (part) => view.from + (view.to - view.from) * part;

  const wheel = (zooms) => (event) => {
    const across = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (zooms || event.ctrlKey || event.metaKey || event.altKey) {
      view.zoom(Math.exp(Math.sign(event.deltaY) * Math.min(0.3, Math.abs(event.deltaY) / 300)), share(event));
    } else if (across && view.zoomed && (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))) {
      view.pan(across / axis.clientWidth);
    } else return;
    event.preventDefault();
  };
  for (const part of [document.querySelector("#mini"), document.querySelector("#axis")]) {
    part.addEventListener("wheel", wheel(true), { passive: false });
  }
  box.addEventListener("wheel", wheel(false), { passive: false });

  // Dragging over a stretch of time zooms into it; with shift it moves the time.
  let drag = null;
  const begin = (event) => {
    if (event.button !== 0 || !overLane(event) || event.target.closest("#splitter")) return;
    drag = { x: event.clientX, part: share(event), moves: event.shiftKey && view.zoomed, from: view.from, to: view.to, far: false };
  };
  const move = (event) => {
    hover(event);
    if (!drag) return;
    if (!drag.far && Math.abs(event.clientX - drag.x) > CLICK) {
      drag.far = true;
      event.currentTarget.setPointerCapture(event.pointerId);
    }
    if (!drag.far) return;
    if (drag.moves) {
      const by = ((drag.x - event.clientX) / axis.clientWidth) * (drag.to - drag.from);
      view.show(drag.from + by, drag.to + by);
      return;
    }
    const [low, high] = [drag.part, share(event)].sort((a, b) => a - b);
    picked.hidden = false;
    picked.style.left = `${low * 100}%`;
    picked.style.width = `${(high - low) * 100}%`;
    picked.textContent = duration((high - low) * (view.to - view.from));
  };
  const end = (event) => {
    if (drag?.far && !drag.moves && event.type === "pointerup") {
      const [low, high] = [drag.part, share(event)].sort((a, b) => a - b);
      if (high - low > 0.002) view.show(instantAt(low), instantAt(high));
      suppress = true;
      setTimeout(() => (suppress = false));
    }
    picked.hidden = true;
    drag = null;
  };
  let suppress = false; // the click that ends a drag
  for (const part of [box, document.querySelector("#axis")]) {
    part.addEventListener("pointerdown", begin);
    part.addEventListener("pointermove", move);
    part.addEventListener("pointerup", end);
    part.addEventListener("pointercancel", end);
  }

  box.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row || suppress) return;
    const i = Number(row.dataset.span);
    if (event.target.closest(".twisty") && model.inside[i]) view.toggle(i);
    else view.go(i);
  });
  box.addEventListener("dblclick", (event) => {
    const row = event.target.closest(".row");
    if (row && overLane(event)) view.zoomTo(Number(row.dataset.span));
  });

  const tip = document.querySelector("#tip");
  function hover(event) {
    const lane = overLane(event) && event.pointerType === "mouse";
    cursor.classList.toggle("on", lane);
    cursor.style.left = `${share(event) * 100}%`;
    const row = lane && !drag?.far ? event.target.closest(".row") : null;
    tip.hidden = !row;
    if (row) tell(Number(row.dataset.span), event);
  }
  function tell(i, event) {
    const more = model.more(i);
    const rows = [["Starts", `+${duration(model.start[i])}`], ["Takes", duration(model.duration(i))]];
    const sums = new Map();
    for (const [kind, from, to] of more.waits || []) sums.set(kind, (sums.get(kind) || 0) + to - from);
    for (const [kind, ns] of sums) rows.push([`Waits (${model.words[kind]})`, duration(ns)]);
    tip.replaceChildren(
      el("strong", {}, el("bdi", {}, line(model.label(i)).slice(0, 80))),
      el("dl", {}, ...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      more.error ? el("p", {}, el("bdi", {}, line(more.error).slice(0, 200))) : null,
    );
    tip.replaceChildren(...[...tip.childNodes].filter((child) => child.nodeName !== "#text"));
    const { innerWidth, innerHeight } = window;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
    const below = event.clientY + 18;
    tip.style.top = `${below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : below}px`;
  }
  document.querySelector("#table").addEventListener("pointerleave", () => {
    tip.hidden = true;
    cursor.classList.remove("on");
  });

  // The width of the names.
  const splitter = document.querySelector("#splitter");
  const table = document.querySelector("#table");
  const width = (px) => {
    const most = table.clientWidth - 160;
    table.style.setProperty("--names", `${Math.round(Math.min(most, Math.max(110, px)))}px`);
    waterfall.ask();
  };
  const now = () => document.querySelector("#axis .name").getBoundingClientRect().width;
  splitter.addEventListener("pointerdown", (event) => {
    splitter.setPointerCapture(event.pointerId);
    const from = now() - event.clientX;
    splitter.onpointermove = (moved) => width(from + moved.clientX);
    splitter.onpointerup = splitter.onpointercancel = () => (splitter.onpointermove = null);
    event.preventDefault();
    event.stopPropagation();
  });
  splitter.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -16, ArrowRight: 16 }[event.key];
    if (!by) return;
    width(now() + by);
    event.preventDefault();
    event.stopPropagation();
  });
}
