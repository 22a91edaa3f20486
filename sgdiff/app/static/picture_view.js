// Pictures of one graph, before and after an edit, with an overlay for whatever is under the pointer on the board.
// The kernel sends addresses of PNGs; which overlay is shown is decided here, so pointing needs no round trip.
const html = (tag, properties = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
};

const LATE = " (nothing new for two seconds: another cell is running, or the machine is busy)";

function render({ model, el }) {
  let late = null;                                  // the clock that waits for the next step
  const list = html("div", { className: "sgdiff-pictures" }), line = html("div", { className: "sgdiff-status" });
  const box = html("input", { type: "checkbox", checked: true }), mark = html("label", {}, box, " outline the pixels that changed");
  line.setAttribute("role", "status");
  el.classList.add("sgdiff-view");
  const sides = html("div", { className: "sgdiff-sides", textContent: "each pair: before the change → now" });
  el.append(line, sides, list, mark);

  const image = (src, alt, overlay, title) => {
    const frame = html("div", { className: "sgdiff-frame", title });
    if (src) frame.append(html("img", { src, alt, className: "picture" })); else frame.append(html("span", { textContent: model.get("empty") }));
    if (src && overlay) frame.append(html("img", { src: overlay, alt: "", className: "overlay" }));
    return frame;
  };
  function draw() {
    const overlays = model.get("overlays"), hover = model.get("hover"), pictures = model.get("pictures");
    const shown = hover && overlays[hover] ? hover : box.checked ? "changed" : "";
    mark.hidden = !overlays.changed;
    const words = hover && overlays[hover] && model.get("names")[hover];
    const message = model.get("message");
    line.textContent = words ? `orange: where the pictures attend to “${words}”` : message;
    clearTimeout(late);
    if (message.startsWith("drawing")) late = setTimeout(() => { line.textContent = `${message}${LATE}`; }, 2000);
    const pairs = pictures.some(p => p.before);
    sides.hidden = !pairs;
    list.style.setProperty("--size", `${pictures.length === 1 ? 160 : pictures.length <= 4 ? 96 : 64}px`);
    list.classList.toggle("pairs", pairs);
    list.replaceChildren(...pictures.map((p, i) => {
      const pair = html("div", { className: "sgdiff-pair" });
      if (p.before) pair.append(image(p.before, `before: ${model.get("told_before")}`, null, "before"), html("span", { textContent: "→" }));
      pair.append(image(p.after, model.get("told_after"), overlays[shown]?.[i], "after"));
      return html("figure", {}, pair, html("figcaption", {}, p.label, html("span", { className: "sgdiff-note", textContent: p.note ?? "" })));
    }));
  }
  const watched = ["pictures", "overlays", "hover", "message", "empty"].map(name => `change:${name}`);
  watched.forEach(name => model.on(name, draw));
  box.onchange = draw;
  draw();
  return () => clearTimeout(late) || watched.forEach(name => model.off(name, draw));
}

export default { render };
