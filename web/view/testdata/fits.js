// What does not fit on the page as it is shown: a page wider than the window, text cut off at an edge, and text on top of other text.
(() => {
  const bad = [];
  const name = (el) => el.nodeName.toLowerCase() + (el.className?.baseVal === undefined && el.className ? "." + el.className.trim().replace(/\s+/g, ".") : "") + " “" + el.textContent.trim().slice(0, 30) + "”";
  const over = document.scrollingElement.scrollWidth - innerWidth;
  if (over > 0) bad.push(`the page is ${over} px too wide`);

  // The boxes of text, each cut to what its scrolling or clipping ancestors show.
  const boxes = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walk.nextNode()); ) {
    const el = n.parentElement;
    if (!n.data.trim() || !el.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || el.closest(".vh, .skip, dialog, option, script, textarea, .menu, .pop > form")) continue;
    if (getComputedStyle(el.closest("thead") ?? el).clipPath !== "none") continue; // for readers of the screen only
    const range = document.createRange();
    range.selectNodeContents(n);
    for (const r of range.getClientRects()) {
      const box = { el, left: r.left, right: r.right, top: r.top, bottom: r.bottom, fixed: !!el.closest(".places, .side") };
      for (let up = el; up; up = up.parentElement) {
        const style = getComputedStyle(up);
        if (style.overflowX === "visible" && style.overflowY === "visible") continue;
        const c = up.getBoundingClientRect();
        if (up !== document.documentElement && up !== document.body) {
          if (style.overflowX === "hidden" && style.textOverflow !== "ellipsis" && (box.right > c.right + 1 || box.left < c.left - 1)) bad.push(name(el) + " is cut off");
          Object.assign(box, { left: Math.max(box.left, c.left), right: Math.min(box.right, c.right), top: Math.max(box.top, c.top), bottom: Math.min(box.bottom, c.bottom) });
        }
      }
      if (box.right - box.left < 2 || box.bottom - box.top < 2) continue;
      if (box.right > innerWidth + 1 || box.left < -1) bad.push(name(el) + " leaves the window");
      boxes.push(box);
    }
  }
  boxes.sort((a, b) => a.top - b.top);
  for (let i = 0; i < boxes.length; i++) {
    const a = boxes[i];
    for (let j = i + 1; j < boxes.length && boxes[j].top < a.bottom; j++) {
      const b = boxes[j];
      if (a.el === b.el || a.fixed !== b.fixed || a.el.contains(b.el) || b.el.contains(a.el)) continue;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left), high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 3 && high > 5) bad.push(`${name(a.el)} lies on ${name(b.el)}`);
    }
  }
  return [...new Set(bad)].slice(0, 12);
})()
