// The second visit needs no network: what the page is made of is kept; the networks are kept by worker.js, which checks them.
const KEPT = "sgdiff-page", PARTS = [".", "index.html", "page.css", "views.css", "page.js", "worker.js", "engine.js", "sampler.js", "noise.js", "words.js", "graph.js", "reader.js",
  "editor.js", "inside.js", "takeover.js", "graph_canvas.js", "manifest.json", "runtime/ort.wasm.min.mjs", "runtime/ort-wasm-simd-threaded.mjs"];

self.addEventListener("install", event => event.waitUntil(caches.open(KEPT).then(cache => cache.addAll(PARTS)).then(() => self.skipWaiting())));
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));

async function fresh(request) {                     // from the network, which is newer; from the last visit where there is none
  const cache = await caches.open(KEPT);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener("fetch", event => {
  const url = new URL(event.request.url);
  const own = url.origin === location.origin && url.pathname.startsWith(new URL(".", location).pathname);
  if (own && event.request.method === "GET" && !url.searchParams.has("v")) event.respondWith(fresh(event.request));
});
