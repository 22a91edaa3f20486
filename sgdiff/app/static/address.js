// The address of the app's page holds its graph and settings, in the form of the page that draws (page/page.js): #g=...&seed=...
// A question mark in the place of the hash is read too. In JupyterLab and on the site the address is not ours: nothing is read or written.
const SPEAKS = /(^|&)(g|seed|n|steps|guidance|relations)=/;

function render({ model, el }) {
  el.hidden = true;
  if (!("voila" in document.body.dataset)) return;
  const follow = () => {
    const link = [location.hash, location.search].map(part => part.slice(1)).find(part => SPEAKS.test(part));
    if (link) model.send({ link });
  };
  const write = () => history.replaceState(null, "", `#${model.get("link")}`);
  model.on("change:link", write);
  addEventListener("hashchange", follow);
  follow();
  return () => { model.off("change:link", write); removeEventListener("hashchange", follow); };
}

export default { render };
