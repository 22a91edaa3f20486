// Pictures of one graph: as they come, before and after an edit, with an overlay for whatever is under the pointer on the board.
// The kernel sends addresses of PNGs; what is laid over what is decided here, so pointing and comparing need no round trip.
const html = (tag, properties = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
};

const LATE = " (nothing new for two seconds: another cell is running, or the machine is busy)";
const LARGE = 256;                                  // pixels of a side, at least, in the file

function render({ model, el }) {
  let late = null;                                  // the clock that waits for the next step
  const list = html("div", { className: "sgdiff-pictures" }), line = html("div", { className: "sgdiff-status" });
  const range = html("input", { type: "range", min: 0, max: 100, value: 0, ariaLabel: "how much of the picture before the change is shown" });
  const wipe = html("label", {}, "now ", range, " before (hold ", html("kbd", { textContent: "B" }), ")");
  const box = html("input", { type: "checkbox" }), mark = html("label", {}, box, " outline the pixels that changed");
  const button = (textContent, title, onclick) => html("button", { type: "button", textContent, title, onclick });
  const png = button("PNG", "save the pictures as one file", () => sheet().toBlob(blob => save("sgdiff.png", blob)));
  const json = button("JSON", "save the graph as a file", () => save("graph.json", new Blob([model.get("graph")], { type: "application/json" })));
  line.setAttribute("role", "status");
  el.classList.add("sgdiff-view");
  el.setAttribute("data-lm-suppress-shortcuts", "true");            // JupyterLab's own keys stay out of here
  el.append(line, list, wipe, mark, html("div", { className: "sgdiff-tools" }, png, json));
  el.oncontextmenu = ev => ev.stopPropagation();                    // the browser's own menu, which can save a picture

  // --- a frame a picture; those that are there are kept, with the focus that one may have
  function frame() {
    const picture = html("button", { type: "button", className: "sgdiff-frame", title: "larger", ariaPressed: "false" });
    const figure = html("figure", {}, picture, html("figcaption"));
    picture.onclick = () => { picture.ariaPressed = String(figure.classList.toggle("large")); };
    return figure;
  }
  const image = (className, src, alt = "") => src ? [html("img", { className, src, alt })] : [];
  function fill(figure, picture, i) {
    const overlays = model.get("overlays"), hover = model.get("hover"), shown = hover && overlays[hover] ? hover : box.checked ? "changed" : "";
    const coming = picture.after ? [] : image("born", model.get("born")[i], "being drawn");
    const blank = picture.after || coming.length ? [] : [html("span", { textContent: model.get("empty") })];
    figure.firstChild.replaceChildren(...blank, ...coming, ...image("picture", picture.after, model.get("told_after")),
      ...image("before", picture.before, `before: ${model.get("told_before")}`), ...(picture.after ? image("overlay", overlays[shown]?.[i]) : []));
    figure.lastChild.replaceChildren(picture.label, html("span", { className: "sgdiff-note", textContent: picture.note ?? "" }));
  }
  function draw() {
    const pictures = model.get("pictures"), message = model.get("message"), overlays = model.get("overlays"), hover = model.get("hover");
    const words = hover && overlays[hover] && model.get("names")[hover], there = pictures.some(p => p.after);
    line.textContent = words ? `orange: where the pictures attend to “${words}”` : message;
    clearTimeout(late);
    if (message.startsWith("drawing")) late = setTimeout(() => { line.textContent = `${message}${LATE}`; }, 2000);
    while (list.children.length > pictures.length) list.lastChild.remove();
    while (list.children.length < pictures.length) list.append(frame());
    list.style.setProperty("--columns", Math.min(4, Math.ceil(Math.sqrt(pictures.length))));
    pictures.forEach((picture, i) => fill(list.children[i], picture, i));
    wipe.hidden = !(there && pictures.some(p => p.before));
    mark.hidden = !overlays.changed;
    png.disabled = !there; json.disabled = !model.get("graph");
    wiped(wipe.hidden ? 0 : range.value);
  }
  const come = () => { range.value = 0; draw(); };                  // other pictures: the new ones are shown

  // --- before and now
  function wiped(part) { range.value = part; list.style.setProperty("--wiped", `${100 - part}%`); }
  const ours = ev => !ev.repeat && ev.key.toLowerCase() === "b" && !ev.ctrlKey && !ev.metaKey && !ev.altKey && !wipe.hidden
    && (ev.target === document.body || (ev.target.closest?.(".sgdiff-canvas, .sgdiff-view") && !ev.target.matches(".sgdiff-list")));
  const down = ev => ours(ev) && wiped(100), up = ev => ours(ev) && wiped(0);
  document.addEventListener("keydown", down, true);                 // before the board, which keeps its keys
  document.addEventListener("keyup", up, true);
  range.oninput = () => wiped(range.value);
  box.onchange = draw;

  // --- taking it along
  function save(download, blob) {
    const link = html("a", { href: URL.createObjectURL(blob), download });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  function sheet() {                                // the pictures beside each other, in as many columns as on the page
    const all = [...list.querySelectorAll("img.picture")], side = all[0].naturalWidth, each = side * Math.ceil(LARGE / side);
    const columns = Number(list.style.getPropertyValue("--columns"));
    const page = html("canvas", { width: each * columns, height: each * Math.ceil(all.length / columns) }), ink = page.getContext("2d");
    ink.imageSmoothingEnabled = false;
    all.forEach((img, i) => ink.drawImage(img, each * (i % columns), each * Math.floor(i / columns), each, each));
    return page;
  }

  const watched = { pictures: come, overlays: draw, hover: draw, message: draw, empty: draw, born: draw };
  for (const [name, then] of Object.entries(watched)) model.on(`change:${name}`, then);
  draw();
  return () => {
    clearTimeout(late);
    document.removeEventListener("keydown", down, true); document.removeEventListener("keyup", up, true);
    for (const [name, then] of Object.entries(watched)) model.off(`change:${name}`, then);
  };
}

export default { render };
