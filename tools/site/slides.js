// Right, space: next. Left: back. Down, up: next and previous section. Home, End. The address keeps the place.
const slides = [...document.querySelectorAll(".slide")];
let at = 0;
function show(i, keep) {
  at = Math.max(0, Math.min(slides.length - 1, i));
  slides.forEach((s, k) => s.classList.toggle("shown", k === at));
  document.getElementById("where").textContent = `${at + 1} / ${slides.length}`;
  if (!keep) history.replaceState(null, "", `#${at + 1}`);
  scrollTo(0, 0);
}
function section(step) {
  let i = at + step;
  while (i > 0 && i < slides.length - 1 && !slides[i].classList.contains("first")) i += step;
  show(i);
}
const keys = { ArrowRight: () => show(at + 1), " ": () => show(at + 1), PageDown: () => show(at + 1), ArrowLeft: () => show(at - 1), PageUp: () => show(at - 1),
  ArrowDown: () => section(1), ArrowUp: () => section(-1), Home: () => show(0), End: () => show(slides.length - 1) };
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || !keys[e.key] || (e.key === " " && e.target.closest("button, a"))) return;
  e.preventDefault();
  keys[e.key]();
});
document.getElementById("back").onclick = keys.ArrowLeft;
document.getElementById("next").onclick = keys.ArrowRight;
addEventListener("hashchange", () => show(+location.hash.slice(1) - 1 || 0, true));
document.querySelectorAll(".math").forEach((m) => katex.render(m.textContent, m, { displayMode: m.classList.contains("display"), throwOnError: false }));
show(+location.hash.slice(1) - 1 || 0, true);
