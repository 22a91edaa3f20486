// The board of the graph editor: an SVG edited by pointing or by keys. What is on it comes from the kernel (`board`), what is
// done on it goes back as commands ({command, arguments}); nothing is decided here, so this view can never disagree with another.
const NS = "http://www.w3.org/2000/svg";
const HINT = "Click a word: change it. Delete: remove it. Drag: move. Drag the dot of an object to another: relate. " +
  "Keys: Tab, Enter change, R relate, T turn, A add, arrows move, Ctrl+Z, Ctrl+Y.";
const TOUCH_HINT = "Tap a word: change, relate, remove. Drag: move. Drag the dot of an object to another: relate. Tap twice beside them: add.";
const WAITING = "No answer yet: the kernel is busy with another cell, or this page has none (then open the notebook in JupyterLab).";
const FINE = { node: 30, edge: 24, pad: 26, letter: 8, dot: 6, reach: 11, slip: 4, high: 330 };       // for a mouse; lengths in pixels
const COARSE = { node: 40, edge: 34, pad: 36, letter: 9, dot: 9, reach: 20, slip: 9, high: 400 };     // for a finger: nothing to hit is below 32

const make = (tag, attributes = {}, ...children) => {               // an SVG element
  const e = document.createElementNS(NS, tag);
  for (const [k, v] of Object.entries(attributes)) if (v !== null) e.setAttribute(k, v);
  e.append(...children);
  return e;
};
const html = (tag, properties = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
};
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

function render({ model, el }) {
  const nodes = () => model.get("board").nodes ?? [], edges = () => model.get("board").edges ?? [];
  let still = false, restoring = false;             // after a change, what happens to lie under the pointer or keeps the focus is not asked about
  let asked = 0, late = null;                       // commands sent so far; the clock that waits for the kernel's answer
  const send = (command, args = {}) => {
    settle();                                       // a walk that is not told yet came before
    still = true; look("");
    if (command === "add_object") newest = `o${nodes().length}`;    // gets the focus when it comes
    model.send({ command, arguments: args, number: ++asked });
    clearTimeout(late);
    late = setTimeout(() => say(WAITING), 700);
  };
  const answered = message => { if (message.number === asked) { clearTimeout(late); newest = null; tell(); } };
  const moved = new Map();                                          // key -> {x, y}: where a node is while it is being moved
  let press = null, tap = null, popup = null, newest = null;
  let held = null, resting = null;                  // key of the node being moved, by hand or by keys; the clock that waits for the end of a walk
  const settle = () => {                            // tells where the held node has come to rest, if it is still there
    const key = held, row = nodes().findIndex(n => n.key === key);
    clearTimeout(resting); held = null;
    if (row >= 0 && moved.has(key)) send("move_object", { row, ...moved.get(key) });
  };
  let W = 480, H = 340, hand = FINE;                // the board's size in pixels; what points at it
  const width = word => hand.pad + hand.letter * word.length;
  const label = n => [...(n.attributes ?? []), n.word].join(" ");   // "small red ball"

  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, tabindex: 0, role: "group", "aria-label": "scene graph" });
  const stage = html("div", { className: "sgdiff-stage" }, svg);
  const status = html("div", { className: "sgdiff-status" });
  status.setAttribute("role", "status");
  const button = (label, click) => html("button", { type: "button", textContent: label, onclick: click });
  const add = button("Add object", () => addAt()), undo = button("Undo", () => send("undo")), redo = button("Redo", () => send("redo"));
  el.classList.add("sgdiff-canvas");
  el.setAttribute("data-lm-suppress-shortcuts", "true");            // JupyterLab's own keys stay out of here
  el.append(html("div", { className: "sgdiff-tools" }, add, undo, redo), stage, status);

  // --- geometry, in pixels: a narrow board is not a small picture of a wide one
  function fit() {
    if (matchMedia("(pointer: coarse), (max-width: 600px)").matches) hand = COARSE;      // as in views.css
    if (stage.clientWidth) { W = clamp(stage.clientWidth, 240, 640); H = clamp(Math.round(0.7 * W), hand.high, 440); }
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    el.classList.toggle("coarse", hand === COARSE);
    draw();
  }
  const place = i => {                                              // whole within the board, its dot too
    const n = nodes()[i], p = moved.get(n.key) ?? n, half = width(label(n)) / 2 + 3;
    return { x: clamp(p.x * W, half, W - half - hand.reach), y: p.y * H };
  };
  const names = () => nodes().map(n => n.name ?? n.word);
  const border = (i, to) => {                                       // where the line from node i to a point leaves its box
    const p = place(i), dx = to.x - p.x, dy = to.y - p.y, w = width(label(nodes()[i])) / 2 + 3, h = hand.node / 2 + 3;
    const t = Math.min(dx ? w / Math.abs(dx) : Infinity, dy ? h / Math.abs(dy) : Infinity, 1);
    return { x: p.x + t * dx, y: p.y + t * dy };
  };
  const bend = row => {                                             // relations between the same two objects bow apart
    const e = edges()[row], pair = f => [f.subject, f.object].sort().join();
    const alike = edges().map((f, k) => [f, k]).filter(([f]) => pair(f) === pair(e)).map(([, k]) => k);
    const first = Math.min(e.subject, e.object), a = place(first), b = place(first === e.subject ? e.object : e.subject);
    const long = Math.hypot(b.x - a.x, b.y - a.y) || 1, off = (hand.edge + 18) * (alike.indexOf(row) - (alike.length - 1) / 2);
    const mid = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 }, across = { x: -(b.y - a.y) / long, y: (b.x - a.x) / long };
    return { x: mid.x + 2 * off * across.x, y: mid.y + 2 * off * across.y };     // the control point of the curve
  };
  const instead = what => [what.written, ...(what.described ?? []).map(([a]) => a)].filter(Boolean).join(", ");      // other words stood here
  const spoken = what => instead(what) ? `, written as “${instead(what)}”` : "";
  const tip = what => instead(what) ? [make("title", {}, `written as “${instead(what)}”, which these weights do not know`)] : [];
  const caption = e => e.predicate + ({ true: " ✓", false: " ✗" }[e.verdict] ?? "");
  const along = (row, t, off = 0) => {                               // a point of a relation's curve, or beside it
    const e = edges()[row], a = place(e.subject), c = bend(row), b = place(e.object), long = Math.hypot(b.x - a.x, b.y - a.y) || 1;
    const side = (c.x - (a.x + b.x) / 2) * (a.y - b.y) + (c.y - (a.y + b.y) / 2) * (b.x - a.x) < 0 ? -1 : 1;      // away from its neighbour first
    return { x: (1 - t) ** 2 * a.x + 2 * t * (1 - t) * c.x + t * t * b.x + off * side * (a.y - b.y) / long,
      y: (1 - t) ** 2 * a.y + 2 * t * (1 - t) * c.y + t * t * b.y + off * side * (b.x - a.x) / long };
  };
  const labels = () => {                            // where each relation's word goes: on its line or near it, on no other word, on no other line if possible
    const taken = nodes().map((n, i) => ({ ...place(i), w: width(label(n)) + 2 * hand.dot, h: hand.node })), h = hand.edge;
    const lines = edges().map((_, row) => Array.from({ length: 25 }, (_, k) => along(row, k / 24)));
    return edges().map((e, row) => {
      const w = width(caption(e)) - 10;
      const spots = [0, 1, -1, 2, -2].flatMap(far => [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9].map(t => ({ t, far, w, h, ...along(row, t, far * (h / 2 + 8)) })))
        .filter(p => p.x > w / 2 && p.x < W - w / 2 && p.y > h / 2 && p.y < H - h / 2)
        .filter(p => taken.every(q => Math.abs(p.x - q.x) > (p.w + q.w) / 2 || Math.abs(p.y - q.y) > (p.h + q.h) / 2));
      const covers = p => lines.some((line, k) => k !== row && line.some(q => Math.abs(p.x - q.x) < w / 2 && Math.abs(p.y - q.y) < h / 2));
      const free = spots.find(p => !p.far && !covers(p)) ?? spots.find(p => !p.far) ?? spots.find(p => !covers(p)) ?? spots[0] ?? { t: 0.5, far: 0, w, h, ...along(row, 0.5) };
      taken.push(free);
      return free;
    });
  };
  const nodeAt = p => nodes().findIndex((n, i) => {
    const q = place(i);
    return Math.abs(p.x - q.x) <= width(label(n)) / 2 + 6 && Math.abs(p.y - q.y) <= hand.node / 2 + 6;
  });
  const point = ev => new DOMPoint(ev.clientX, ev.clientY).matrixTransform(svg.getScreenCTM().inverse());

  // --- drawing
  const item = (id, label, changed, ...children) => make("g", {
    class: `sgdiff-item ${id[0] === "o" ? "node" : "edge"}${changed ? " changed" : ""}`, tabindex: 0, role: "button", "data-id": id, "aria-label": label,
  }, ...children);
  const text = (x, y, words, attributes = {}) => { const t = make("text", { x, y, ...attributes }); t.textContent = words; return t; };
  const line = row => {
    const e = edges()[row], control = bend(row), a = border(e.subject, control), b = border(e.object, control);
    const turn = Math.atan2(b.y - control.y, b.x - control.x), wing = s => `${b.x - 10 * Math.cos(turn + s)},${b.y - 10 * Math.sin(turn + s)}`;
    return [make("path", { class: `line${e.changed ? " changed" : ""}`, d: `M${a.x},${a.y} Q${control.x},${control.y} ${b.x},${b.y}` }),
      make("polygon", { class: `head${e.changed ? " changed" : ""}`, points: `${b.x},${b.y} ${wing(0.4)} ${wing(-0.4)}` })];
  };
  const edge = (row, { x, y, w, h }) => {
    const e = edges()[row], said = names(), judged = { true: ", the judge sees it", false: ", the judge does not see it" }[e.verdict] ?? "";
    const g = item(`t${row}`, `${said[e.subject]} ${e.predicate} ${said[e.object]}${judged}${spoken(e)}`, e.changed,
      ...tip(e), make("rect", { x: x - w / 2, y: y - h / 2, width: w, height: h, rx: h / 2 }), text(x, y + 4, caption(e)));
    if (judged) g.classList.add(e.verdict ? "yes" : "no");
    return g;
  };
  const node = i => {
    const n = nodes()[i], { x, y } = place(i), w = width(label(n));
    return item(`o${i}`, `${names()[i]}, object${spoken(n)}`, n.changed, ...tip(n), make("rect", { x: x - w / 2, y: y - hand.node / 2, width: w, height: hand.node, rx: 7 }),
      text(x, y + 5, label(n)), make("circle", { class: "dot", cx: x + w / 2, cy: y, r: hand.dot }),
      make("circle", { class: "reach", cx: x + w / 2 + hand.reach - hand.dot - 2, cy: y, r: hand.reach }));       // easier to hit than it looks
  };
  function draw() {
    const focused = svg.contains(document.activeElement) ? document.activeElement.dataset?.id ?? "svg" : null;
    const spots = labels(), tether = (p, k) => { const q = along(k, p.t); return p.far ? [make("path", { class: "line tether", d: `M${p.x},${p.y} L${q.x},${q.y}` })] : []; };
    const parts = [...edges().flatMap((_, k) => line(k)), ...spots.flatMap(tether), ...nodes().map((_, i) => node(i)), ...spots.map((spot, k) => edge(k, spot))];
    if (press?.kind === "link" && press.moved) {
      const a = border(press.row, press.to);
      parts.push(make("path", { class: "line pulled", d: `M${a.x},${a.y} L${press.to.x},${press.to.y}` }));
    }
    if (!nodes().length) parts.push(text(W / 2, H / 2, "an empty board: double click, or press A", { class: "empty" }));
    svg.replaceChildren(...parts);
    restoring = true;
    const come = newest && svg.querySelector(`[data-id="${newest}"]`);
    if (come) { newest = null; come.focus({ preventScroll: true }); }
    else if (focused) (svg.querySelector(`[data-id="${focused}"]`) ?? svg).focus({ preventScroll: true });
    restoring = false;
    undo.disabled = !model.get("board").can_undo; redo.disabled = !model.get("board").can_redo;
    tell();
  }
  function say(words, error = false) { status.textContent = words; status.classList.toggle("error", error); }
  function tell() {                                                 // what the kernel says, or what can be done
    const { error } = model.get("board");
    say(error || (hand === COARSE ? TOUCH_HINT : HINT), Boolean(error));
  }

  // --- a list to pick from, beside the thing it is about
  function close() { const open = popup; popup = null; open?.remove(); }
  function pick(title, choices, current, at, done, actions = {}) {  // choices: [label, value]; actions: label -> function
    close();
    const back = document.activeElement?.dataset?.id;
    const options = choices.map(([label]) => html("div", { role: "option", textContent: label }));
    const list = html("div", { className: "sgdiff-list", role: "listbox", tabIndex: 0, ariaLabel: title }, ...options);
    let row = 0, typed = "", when = 0, over = false, armed = false;
    const choose = k => {
      options[row].ariaSelected = "false";
      row = clamp(k, 0, options.length - 1);
      options[row].ariaSelected = "true";
      options.forEach((o, i) => { o.id = i === row ? "sgdiff-active" : ""; });
      list.setAttribute("aria-activedescendant", "sgdiff-active");
      list.scrollTop = options[row].offsetTop - list.offsetTop - (list.clientHeight - options[row].offsetHeight) / 2;
    };
    const finish = then => {
      if (over) return;
      over = true; close();
      (svg.querySelector(`[data-id="${back}"]`) ?? svg).focus({ preventScroll: true });
      then?.();
    };
    const take = () => finish(() => done(choices[row][1]));
    const find = letter => {                                        // the first letters of a word
      typed = Date.now() - when < 800 ? typed + letter : letter; when = Date.now();
      const found = choices.findIndex(([label]) => label.toLowerCase().startsWith(typed));
      if (found >= 0) choose(found);
    };
    const gone = actions.Remove && (() => finish(actions.Remove));   // what the list is about
    const keys = { ...(gone ? { Delete: gone, Backspace: gone } : {}), ArrowDown: () => choose(row + 1), ArrowUp: () => choose(row - 1), Home: () => choose(0), End: () => choose(options.length - 1), Enter: take };
    list.onkeydown = ev => {
      if (ev.key === "Tab" || ev.ctrlKey || ev.metaKey || ev.altKey) return;
      if (ev.key in keys) keys[ev.key](); else if (ev.key === " " && !typed) take(); else if (ev.key.length === 1) find(ev.key.toLowerCase()); else return;
      ev.preventDefault();
    };
    const meant = ev => armed || ev.detail === 0;                   // not the end of the tap that opened the list
    options.forEach((o, k) => { o.onclick = ev => { if (meant(ev)) { choose(k); take(); } }; });
    const buttons = Object.entries(actions).map(([label, act]) => button(label, ev => meant(ev) && finish(act)));
    popup = html("div", { className: "sgdiff-popup" }, html("div", { textContent: title }), list);
    if (buttons.length) popup.append(html("div", { className: "sgdiff-tools" }, ...buttons));
    popup.onpointerdown = () => { armed = true; };
    popup.onkeydown = ev => {
      ev.stopPropagation();
      if (ev.key === "Escape") { ev.preventDefault(); finish(); }
    };
    popup.addEventListener("focusout", ev => { if (!over && !popup?.contains(ev.relatedTarget)) { over = true; close(); } });
    popup.style.visibility = "hidden";
    stage.append(popup);
    const wide = popup.offsetWidth, high = popup.offsetHeight, below = at.y + hand.node / 2 + 4, above = at.y - hand.node / 2 - 4 - high;
    const most = Math.max(stage.clientWidth - wide - 2, 2), beside = below + high > H && above < 0, half = (at.w ?? 0) / 2 + hand.reach;
    const left = !beside ? at.x - wide / 2 : at.x + half <= most ? at.x + half : at.x - half - wide;      // it must not lie on what may be clicked again
    popup.style.left = `${clamp(left, 2, most)}px`;
    popup.style.top = `${beside ? clamp(at.y - high / 2, 2, Math.max(H - high - 2, 2)) : below + high <= H ? below : above}px`;
    popup.style.visibility = "";
    choose(Math.max(choices.findIndex(([, value]) => value === current), 0));
    list.focus({ preventScroll: true });
  }
  const words = list => list.map(w => [w, w]);
  const addAt = p => pick("add an object", words(model.get("objects")), null, p ?? { x: W * 0.4, y: 0 },
    word => send("add_object", p ? { word, x: p.x / W, y: p.y / H } : { word }));
  const relate = (s, o) => {
    const a = place(s), b = place(o);
    pick(`${names()[s]} … ${names()[o]}`, words(model.get("predicates")), null, { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 },
      predicate => send("add_triple", { subject: s, predicate, object: o }));
  };
  const relateFrom = row => pick(`relate ${names()[row]} to`, names().map((n, i) => [n, i]).filter(([, i]) => i !== row), null, place(row), to => relate(row, to));
  const about = row => ({ ...place(row), w: width(label(nodes()[row])) });
  const describe = row => {
    const { may, attributes } = nodes()[row];
    pick(`${names()[row]} is`, may.map(a => [attributes.includes(a) ? `not ${a}` : a, a]), null, about(row), attribute => send("toggle_attribute", { row, attribute }));
  };
  function change(id) {
    const row = Number(id.slice(1)), gone = { Remove: () => remove(id) };
    if (id[0] === "o") pick(`in place of ${names()[row]}`, words(model.get("objects")), nodes()[row].word, about(row), word => send("replace_object", { row, word }),
      { ...(nodes()[row].may?.length ? { Describe: () => describe(row) } : {}), ...(nodes().length > 1 ? { Relate: () => relateFrom(row) } : {}), ...gone });
    else pick("the relation", words(model.get("predicates")), edges()[row].predicate, labels()[row], predicate => send("replace_predicate", { row, predicate }),
      { Turn: () => send("turn_triple", { row }), ...gone });
  }
  const remove = id => { close(); send(id[0] === "o" ? "remove_object" : "remove_triple", { row: Number(id.slice(1)) }); };

  // --- pointing
  svg.onpointerdown = ev => {
    if (ev.button) return;
    if (ev.pointerType === "touch" && hand !== COARSE) { hand = COARSE; fit(); }      // a finger on a laptop's screen
    const id = ev.target.closest("[data-id]")?.dataset.id ?? null, at = point(ev);
    const kind = ev.target.classList.contains("reach") ? "link" : id?.[0] === "o" ? "move" : "tap";
    close(); settle();
    press = { id, kind, row: id ? Number(id.slice(1)) : null, from: at, to: at, moved: false };
    press.key = kind === "move" ? nodes()[press.row].key : null;
    svg.setPointerCapture(ev.pointerId);
    (id ? svg.querySelector(`[data-id="${id}"]`) : svg).focus({ preventScroll: true });
    ev.preventDefault();
  };
  svg.addEventListener("touchstart", ev => { if (ev.target.closest("[data-id]")) ev.preventDefault(); }, { passive: false });   // else the page scrolls
  svg.onpointermove = ev => {
    if (still && !press) { still = false; look(ev.target.closest("[data-id]")?.dataset.id ?? ""); }
    if (!press) return;
    press.to = point(ev);
    if (Math.hypot(press.to.x - press.from.x, press.to.y - press.from.y) > hand.slip) press.moved = true;
    if (!press.moved || press.kind === "tap") return;
    if (press.kind === "move") moved.set(held = press.key, { x: clamp(press.to.x / W, 0.08, 0.92), y: clamp(press.to.y / H, 0.06, 0.94) });
    draw();
  };
  svg.onpointerup = ev => {
    if (!press) return;
    const done = press, now = ev.timeStamp;
    press = null;
    if (done.moved && done.kind === "move") settle();
    else if (done.moved && done.kind === "link") {
      const target = nodeAt(done.to);
      draw();
      if (target >= 0 && target !== done.row) relate(done.row, target);
    } else if (!done.moved) {
      const twice = tap && tap.id === done.id && now - tap.time < 400;
      tap = twice ? null : { id: done.id, time: now };
      if (done.id) change(done.id); else if (twice) addAt(done.to);         // the second click of two opens the list once more
    }
  };
  svg.onpointercancel = () => { press = held = null; moved.clear(); draw(); };
  stage.oncontextmenu = ev => {                     // the right button, the menu key, a long touch: what can be done here, and no menu of the page around
    const id = ev.target.closest("[data-id]")?.dataset.id;
    ev.preventDefault(); ev.stopPropagation();
    if (press || popup?.contains(ev.target)) return;
    close(); settle();
    if (id) { svg.querySelector(`[data-id="${id}"]`).focus({ preventScroll: true }); change(id); } else addAt(ev.detail || ev.button === 2 ? point(ev) : undefined);
  };
  const look = id => { if (model.get("hover") !== id) { model.set("hover", id); model.save_changes(); } };
  svg.onpointerover = ev => still || look(ev.target.closest("[data-id]")?.dataset.id ?? "");
  svg.onpointerleave = ev => ev.pointerType !== "touch" && look("");      // a finger leaves at once: what it touched stays shown
  svg.addEventListener("focusin", ev => restoring || look(ev.target.dataset?.id ?? ""));
  svg.addEventListener("focusout", ev => stage.contains(ev.relatedTarget) || look(""));

  // --- keys
  const steps = { ArrowLeft: [-0.03, 0], ArrowRight: [0.03, 0], ArrowUp: [0, -0.04], ArrowDown: [0, 0.04] };
  function nudge(row, [dx, dy]) {
    const { key } = nodes()[row], p = moved.get(key) ?? nodes()[row];
    if (held !== key) settle();
    moved.set(held = key, { x: clamp(p.x + dx, 0.08, 0.92), y: clamp(p.y + dy, 0.06, 0.94) });
    clearTimeout(resting);
    resting = setTimeout(settle, 300);              // one step to undo for one walk
    draw();
  }
  el.onkeydown = ev => {
    const id = document.activeElement?.dataset?.id, key = ev.key.toLowerCase(), held = ev.ctrlKey || ev.metaKey;
    const row = id ? Number(id.slice(1)) : null;
    ev.stopPropagation();
    if (document.activeElement?.tagName === "BUTTON" && !held) return;
    let used = true;
    if (held && key === "z") send(ev.shiftKey ? "redo" : "undo");
    else if (held && key === "y") send("redo");
    else if (held || ev.altKey) used = false;
    else if (key === "a") addAt();
    else if (key === "escape") close();
    else if (!id) used = false;
    else if (key === "enter" || key === " " || key === "f2") change(id);
    else if (key === "delete" || key === "backspace") remove(id);
    else if (key === "t" && id[0] === "t") send("turn_triple", { row });
    else if (key === "d" && id[0] === "o" && nodes()[row].may?.length) describe(row);
    else if (key === "r" && id[0] === "o" && nodes().length > 1) relateFrom(row);
    else if (id[0] === "o" && ev.key in steps) nudge(row, steps[ev.key]);
    else used = false;
    if (used) ev.preventDefault();
  };

  const refresh = () => { for (const key of [...moved.keys()]) if (key !== held) moved.delete(key); draw(); };      // news must not pull a node out of the hand
  model.on("change:board", refresh);
  model.on("msg:custom", answered);
  const resized = new ResizeObserver(fit);
  resized.observe(stage);
  fit();
  return () => { clearTimeout(resting); clearTimeout(late); resized.disconnect(); model.off("change:board", refresh); model.off("msg:custom", answered); };
}

export default { render };
