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
async function askThenPost(form, text) {
  const button = $("button[type=submit]", form);
  if (await ask(text, button.textContent, button.classList.contains("danger"))) {
    form.dataset.sure = "";
    form.requestSubmit(button);
  }
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

// Keys.
const places = { h: "/", s: "/stacks", r: "/runs" };
let going = false;
document.addEventListener("keydown", (ev) => {
  if (ev.ctrlKey || ev.metaKey || ev.altKey || ev.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, dialog")) return;
  if (going && places[ev.key]) location.href = places[ev.key];
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
