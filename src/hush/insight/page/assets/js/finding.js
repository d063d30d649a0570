// Search and filters.

const LATER = 120; // milliseconds after a key

class Finder {
  constructor(model, view) {
    this.model = model;
    this.view = view;
    this.field = document.querySelector("#query");
    this.told = document.querySelector("#found");
    this.found = [];
    this.best = 0;
    this.current = -1;
    this.timer = 0;
    this.field.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.search(), LATER);
    });
    this.field.addEventListener("keydown", (event) => this.#key(event));
    document.querySelector("#next").addEventListener("click", () => this.step(1));
    document.querySelector("#previous").addEventListener("click", () => this.step(-1));
    this.#filters();
  }

  /** Words are all looked for; what stands in quotation marks is one word. */
  static terms(query) {
    return [...query.toLowerCase().matchAll(/"([^"]+)"|(\S+)/g)].map((m) => m[1] || m[2]);
  }

  search() {
    clearTimeout(this.timer);
    this.timer = 0;
    const terms = Finder.terms(this.field.value);
    this.found = [];
    if (terms.length) {
      for (let i = 0; i < this.model.size; i++) {
        const text = this.model.haystack(i);
        if (terms.every((term) => text.includes(term))) this.found.push(i);
      }
    }
    this.current = -1;
    this.best = this.#best(terms);
    this.view.hits = new Set(this.found);
    this.view.tell("rows");
    this.#tell();
  }

  /** Where to begin: who is called so comes before who merely mentions it. */
  #best(terms) {
    const named = (i, whole) => {
      const { path = "", key = "" } = this.model.more(i);
      const names = [path, key, this.model.label(i)].map((name) => name.toLowerCase());
      return terms.every((term) => names.some((name) => (whole ? name === term || name.endsWith(`.${term}`) : name.includes(term))));
    };
    const whole = this.found.findIndex((i) => named(i, true));
    return Math.max(0, whole >= 0 ? whole : this.found.findIndex((i) => named(i, false)));
  }

  step(by) {
    if (this.timer) this.search();
    const n = this.found.length;
    if (!n) return;
    this.current = this.current < 0 ? (by > 0 ? this.best : n - 1) : (this.current + by + n) % n;
    this.view.go(this.found[this.current], { quietly: document.querySelector("#details").hidden });
    this.#tell();
  }

  clear() {
    this.field.value = "";
    this.search();
  }

  #tell() {
    const n = this.found.length;
    const asked = this.field.value.trim() !== "";
    this.told.textContent = !asked ? "" : !n ? "none" : this.current < 0 ? count(n) : `${count(this.current + 1)} of ${count(n)}`;
    this.told.classList.toggle("none", asked && !n);
    for (const name of ["#next", "#previous"]) document.querySelector(name).disabled = !n;
  }

  #key(event) {
    if (event.key === "Enter") {
      this.step(event.shiftKey ? -1 : 1);
      event.preventDefault();
    } else if (event.key === "Escape") {
      this.clear();
      document.querySelector("#rows").focus({ preventScroll: true });
      event.stopPropagation();
    }
  }

  #filters() {
    const box = document.querySelector("#filters");
    const why = {
      errors: "Where something failed or ran out of time",
      handled: "Failed, and the workflow's own code dealt with it",
      critical: "Steps of the critical path",
      slow: "Twice the median of their kind; or a fifth of the whole and longer than others of their kind",
    };
    const signs = { errors: "error", handled: "handled", critical: "critical", slow: "slow" };
    const buttons = new Map();
    for (const name of Object.keys(View.tests)) {
      let n = 0;
      for (let i = 0; i < this.model.size; i++) if (View.tests[name](this.model, i)) n++;
      const button = el("button", { type: "button", class: `filter ${signs[name]}`, "aria-pressed": "false", title: why[name], disabled: !n, onclick: () => this.view.filter(name, !this.view.filters.has(name)) }, mark(signs[name]), name, el("span", { class: "n" }, count(n)));
      buttons.set(name, button);
      box.append(button);
    }
    this.view.addEventListener("filters", () => {
      for (const [name, button] of buttons) button.setAttribute("aria-pressed", String(this.view.filters.has(name)));
    });
  }
}
