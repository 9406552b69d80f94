// What pages do beyond links and forms. Everything works without it but live parts.
const $ = (sel, in_ = document) => in_.querySelector(sel);
const $$ = (sel, in_ = document) => [...in_.querySelectorAll(sel)];
const make = (tag, props = {}) => Object.assign(document.createElement(tag), props);
const on = (type, sel, fn) =>
  document.addEventListener(type, (ev) => {
    const el = ev.target.closest?.(sel);
    if (el) fn(el, ev);
  });

function toast(text) {
  const p = make("p", { textContent: text });
  $("#toasts").append(p);
  setTimeout(() => p.remove(), 4000);
}

// Time: as the server says it (view/format.go). The server's clock counts, not the reader's.
const skew = Date.now() - Date.parse(document.documentElement.dataset.now ?? new Date().toISOString());
const two = (n) => String(Math.floor(n)).padStart(2, "0");
function span(s) {
  if (s < 60) return Math.floor(s) + "s";
  if (s < 3600) return Math.floor(s / 60) + "m";
  if (s < 172800) return Math.floor(s / 3600) + "h";
  return Math.floor(s / 86400) + " days";
}
function ago(s, was) {
  if (s > 60 * 86400) return was;
  if (s < -1) return "in " + span(-s);
  return s < 5 ? "just now" : span(s) + " ago";
}
function lasting(s) {
  if (s < 60) return Math.max(0, Math.floor(s)) + "s";
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  if (s < 172800) return `${Math.floor(s / 3600)}h ${two((s / 60) % 60)}m`;
  return `${Math.floor(s / 86400)}d ${two((s / 3600) % 24)}h`;
}
function tick() {
  const now = Date.now() - skew;
  for (const t of $$("time[data-ago], time[data-since]")) {
    const s = (now - Date.parse(t.dateTime)) / 1000;
    const text = "ago" in t.dataset ? ago(s, t.textContent) : lasting(s);
    if (t.textContent !== text) t.textContent = text;
  }
}
setInterval(() => document.hidden || tick(), 1000);
document.addEventListener("tick", tick);

// The tab of this page is in sight, also where tabs are many and the window is narrow.
for (const tab of $$(".tabs [aria-current]")) {
  const bar = tab.parentElement;
  if (tab.offsetLeft + tab.offsetWidth > bar.scrollLeft + bar.clientWidth - 28) bar.scrollLeft = tab.offsetLeft - 60;
}

// Theme: auto → light → dark.
function theme(next) {
  const root = document.documentElement.dataset;
  const order = ["auto", "light", "dark"];
  let now = root.theme ?? "auto";
  if (next) {
    now = order[(order.indexOf(now) + 1) % 3];
    if (now === "auto") delete root.theme;
    else root.theme = now;
    try {
      localStorage.setItem("theme", now);
    } catch {
      toast("This browser does not keep the theme.");
    }
  }
  for (const b of $$("[data-theme-next]")) b.textContent = "Theme: " + now;
}
theme(false);
on("click", "[data-theme-next]", () => theme(true));

// Copy, reveal.
async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain http has no clipboard: the old way.
    const area = make("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(what);
}
on("click", "[data-copy]", (b, ev) => {
  ev.preventDefault();
  copy(b.dataset.copy, "Copied");
});
async function secret(box) {
  const answer = await fetch(box.dataset.secret, { method: "POST", headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error("The server did not give the secret. Load the page again and sign in.");
  return (await answer.json()).value;
}
on("submit", "[data-reveal]", async (form, ev) => {
  ev.preventDefault();
  const box = form.closest("[data-secret]");
  const text = $("[data-secret-text]", box);
  const button = $("button", form);
  try {
    const shown = "shown" in box.dataset;
    text.textContent = shown ? "••••••••••••••••" : await secret(box);
    button.textContent = shown ? "Reveal" : "Hide";
    if (shown) delete box.dataset.shown;
    else box.dataset.shown = "";
    text.removeAttribute("aria-label");
  } catch (err) {
    toast(err.message);
  }
});
on("click", "[data-secret-copy]", async (b) => {
  try {
    await copy(await secret(b.closest("[data-secret]")), "Secret copied");
  } catch (err) {
    toast(err.message);
  }
});

// Ask before dangerous acts; post once.
let asked = 0; // only the latest question may be answered with yes
function ask(text, label, danger) {
  const dialog = $("#ask");
  $("#ask-text").textContent = text;
  const yes = $("#ask-yes");
  yes.textContent = label;
  yes.className = danger ? "btn danger solid" : "btn primary";
  dialog.returnValue = "no";
  dialog.showModal();
  const mine = ++asked;
  return new Promise((done) => {
    dialog.addEventListener("close", function closed() {
      if (dialog.open) return; // the close of the question before this one comes late
      dialog.removeEventListener("close", closed);
      done(mine === asked && dialog.returnValue === "yes");
    });
  });
}
// What is posted is what was asked about: a page that changes by itself may have changed the form meanwhile.
const meaning = (form) => [form.isConnected, form.getAttribute("action"), JSON.stringify(form.dataset), new URLSearchParams(new FormData(form))].join("\n");
async function askThenPost(form, text) {
  const button = $("button[type=submit]", form);
  const was = meaning(form);
  if (!(await ask(text, button.textContent, button.classList.contains("danger")))) return;
  if (meaning(form) !== was) return toast("This changed meanwhile. Look at it again.");
  form.dataset.sure = "";
  form.requestSubmit(button);
}
document.addEventListener("submit", (ev) => {
  const form = ev.target;
  if (ev.defaultPrevented || form.method === "dialog") return;
  if (form.dataset.ask && !("sure" in form.dataset)) {
    ev.preventDefault();
    askThenPost(form, form.dataset.ask);
    return;
  }
  if (form.method === "post") setTimeout(() => $$("button[type=submit]", form).forEach((b) => (b.disabled = true)));
});
addEventListener("pageshow", (ev) => {
  if (ev.persisted) location.reload();
});
on("change", "[data-submit]", (el) => el.form.requestSubmit());

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
    at = items.length && i !== null ? (i + items.length) % items.length : -1;
    items.forEach((li, n) => li.setAttribute("aria-selected", String(n === at)));
    items[at]?.scrollIntoView({ block: "nearest" });
    if (items[at]) input.setAttribute("aria-activedescendant", items[at].id);
    else input.removeAttribute("aria-activedescendant");
  };
  const choose = (li) => {
    if ("goes" in input.dataset) return (location.href = li.dataset.value);
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
    mark("goes" in input.dataset ? 0 : null);
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
    else if (ev.key === "ArrowUp" && !list.hidden) mark(Math.max(at, 0) - 1);
    else if (ev.key === "Enter" && !list.hidden && at >= 0) choose($$("[role=option]", list)[at]);
    else if (ev.key === "Escape" && !list.hidden && !("goes" in input.dataset)) show(false);
    else return;
    ev.preventDefault();
  });
  if ("goes" in input.dataset)
    input.form.addEventListener("submit", (ev) => {
      const li = $$("[role=option]", list)[at];
      if (list.hidden || !li) return;
      ev.preventDefault();
      choose(li);
    });
  list.addEventListener("mousedown", (ev) => {
    ev.preventDefault();
    const li = ev.target.closest("[role=option]");
    if (li) choose(li);
  });
}
$$("[data-typeahead]").forEach(combo);

// The palette: everything there is, by typing.
const palette = $("#palette");
function find() {
  const input = $("input", palette);
  input.value = "";
  palette.showModal();
  input.focus();
}
on("click", "[data-find]", find);
document.addEventListener("keydown", (ev) => {
  if (!palette || !(ev.ctrlKey || ev.metaKey) || ev.altKey || ev.shiftKey || ev.key.toLowerCase() !== "k") return;
  ev.preventDefault();
  if (palette.open) palette.close();
  else if (!$("dialog[open]")) find();
});

// Keys.
const places = { h: "/", s: "/stacks", r: "/runs", c: "/contexts", p: "/policies", i: "/inbox" };
let going = false;
document.addEventListener("keydown", (ev) => {
  if (ev.ctrlKey || ev.metaKey || ev.altKey || ev.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, dialog")) return;
  if (going && places[ev.key]) {
    going = false;
    ev.preventDefault();
    return (location.href = places[ev.key]); // and not what the key does by itself
  }
  going = ev.key === "g";
  const form = $(`form[data-key="${CSS.escape(ev.key)}"]`);
  const button = { u: "[data-unfold]", f: ".log[open] [data-follow]" }[ev.key];
  if (ev.key === "/") ($("[data-search], #find-change") ?? $(".log[open] [data-logfind]"))?.focus();
  else if (ev.key === "?") $("#keys").showModal();
  else if (form) askThenPost(form, form.dataset.keyAsk);
  else if (button) $$(button).pop()?.click();
  else return;
  ev.preventDefault();
});
on("click", "[data-open]", (b) => document.getElementById(b.dataset.open).showModal());
