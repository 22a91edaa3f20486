// The words of all pages, some megabytes, come when somebody searches; as a script, since a page
// that was opened from a disk may fetch nothing.
{
  const fetched = window.fetch, words = new URL("search-index.js", document.currentScript.src);
  let index = null;
  window.fetch = (...asked) => {
    if (!String(asked[0]).endsWith("search.json")) return fetched(...asked);
    index ??= new Promise((there, missing) => {
      const script = document.createElement("script");
      Object.assign(script, { src: words, onload: () => there(window.searchIndex), onerror: missing });
      document.head.append(script);
    });
    return index.then((entries) => ({ json: () => entries }));
  };
}
