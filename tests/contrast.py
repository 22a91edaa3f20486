"""Words that are hard to read, found in a page by JavaScript: `locator.evaluate(FAINT)`, or for a
page `page.evaluate(f"settings => ({FAINT})(document.body, settings)", {"large": 3, "apart":
"script, style"})`: the least contrast of large words, and what holds words that are not meant."""

FAINT = """(box, settings) => {        // texts whose contrast with what is behind them is below 4.5; in a drawing that is their own rectangle
  const { large = 4.5, apart = ":disabled, option" } = settings ?? {};
  const parse = s => { const n = (s.match(/[\\d.]+/g) ?? []).map(Number); return s.startsWith("color(") ? [...n.slice(0, 3).map(v => v * 255), n[3] ?? 1] : [...n, 1].slice(0, 4); };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3]));
  const light = c => { const f = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
  const known = new Map([[null, [255, 255, 255]]]);  // element -> its ground: many words stand on one
  const behind = e => { if (!known.has(e)) {
    const own = e.matches("g") && e.querySelector(":scope > rect"), ground = parse(own ? getComputedStyle(own).fill : getComputedStyle(e).backgroundColor);
    known.set(e, over(ground, behind(e.parentElement))); }
    return known.get(e); };
  const faint = new Set(), walk = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, seen = e.getBoundingClientRect(), style = getComputedStyle(e), words = walk.currentNode.data.trim();
    if (!words || !seen.width || !seen.height || style.visibility === "hidden" || e.closest(apart)) continue;
    const back = behind(e), [a, b] = [light(over(parse(e.matches("text") ? style.fill : style.color), back)), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(style.fontSize);
    if (ratio < (size >= 24 || (size >= 18.6 && style.fontWeight >= 700) ? large : 4.5)) faint.add(`${ratio.toFixed(2)} ${e.tagName}.${e.getAttribute("class") ?? ""} ${words.slice(0, 30)}`);
  }
  return [...faint];
}"""
