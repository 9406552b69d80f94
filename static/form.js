// The form of a stack: one step at a time.
const $ = (sel, in_ = document) => in_.querySelector(sel);
const $$ = (sel, in_ = document) => [...in_.querySelectorAll(sel)];

// Stack form: commands only for the custom tool; a name from project and root; one step at a time.
for (const box of $$("[data-when-tool]")) {
  const tool = box.closest("form").elements.tool;
  const sync = () => {
    box.hidden = tool.value !== box.dataset.whenTool;
    box.removeAttribute("data-off");
  };
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
