// Shared by the pack's page extensions: the page's language, requests to the pack, the style sheet.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

export function setting(id, otherwise) {
  try {
    return app.extensionManager.setting.get(id) ?? otherwise;
  } catch {
    return otherwise; // another version of the page
  }
}

export function isChinese() {
  return String(setting("Comfy.Locale", navigator.language)).startsWith("zh");
}

export function say(zh, en) {
  return isChinese() ? zh : en;
}

// Returns a coded message of the server in the page's language.
export function message(entry) {
  return `[${entry.code}] ${say(entry.zh, entry.en)}`;
}

// Sends a POST and returns the JSON response, null without one (an older server, no network).
export async function ask(path, body) {
  try {
    const response = await api.fetchApi(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!(response.headers.get("Content-Type") ?? "").includes("json")) return null;
    return await response.json();
  } catch {
    return null;
  }
}

export function element(kind, className, text) {
  const node = document.createElement(kind);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text; // never HTML, because texts quote the workflow
  return node;
}

const sheet = element("link");
sheet.rel = "stylesheet";
sheet.href = new URL("./zimage.css", import.meta.url).href;
document.head.append(sheet);
