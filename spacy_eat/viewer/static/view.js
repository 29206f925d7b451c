"use strict";
// Ties the source and the English of an entity with a line, on hover and on focus. Without it, pairs still light up.
(() => {
  if (window.spacyEatView) return;
  window.spacyEatView = true;
  const SVG = "http://www.w3.org/2000/svg";
  let shown = null;

  function clear() {
    shown = null;
    for (const lines of document.querySelectorAll(".eat-lines")) lines.remove();
    for (const mark of document.querySelectorAll(".eat-on")) mark.classList.remove("eat-on");
  }

  function middle(box, frame, bottom) {
    return [box.left + box.width / 2 - frame.left, (bottom ? box.bottom : box.top) - frame.top];
  }

  // The pieces of two marks that are closest: a mark may be broken over lines.
  function closest(from, to) {
    let best = null;
    for (const a of from.getClientRects()) {
      for (const b of to.getClientRects()) {
        const distance = Math.abs(b.top - a.bottom) + Math.abs(a.left + a.width / 2 - b.left - b.width / 2);
        if (!best || distance < best[0]) best = [distance, a, b];
      }
    }
    return best && best.slice(1);
  }

  function show(mark) {
    if (mark === shown) return;
    clear();
    shown = mark;
    const sentence = mark.closest(".eat-sentence");
    const pair = [...sentence.querySelectorAll(`[data-n="${CSS.escape(mark.dataset.n)}"]`)];
    const english = pair.find((other) => other.closest(".eat-english"));
    const lines = document.createElementNS(SVG, "svg");
    lines.setAttribute("class", "eat-lines " + [...mark.classList].find((name) => /^eat-(h\d|x|none)/.test(name)));
    lines.setAttribute("aria-hidden", "true");
    const border = sentence.getBoundingClientRect();
    const frame = { left: border.left + sentence.clientLeft, top: border.top + sentence.clientTop };
    for (const other of pair) {
      other.classList.add("eat-on");
      const boxes = english && other !== english && closest(other, english);
      if (!boxes) continue;
      const [x, y] = middle(boxes[0], frame, true);
      const [u, v] = middle(boxes[1], frame, false);
      const bend = Math.max(10, Math.abs(v - y) / 2);
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", `M${x},${y + 2} C${x},${y + bend} ${u},${v - bend} ${u},${v - 2}`);
      lines.append(path);
      for (const [cx, cy] of [[x, y + 2], [u, v - 2]]) {
        const dot = document.createElementNS(SVG, "circle");
        dot.setAttribute("cx", cx);
        dot.setAttribute("cy", cy);
        dot.setAttribute("r", 3);
        lines.append(dot);
      }
    }
    sentence.append(lines);
  }

  function react(event) {
    const mark = event.target instanceof Element && event.target.closest(".eat-sentence [data-n]");
    if (mark) show(mark);
    else clear();
  }

  document.addEventListener("pointerover", react);
  document.addEventListener("focusin", react);
  document.addEventListener("focusout", clear);
  addEventListener("resize", clear);
})();
