// Pictures of one graph, before and after an edit, with an overlay for whatever is under the pointer on the board.
// The kernel sends addresses of PNGs; which overlay is shown is decided here, so pointing needs no round trip.
const html = (tag, properties = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
};

function render({ model, el }) {
  const list = html("div", { className: "sgdiff-pictures" }), line = html("div", { className: "sgdiff-status" });
  const box = html("input", { type: "checkbox", checked: true }), mark = html("label", {}, box, " outline the pixels that changed");
  line.setAttribute("role", "status");
  el.classList.add("sgdiff-view");
  el.append(line, list, mark);

  const image = (src, alt, overlay, title) => {
    const frame = html("div", { className: "sgdiff-frame", title });
    if (src) frame.append(html("img", { src, alt, className: "picture" })); else frame.append(html("span", { textContent: "…" }));
    if (src && overlay) frame.append(html("img", { src: overlay, alt: "", className: "overlay" }));
    return frame;
  };
  function draw() {
    const overlays = model.get("overlays"), hover = model.get("hover"), pictures = model.get("pictures");
    const shown = hover && overlays[hover] ? hover : box.checked ? "changed" : "";
    mark.hidden = !overlays.changed;
    const words = hover && overlays[hover] && model.get("names")[hover];
    line.textContent = words ? `orange: where the pictures attend to “${words}”` : model.get("message");
    list.replaceChildren(...pictures.map((p, i) => {
      const pair = html("div", { className: "sgdiff-pair" });
      if (p.before) pair.append(image(p.before, `before: ${model.get("told_before")}`, null, "before"), html("span", { textContent: "→" }));
      pair.append(image(p.after, model.get("told_after"), overlays[shown]?.[i], "after"));
      return html("figure", {}, pair, html("figcaption", {}, p.label, html("span", { className: "sgdiff-note", textContent: p.note ?? "" })));
    }));
  }
  const watched = ["pictures", "overlays", "hover", "message"].map(name => `change:${name}`);
  watched.forEach(name => model.on(name, draw));
  box.onchange = draw;
  draw();
  return () => watched.forEach(name => model.off(name, draw));
}

export default { render };
