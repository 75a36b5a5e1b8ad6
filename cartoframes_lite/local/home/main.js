// Select the page by the path of the URL, and ask for the API key.

import { ACCOUNT_URL, apiKey, kindOfKey, setApiKey } from "./api.js";
import { showError } from "./dom.js";
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
  // Not from the beginning: the path may be below another path of a proxy.
  const [, kind, name] = location.pathname.match(/\/(tables|dataset|viz|builder|named)\/([^/]+)(?:\/[^/]*)?\/?$/) ?? [];
  if (!kind) end = showOverview(place, access);
  else if (kind === "tables" || kind === "dataset") showDataset(place, decodeURIComponent(name), access);
  else if (kind === "named") showNamedMap(place, decodeURIComponent(name), access);
  else showMapPage(place, decodeURIComponent(name), access);
}

async function start() {
  let access = "public";
  if (apiKey()) {
    try {
      access = await kindOfKey(apiKey());
    } catch {
      setApiKey(null);
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
