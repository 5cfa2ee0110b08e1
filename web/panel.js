// The sidebar tab with the server's status: queue, memory, disk, models, sandboxes, hardening, guardian.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { Curve } from "./curve.js";
import { dataToShow, sandboxes } from "./sandboxes.js";
import { disk, guardian, models, parts, queue, state } from "./sections.js";
import { element, say } from "./shared.js";

const PERIOD_MS = 2000;
const TIMEOUT_MS = 10_000;

// Returns the response of /zimage/status, null if the server does not respond.
async function status() {
  try {
    const response = await api.fetchApi("/zimage/status", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

class Panel {
  constructor() {
    this.curves = {
      gpu: new Curve(() => say("本进程显存", "Process GPU memory")),
      ram: new Curve(() => say("本进程内存", "Process memory")),
    };
    this.memory = element("section", "zimage-section zimage-memory");
    this.box = element("div", "zimage-panel");
    const boxes = [state, queue, disk, models, sandboxes, parts, guardian].map((section) => section.box);
    boxes.splice(2, 0, this.memory);
    this.box.append(...boxes);
    this.rounds = 0; // number of openings; a late response to an earlier one is ignored
  }

  open(parent) {
    if (this.box.parentElement === parent) return; // the page may render an open tab again
    parent.append(this.box);
    void this.round(++this.rounds);
  }

  close() {
    this.rounds += 1;
    clearTimeout(this.timer);
    Object.values(this.curves).forEach((curve) => curve.pause());
    this.box.remove();
  }

  async round(number) {
    const current = await status();
    if (number !== this.rounds) return;
    if (!this.box.isConnected) return this.close(); // a page that does not call destroy
    this.show(current);
    this.timer = setTimeout(() => void this.round(number), PERIOD_MS);
  }

  show(current) {
    this.box.classList.toggle("zimage-stale", !current);
    const minutes = Math.floor((current?.uptime_seconds ?? 0) / 60);
    state.update(current && { reasons: current.reasons, mode: current.mode, minutes });
    if (!current) return Object.values(this.curves).forEach((curve) => curve.pause());
    queue.update(current.queue);
    for (const [name, use] of Object.entries(current.memory)) {
      const curve = this.curves[name];
      if (!curve.box.isConnected) this.memory.append(curve.box);
      curve.add(use);
    }
    disk.update(current.patches.disk?.percent ?? {});
    models.update(current.models_loaded);
    sandboxes.update(dataToShow(current.sandboxes));
    parts.update(
      Object.fromEntries(
        Object.entries(current.patches).map(([name, { status, code, zh, en }]) => [name, { status, code, zh, en }]),
      ),
    );
    guardian.update(current.guardian);
  }
}

const sheet = element("link");
sheet.rel = "stylesheet";
sheet.href = new URL("./panel.css", import.meta.url).href;
document.head.append(sheet);

app.registerExtension({
  name: "ZImage.Panel",
  setup() {
    const panel = new Panel();
    const title = say("Z-Image 状态", "Z-Image status");
    app.extensionManager?.registerSidebarTab?.({
      id: "zimage-status",
      icon: "pi pi-chart-line",
      title,
      label: "Z-Image", // the text below the icon; the full title would need two lines
      tooltip: title,
      type: "custom",
      render: (parent) => panel.open(parent),
      destroy: () => panel.close(),
    });
  },
});
