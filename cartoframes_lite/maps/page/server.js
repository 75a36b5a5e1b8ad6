// The connection to the CARTO server, on which the page instantiates its map.
const RENEWAL_MS = 30_000;
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** Return the server of the map, which is instantiated by open(). */
function mapServer(map) {
  const groups = [];
  const values = { layergroup: "" };
  const origin = new URL(content.server.opening.url).origin;
  let root = origin;
  let instantiatedAt = -Infinity;
  let opening = null;
  let filters = {}; // of dataviews, by name

  /** Return a URL of the server: as it was made, or through the notebook server. */
  const reach = (url) => root + url.slice(origin.length);
  const url = (template, more) => reach(L.Util.template(template, { ...values, ...more }));

  /** Instantiate the map; called again when tiles fail, because the server drops maps that are not in use. */
  function open() {
    instantiatedAt = performance.now();
    opening = openAnywhere(filters);
    return opening;
  }

  async function openAnywhere(wanted) {
    for (root of serverRoots(origin)) {
      try {
        const layergroup = await instantiate(wanted);
        if (wanted !== filters) return; // others were set meanwhile
        values.layergroup = layergroup;
        hideNotice();
        groups.forEach((group) => group.draw());
        return;
      } catch (error) {
        console.debug(`No map from ${root}: ${error.message}`);
      }
    }
    showUnavailable(map);
  }

  async function instantiate(wanted) {
    const response = await fetch(withParameters(reach(content.server.opening.url), filterParameters(wanted)), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(content.server.opening.body),
    });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return (await response.json()).layergroupid;
  }

  /** Filter the layers by dataviews: the server renders other tiles. */
  function setFilters(wanted) {
    filters = wanted;
    return open();
  }

  /** Request a dataview; if the server has dropped the map, once more after instantiating it again. */
  async function readDataview(name, parameters, isRetry = false) {
    await opening;
    const response = await fetch(withParameters(url(content.server.dataview, { name }), parameters));
    if (response.ok) return response.json();
    if (isRetry) throw new Error(`HTTP ${response.status}`);
    await open();
    return readDataview(name, parameters, true);
  }

  function renew() {
    if (performance.now() - instantiatedAt > RENEWAL_MS) open();
  }

  function tileGroup(pane) {
    const group = createTileGroup(map, server, pane);
    group.tiles.on("tileerror", renew);
    group.tiles.on("tileload", () => document.body.classList.add("drawn"));
    groups.push(group);
    return group;
  }

  const server = { open, tileGroup, setFilters, readDataview, url, values };
  return server;
}

/** Return a URL with more query parameters. */
function withParameters(url, parameters) {
  const query = new URLSearchParams(parameters).toString();
  return query ? `${url}${url.includes("?") ? "&" : "?"}${query}` : url;
}

/** Return the query parameters that instantiate a map with filters of its dataviews. */
function filterParameters(filters) {
  return Object.keys(filters).length ? { filters: JSON.stringify({ dataviews: filters }) } : {};
}

/** Return where the server may be found: directly, and if it is on loopback, through jupyter-server-proxy. */
function serverRoots(origin) {
  const { hostname, port } = new URL(origin);
  const notebook = LOOPBACK.test(hostname) ? notebookURL() : null;
  const proxies = notebook ? [`${notebook}proxy/${port || 80}`] : [];
  const place = new URL(notebook ?? document.baseURI);
  // The loopback interface of the reader is another machine's; browsers ask for permission before such requests.
  const isElsewhere = place.protocol === "https:" && LOOPBACK.test(hostname) && !LOOPBACK.test(place.hostname);
  return isElsewhere ? proxies : [origin, ...proxies];
}

/** Return the base URL of the notebook server, from the page that contains this one; null if it is not in a notebook. */
function notebookURL() {
  try {
    const outside = window.parent.document;
    const config = outside.getElementById("jupyter-config-data");
    const path = config ? JSON.parse(config.textContent).baseUrl : outside.body.dataset.baseUrl;
    return path ? new URL(path.replace(/\/*$/, "/"), outside.baseURI).href : null;
  } catch {
    return null; // the page outside is of another site
  }
}

/** Show the picture instead of a map without data; a map that has been drawn stays as it is. */
function showUnavailable(map) {
  if (document.body.classList.contains("drawn")) {
    showNotice("The server of this map does not respond.");
    return;
  }
  if (!content.hasPicture) {
    showNotice("The data of this map could not be loaded.");
    return;
  }
  document.body.classList.add("static");
  map.attributionControl.addAttribution(content.attribution);
  for (const handler of ["dragging", "touchZoom", "doubleClickZoom", "scrollWheelZoom", "boxZoom", "keyboard"]) {
    map[handler]?.disable();
  }
  map.getContainer().setAttribute("role", "img");
  showNotice("Picture of the map", "The server of this map cannot be reached from here.");
}

function showNotice(text, explanation = "") {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  notice.title = explanation;
  notice.hidden = false;
}

function hideNotice() {
  document.getElementById("notice").hidden = true;
}
