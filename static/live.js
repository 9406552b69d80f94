// Pages that change by themselves: a stream of server-sent events, from the address in data-live, brings the parts that changed.
// A page nobody sees has no stream.
const $ = (sel, in_ = document) => in_.querySelector(sel);
const $$ = (sel, in_ = document) => [...in_.querySelectorAll(sel)];
const make = (tag, props = {}) => Object.assign(document.createElement(tag), props);
const parse = (html) => make("template", { innerHTML: html }).content;
const page = $("[data-live]");

// A part becomes the element of its id by changing only what differs, so that focus, scroll, open details and switches stay as the
// reader left them.
const kept = new Set(["open", "hidden"]);
const key = (n) => n.id || n.dataset?.key || n.nodeName + (n.getAttribute?.("action") ?? n.className ?? "");
function morph(old, now, held) {
  if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName || now.classList?.contains("gap")) return old.replaceWith(now);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== now.data) old.data = now.data;
    return;
  }
  if (held && "still" in old.dataset) return;
  for (const { name } of [...old.attributes]) if (!now.hasAttribute(name) && !kept.has(name)) old.removeAttribute(name);
  for (const { name, value } of now.attributes) {
    if (!kept.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  let at = old.firstChild;
  for (const node of [...now.childNodes]) {
    let same = at;
    while (same && key(same) !== key(node)) same = same.nextSibling;
    if (!same) {
      old.insertBefore(node, at);
      continue;
    }
    while (at !== same) at = drop(at);
    at = same.nextSibling;
    morph(same, node, held);
  }
  while (at) at = drop(at);
}
function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

// A row that is not there any more leaves a gap as high as it was: what a reader is about to click stays where it is.
const keys = (list) => [...list.children].map((row) => row.dataset.key).filter(Boolean);
function hold(now) {
  for (const list of $$("[data-rows]", now)) {
    const was = $(`[data-rows="${list.dataset.rows}"]`, page);
    const there = new Set(keys(list));
    [...(was?.children ?? [])].forEach((row, i) => {
      if (row.dataset.key && !there.has(row.dataset.key)) list.insertBefore(gap(row), list.children[i] ?? null);
    });
  }
}
function gap(row) {
  if (row.classList.contains("gap")) return row.cloneNode(true);
  const out = make(row.nodeName, { className: "gap" });
  out.dataset.key = row.dataset.key;
  out.style.height = row.offsetHeight + "px";
  out.append(row.nodeName === "TR" ? make("td", { colSpan: row.cells.length, textContent: "No longer here." }) : "No longer here.");
  return out;
}

// Banners that come while the page is read stand beside it, and those that go leave their room.
function banners(now) {
  const all = $$(".note", now);
  const said = (list, note) => list.some((n) => n.textContent === note.textContent);
  for (const note of $$("#toasts .note")) if (!said(all, note)) note.remove();
  const above = $$("#banners .note");
  for (const note of above) note.classList.toggle("over", !said(all, note));
  const beside = $$("#toasts .note");
  for (const note of all) if (!said([...above, ...beside], note)) $("#toasts").append(note);
}

function fragment({ id, html, held }) {
  const old = document.getElementById(id);
  const now = parse(html);
  const root = now.firstElementChild;
  if (!old || !root) return;
  if (id === "banners") return banners(now);
  if (held) hold(now);
  if (root.dataset.state && root.dataset.state !== old.dataset.state) say({ text: "The run is " + root.dataset.state });
  morph(old, root, held);
  document.dispatchEvent(new Event("tick")); // times are counted from when the page was made
}
const say = ({ text }) => ($("#announce").textContent = text);

// The stream.
let source, last, timer, slow, over, tries = 0;
const mostShown = 6000; // characters of an address that name rows, because proxies refuse a long one
function shown(params) {
  let room = mostShown;
  for (const list of $$("[data-rows]", page)) {
    const named = keys(list).filter((k) => (room -= encodeURIComponent(k).length + 1) >= 0);
    params.set("shown-" + list.dataset.rows, named.join("*"));
  }
}
const open = (fresh) => {
  const url = new URL(page.dataset.live, location.href);
  if (last) url.searchParams.set("after", last);
  if (fresh) url.searchParams.set("fresh", "1");
  else shown(url.searchParams);
  let began = false;
  source = new EventSource(url);
  const takes = { fragment, say, end, log: (data) => page.dispatchEvent(new CustomEvent("live", { bubbles: true, detail: { type: "log", data } })) };
  for (const [type, take] of Object.entries(takes)) {
    source.addEventListener(type, (ev) => {
      last = ev.lastEventId || last;
      take(JSON.parse(ev.data));
    });
  }
  slow = setTimeout(stale, 20000, "No news came through in 20 seconds: a proxy may hold it back.");
  source.onopen = () => {
    began = true;
    tries = 0;
    tell(true); // not before: a page that is refused must not put one to rest that works
    clearTimeout(slow);
    $("#toasts .stale")?.remove();
  };
  source.onerror = () => {
    began ? stop() : close(); // to the others it is still there while it only begins anew
    if (!began) explain(url);
    timer = setTimeout(open, Math.min(30000, 1000 * 2 ** tries++) * (0.5 + Math.random())); // not all readers at once
  };
};
function stop() {
  clearTimeout(timer);
  clearTimeout(slow);
  source?.close();
}
function close() {
  stop();
  tell(false);
}
function end() {
  over = true;
  close();
}

// Why there is no stream: the server's own words, since a reader must not take for the present what is not.
async function explain(url) {
  let why = "The server does not answer.";
  const cut = new AbortController();
  try {
    const answer = await fetch(url, { headers: { Accept: "text/event-stream" }, signal: cut.signal });
    if (answer.ok) return cut.abort(); // a stream after all: the next try has it
    why = answer.status === 401 ? "You are signed out. Sign in again, here or in another tab." : ((await answer.json()).detail ?? why);
  } catch {
    // It does not answer, or not as it should.
  }
  if (resting || over || document.hidden || source.readyState === EventSource.OPEN) return; // it came too late
  stale(why);
}
function stale(why, until = "until that is over") {
  const note = $("#toasts .stale") ?? make("p", { className: "stale" });
  note.textContent = `${why} This page shows what was known before, and changes no more ${until}.`;
  $("#toasts").append(note);
}

// Over HTTP/1.1 a browser has six connections to a server, and a stream takes one for itself: with six pages in sight, in windows
// side by side, no other would load. So the four that were used last are live, and one that rests comes back when one of them is gone.
const most = 4;
const me = Math.random();
const newer = new Set(); // the pages that were opened or used after this one
const others = performance.getEntriesByType("navigation")[0]?.nextHopProtocol === "http/1.1" && new BroadcastChannel("live");
let resting = false;
function tell(live) {
  if (live) newer.clear();
  others && others.postMessage({ id: me, live });
}
function heard({ data: { id, live } }) {
  if (live) newer.add(id);
  else newer.delete(id);
  if (resting && !live && newer.size < most) return back(false);
  if (resting || over || document.hidden || newer.size < most) return;
  close();
  resting = true;
  stale(`${most} other pages of Groundcrew are open in sight.`, "until you come back to it or one of them is closed");
}
function back(fresh) {
  if (!resting) return;
  resting = false;
  open(fresh);
}

function begin() {
  document.addEventListener("visibilitychange", () => {
    close();
    resting = false;
    if (!document.hidden && !over) open(scrollY < 40);
  });
  addEventListener("pagehide", close);
  for (const type of ["focus", "pointerdown"]) addEventListener(type, () => back(scrollY < 40));
  if (others) others.onmessage = heard;
  if (!document.hidden) open(false);
}
// A stream never stands between a page and the rest of its files.
if (page) document.readyState === "complete" ? begin() : addEventListener("load", begin);
