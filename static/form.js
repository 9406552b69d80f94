// The form of a stack: fields that look things up in GitLab, and one step at a time.
const $ = (sel, in_ = document) => in_.querySelector(sel);
const $$ = (sel, in_ = document) => [...in_.querySelectorAll(sel)];
const make = (tag, props = {}) => Object.assign(document.createElement(tag), props);

// Type-ahead: a list box below a plain input, filled from data-typeahead.
let boxes = 0;
function combo(input) {
  const list = make("ul", { id: "combo-" + ++boxes, hidden: true });
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Matches");
  const wrap = make("div", { className: "combo" });
  input.before(wrap);
  wrap.append(input, list);
  for (const [k, v] of Object.entries({ role: "combobox", "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list" })) input.setAttribute(k, v);
  let at = -1, timer, asked = 0;
  const show = (yes) => {
    list.hidden = !yes;
    input.setAttribute("aria-expanded", String(yes));
  };
  const mark = (i) => {
    const items = $$("[role=option]", list);
    at = items.length ? (i + items.length) % items.length : -1;
    items.forEach((li, n) => li.setAttribute("aria-selected", String(n === at)));
    items[at]?.scrollIntoView({ block: "nearest" });
    if (items[at]) input.setAttribute("aria-activedescendant", items[at].id);
    else input.removeAttribute("aria-activedescendant");
  };
  const choose = (li) => {
    input.value = li.dataset.value;
    show(false);
    const other = input.form.elements[input.dataset.fills];
    if (other && li.dataset.hint) other.value = li.dataset.hint;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const fill = (items) => {
    list.replaceChildren(
      ...items.map((it, i) => {
        const li = make("li", { id: `${list.id}-${i}`, textContent: it.label });
        li.setAttribute("role", "option");
        Object.assign(li.dataset, { value: it.value, hint: it.hint ?? "" });
        if (it.hint) li.append(make("span", { className: "soft", textContent: it.hint }));
        return li;
      }),
    );
    if (!items.length) list.append(make("li", { className: "none", textContent: "Nothing matches." }));
    mark(-1);
    at = -1;
    show(document.activeElement === input);
  };
  const query = async () => {
    const url = new URL(input.dataset.typeahead, location.href);
    url.searchParams.set("q", input.value);
    const other = input.dataset.with;
    if (other) url.searchParams.set(other, input.form.elements[other].value);
    const turn = ++asked;
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error();
      const items = await answer.json();
      if (turn === asked) fill(items);
    } catch {
      if (turn === asked) show(false); // GitLab does not answer: the field is a plain one
    }
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(query, 150);
  });
  input.addEventListener("focus", () => input.value || query());
  input.addEventListener("blur", () => show(false));
  input.addEventListener("keydown", (ev) => {
    if (ev.key === "ArrowDown") list.hidden ? query() : mark(at + 1);
    else if (ev.key === "ArrowUp" && !list.hidden) mark(at - 1);
    else if (ev.key === "Enter" && !list.hidden && at >= 0) choose($$("[role=option]", list)[at]);
    else if (ev.key === "Escape" && !list.hidden) show(false);
    else return;
    ev.preventDefault();
  });
  list.addEventListener("mousedown", (ev) => {
    ev.preventDefault();
    const li = ev.target.closest("[role=option]");
    if (li) choose(li);
  });
}
$$("[data-typeahead]").forEach(combo);

// Stack form: commands only for the custom tool; a name from project and root; one step at a time.
for (const box of $$("[data-when-tool]")) {
  const tool = box.closest("form").elements.tool;
  const sync = () => (box.hidden = tool.value !== box.dataset.whenTool);
  tool.addEventListener("change", sync);
  sync();
}
for (const name of $$(".wizard [data-suggest-name]")) {
  let own = name.value !== "";
  name.addEventListener("input", () => (own = true));
  name.form.addEventListener("change", () => {
    const { project, project_root: root } = name.form.elements;
    if (!own) name.value = [project.value.split("/").pop(), ...root.value.split("/").slice(-1)].filter(Boolean).join("-");
  });
}
for (const form of $$("[data-wizard]")) {
  const steps = $$("[data-step]", form);
  const [back, next, done] = ["back", "next", "done"].map((s) => $(`[data-step-${s}]`, form));
  let at = 0;
  const go = (n) => {
    at = Math.max(0, Math.min(n, steps.length - 1));
    steps.forEach((s, i) => s.classList.toggle("now", i === at));
    $$("[data-step-link]", form).forEach((a, i) => {
      a.toggleAttribute("aria-current", i === at);
      if (i === at) a.setAttribute("aria-current", "step");
      a.parentElement.classList.toggle("done", i < at);
    });
    back.hidden = at === 0;
    next.hidden = at === steps.length - 1;
    done.hidden = !next.hidden;
  };
  // The first control of the steps before n that the browser refuses.
  const wrong = (n) => {
    for (let i = 0; i < n; i++) {
      const bad = $$("input, select, textarea", steps[i]).find((el) => !el.checkValidity());
      if (bad) return { i, bad };
    }
  };
  const advance = (n) => {
    const w = wrong(n);
    go(w ? w.i : n);
    if (w) w.bad.reportValidity();
    return !w;
  };
  form.classList.add("stepping");
  form.noValidate = true; // hidden steps cannot show the browser's words; advance does
  back.addEventListener("click", () => go(at - 1));
  next.addEventListener("click", () => advance(at + 1) && $("input, select, textarea", steps[at])?.focus());
  for (const a of $$("[data-step-link]", form)) {
    a.addEventListener("click", (ev) => {
      ev.preventDefault();
      advance(Number(a.dataset.stepLink) - 1);
    });
  }
  form.addEventListener("submit", (ev) => {
    if (at < steps.length - 1) {
      ev.preventDefault();
      advance(at + 1);
    } else if (!advance(steps.length)) ev.preventDefault();
  });
  go(Number(form.dataset.wizard) - 1);
}
