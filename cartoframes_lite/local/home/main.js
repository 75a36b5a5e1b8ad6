// Select the page by the path of the URL, and ask for the API key.

import { ACCOUNT_URL, apiKey, kindOfKey, setApiKey } from "./api.js";
import { el, showError } from "./dom.js";
import { showDataset, showMapPage, showNamedMap } from "./entry.js";
import { showOverview } from "./overview.js";

const [place, status, button, dialog] = ["content", "access", "key-button", "key-dialog"].map((id) => document.getElementById(id));
const [form, field, problem, cancel] = ["key-form", "key", "key-error", "key-cancel"].map((id) => document.getElementById(id));
const ACCESS = { public: "public data only", regular: "regular key", master: "master key" };
let end = () => {};

function show(access) {
  end();
  end = () => {};
  status.textContent = ACCESS[access];
  status.dataset.value = access;
  button.textContent = access === "public" ? "Enter API key" : "Forget API key";
  // A new element for each page: what an earlier one still waits for is shown nowhere.
  const view = el("div", { class: "view" });
  place.replaceChildren(view);
  const [kind, name] = pageOf(location.pathname);
  if (kind === "tables" || kind === "dataset") showDataset(view, name, access);
  else if (kind === "viz" || kind === "builder") showMapPage(view, name, access);
  else if (kind === "named") showNamedMap(view, name, access);
  else end = showOverview(view, access);
}

/** Return the kind of a page and the name or id of what it shows. The path may begin with that of a proxy. */
function pageOf(path) {
  const root = new URL(ACCOUNT_URL).pathname.replace(/user\/[^/]+$/, "");
  const [kind, name = ""] = path.slice(root.length).replace(/^u(ser)?\/[^/]+\/?/, "").split("/");
  try {
    return [kind, decodeURIComponent(name)];
  } catch {
    return [kind, name]; // not encoded correctly
  }
}

async function start() {
  let access = "public";
  if (apiKey()) {
    try {
      access = await kindOfKey(apiKey());
    } catch (error) {
      if ([401, 403].includes(error.status)) setApiKey(null);
      else access = "regular"; // the server does not respond: the lists tell it
    }
  }
  show(access);
}

button.addEventListener("click", () => {
  if (apiKey()) {
    setApiKey(null);
    show("public");
    return;
  }
  showError(problem, null);
  dialog.showModal();
});
cancel.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => form.reset());
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = field.value.trim();
  try {
    const access = await kindOfKey(key);
    setApiKey(key);
    dialog.close();
    show(access);
  } catch (error) {
    showError(problem, error.status === 401 ? new Error("The account has no such API key.") : error);
    field.select();
  }
});

document.querySelector(".brand").href = ACCOUNT_URL;
start();
