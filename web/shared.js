// What the pack's page extensions share: the page's language, requests to the pack, the style sheet.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

export function setting(id, otherwise) {
  try {
    return app.extensionManager.setting.get(id) ?? otherwise;
  } catch {
    return otherwise; // a page without this interface
  }
}

export function isChinese() {
  return String(setting("Comfy.Locale", navigator.language)).startsWith("zh");
}

export function say(zh, en) {
  return isChinese() ? zh : en;
}

// A coded message of the server, as the page's language asks.
export function message(entry) {
  return `[${entry.code}] ${say(entry.zh, entry.en)}`;
}

// The answer as JSON, or null where there is no such request (an older server, no network).
export async function ask(path, body) {
  try {
    const answer = await api.fetchApi(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!(answer.headers.get("Content-Type") ?? "").includes("json")) return null;
    return await answer.json();
  } catch {
    return null;
  }
}

export function element(kind, className, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text; // never HTML: texts quote the workflow
  return made;
}

const sheet = element("link");
sheet.rel = "stylesheet";
sheet.href = new URL("./zimage.css", import.meta.url).href;
document.head.append(sheet);
