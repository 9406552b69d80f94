(() => {
  const bad = [];
  const all = (sel) => [...document.querySelectorAll(sel)];
  const name = (el) => el.nodeName.toLowerCase() + (el.id ? "#" + el.id : "") + (el.name ? "[" + el.name + "]" : "") + " “" + (el.ariaLabel || el.textContent).trim().slice(0, 24) + "”";
  const seen = (el) => el.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !el.closest(".vh, .skip");
  if (!document.documentElement.lang) bad.push("no language (3.1.1)");
  if (!document.title.trim()) bad.push("no title (2.4.2)");
  if (all("[tabindex]").some((el) => el.tabIndex > 0)) bad.push("an own tab order (2.4.3)");

  // Headings and landmarks (1.3.1, 2.4.6).
  const heads = all("h1, h2, h3, h4").filter((el) => el.checkVisibility());
  if (heads.filter((h) => h.nodeName === "H1").length !== 1) bad.push("not one h1");
  heads.reduce((last, h) => {
    const level = +h.nodeName[1];
    if (level > last + 1) bad.push("heading jumps to " + name(h));
    return level;
  }, 0);
  if (all("main").length !== 1) bad.push("not one main");
  const marks = all("nav, aside, section[aria-label], section[aria-labelledby]").map((el) => {
    const by = el.getAttribute("aria-labelledby");
    return el.nodeName + " " + (el.ariaLabel || (by && document.getElementById(by)?.textContent.trim()) || "");
  });
  marks.forEach((m, i) => marks.indexOf(m) !== i && bad.push("two landmarks are called " + m));

  // Targets of 24 by 24 px (2.5.8), or as far from others; links in a line of text are as high as the line.
  const targets = all("a[href], button, input:not([type=hidden]), select, textarea, summary").filter(seen);
  const rects = targets.map((el) => (el.labels?.[0]?.contains(el) ? el.labels[0] : el).getBoundingClientRect());
  targets.forEach((el, i) => {
    const r = rects[i];
    if (!r.width || (r.width >= 24 && r.height >= 24) || (el.nodeName === "A" && getComputedStyle(el).display === "inline")) return;
    const x = r.x + r.width / 2, y = r.y + r.height / 2;
    const near = targets.find((other, j) => {
      const o = rects[j];
      if (j === i || !o.width || !el.closest(".places") !== !other.closest(".places") || el.contains(other) || other.contains(el)) return false;
      return Math.hypot(Math.max(o.left - x, 0, x - o.right), Math.max(o.top - y, 0, y - o.bottom)) < 12;
    });
    if (near) bad.push(`${name(el)} is ${Math.round(r.width)} by ${Math.round(r.height)} px, close to ${name(near)} (2.5.8)`);
  });

  // Focus shows (2.4.7) and is not wholly behind something (2.4.11).
  for (const el of targets) {
    if (el.disabled) continue;
    el.focus({ focusVisible: true });
    if (document.activeElement !== el) continue;
    const style = getComputedStyle(el), r = el.getBoundingClientRect();
    if ((style.outlineStyle === "none" || parseFloat(style.outlineWidth) === 0) && style.boxShadow === "none") bad.push(name(el) + " does not show its focus (2.4.7)");
    const points = [[0.5, 0.5], [0.1, 0.2], [0.9, 0.2], [0.1, 0.8], [0.9, 0.8]].map(([x, y]) => document.elementFromPoint(r.x + r.width * x, r.y + r.height * y));
    if (!points.some((hit) => hit && (el.contains(hit) || hit.contains(el)))) bad.push(name(el) + " is hidden when focused (2.4.11)");
  }
  document.activeElement?.blur();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches && document.getAnimations().length) bad.push("something moves (2.3.3)");
  return bad;
})()
