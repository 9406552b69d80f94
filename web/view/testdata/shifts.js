// What moves by itself, from before the page is there (PerformanceObserver, layout-shift). Moves after input are not counted by the
// browser either. A move of nothing but what lies below a growing log is marked.
window.shifts = [];
window.settled = false;
const name = (n) => {
  const el = n?.nodeType === Node.ELEMENT_NODE ? n : n?.parentElement;
  return el ? el.nodeName.toLowerCase() + (el.id ? "#" + el.id : "") + (el.className && typeof el.className === "string" ? "." + el.className.trim().replace(/\s+/g, ".") : "") : "?";
};
new PerformanceObserver((list) => {
  for (const e of list.getEntries()) {
    if (e.hadRecentInput) continue;
    const nodes = e.sources.map((s) => (s.node?.nodeType === Node.ELEMENT_NODE ? s.node : s.node?.parentElement)).filter(Boolean);
    const below = nodes.length > 0 && nodes.every((n) => n.closest("#run-details, .log"));
    const r = (x) => `${Math.round(x.x)},${Math.round(x.y)} ${Math.round(x.width)}×${Math.round(x.height)}`;
    window.shifts.push({ value: e.value, Value: e.value, below, Sources: e.sources.map((s) => `${name(s.node)} ${r(s.previousRect)} → ${r(s.currentRect)}`) });
  }
}).observe({ type: "layout-shift", buffered: true });
new PerformanceObserver((list) => {
  if (list.getEntries().some((e) => e.name === "first-contentful-paint")) navigator.sendBeacon("/painted");
}).observe({ type: "paint", buffered: true });
addEventListener("load", () => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => (window.settled = true), 50))));
