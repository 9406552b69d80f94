// The run page: what unfolds and filters, and the log. live.js brings what changes by itself.
const $ = (sel, in_ = document) => in_.querySelector(sel);
const $$ = (sel, in_ = document) => [...in_.querySelectorAll(sel)];
const on = (type, sel, fn) =>
  document.addEventListener(type, (ev) => {
    const el = ev.target.closest?.(sel);
    if (el) fn(el, ev);
  });

// Changes: unfold, find.
on("click", "[data-unfold]", (b) => {
  const list = $$("details", document.getElementById(b.dataset.unfold));
  const open = !list.every((d) => d.open);
  for (const d of list) d.open = open;
  b.textContent = open ? "Fold all" : "Unfold all";
});
on("input", "[data-find]", (input) => {
  const want = input.value.toLowerCase();
  for (const li of $$(".changelist > li", document.getElementById(input.dataset.find))) {
    li.hidden = !li.textContent.toLowerCase().includes(want);
  }
});

// Room that was kept for the plan: who looks closer gets all of it.
on("click", ".reserved [data-grow], .reserved .changes summary, .reserved [data-unfold]", (el) => el.closest(".reserved").classList.remove("reserved"));

// Logs: follow, search, full screen, links to lines.
const lines = (phase) => $(`#log-${CSS.escape(phase)} .lines`);
const follow = (b, yes) => b.setAttribute("aria-pressed", String(yes));
const follows = (phase) => $(`[data-follow="${CSS.escape(phase)}"]`)?.ariaPressed === "true";
const toEnd = (box) => (box.scrollTop = box.scrollHeight);
on("click", "[data-follow]", (b) => {
  follow(b, b.ariaPressed !== "true");
  if (b.ariaPressed === "true") toEnd(lines(b.dataset.follow));
});
document.addEventListener(
  "scroll",
  (ev) => {
    const box = ev.target;
    if (!box.classList?.contains("lines")) return;
    const end = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    follow($("[data-follow]", box.parentElement), end);
  },
  true,
);
on("click", "[data-full]", (b) => {
  const full = $("#log-" + CSS.escape(b.dataset.full)).classList.toggle("full");
  document.body.classList.toggle("no-scroll", full);
  b.textContent = full ? "Leave full screen" : "Full screen";
});
document.addEventListener("keydown", (ev) => {
  if (ev.key === "Escape" && !$("dialog[open]")) $(".log.full [data-full]")?.click();
});
on("input", "[data-logfind]", (input) => hits(input, 0));
on("keydown", "[data-logfind]", (input, ev) => {
  if (ev.key !== "Enter") return;
  ev.preventDefault();
  hits(input, ev.shiftKey ? -1 : 1);
});
function hits(input, step) {
  const want = input.value.toLowerCase();
  const box = lines(input.dataset.logfind);
  const all = $$("li", box);
  const found = all.filter((li) => want && li.textContent.toLowerCase().includes(want));
  const at = found.findIndex((li) => li.classList.contains("at"));
  for (const li of all) li.classList.remove("hit", "at");
  for (const li of found) li.classList.add("hit");
  const next = found[step === 0 ? 0 : (at + step + found.length) % found.length];
  next?.classList.add("at");
  next?.scrollIntoView({ block: "nearest" });
  input.title = want ? found.length + " lines" : "";
}
on("click", ".lines li", (li, ev) => {
  if (ev.clientX < li.getBoundingClientRect().left) location.hash = li.id;
});
function toHash() {
  const li = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!li?.matches(".lines li")) return;
  li.closest("details").open = true;
  li.scrollIntoView({ block: "center" });
}
addEventListener("hashchange", toHash);
toHash();

// The log, as it grows.
const parse = (html) => Object.assign(document.createElement("template"), { innerHTML: html }).content;
let most = 6000; // lines kept in the page
on("click", "[data-earlier]", async (b) => {
  b.disabled = true;
  const cut = b.parentElement;
  const box = $(".lines", b.closest("details"));
  try {
    const answer = await fetch(b.dataset.earlier);
    if (!answer.ok) throw new Error(answer.status);
    const more = parse(await answer.text()).firstElementChild;
    const list = $("ol", box);
    const below = box.scrollHeight - box.scrollTop;
    most += more.childElementCount;
    list.start = more.start;
    list.prepend(...more.childNodes);
    box.scrollTop = box.scrollHeight - below;
    b.dataset.earlier = more.dataset.more;
    $("span", cut).textContent = more.dataset.cut;
    cut.hidden = !more.dataset.more;
  } catch {
    $("span", cut).textContent = "The earlier lines could not be loaded. ";
  }
  b.disabled = false;
});
function append({ phase, html }) {
  const box = lines(phase);
  if (!box) return;
  const details = box.closest("details");
  const list = $("ol", box);
  if (!list.firstElementChild) {
    details.open = true;
    follow($("[data-follow]", details), true);
  }
  list.append(parse(html));
  for (let extra = list.childElementCount - most; extra > 0; extra--) {
    list.firstElementChild.remove();
    list.start++;
    $("[data-earlier]", details)?.remove(); // it would leave out what went
  }
  if (follows(phase)) toEnd(box);
}
on("live", "[data-live]", (_, ev) => ev.detail.type === "log" && append(ev.detail.data));
for (const box of $$(".run[data-live] .log[open] .lines")) {
  if (!location.hash) toEnd(box);
  follow($("[data-follow]", box.parentElement), true);
}
