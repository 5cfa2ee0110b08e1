// A tab of the sidebar that shows how the server is: queue, memory, disk, models, sandboxes, hardening, guardian.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { Curve } from "./curve.js";
import { sandboxes, shown } from "./sandboxes.js";
import { disk, guardian, models, parts, queue, state } from "./sections.js";
import { element, say } from "./shared.js";

const PERIOD_MS = 2000;
const PATIENCE_MS = 10_000;

// The answer of /zimage/status, or null without one.
async function status() {
  try {
    const answer = await api.fetchApi("/zimage/status", { signal: AbortSignal.timeout(PATIENCE_MS) });
    return answer.ok ? await answer.json() : null;
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
    this.rounds = 0; // counts openings, so that an answer to an earlier one starts no second round
  }

  open(parent) {
    if (this.box.parentElement === parent) return; // the page renders again what is there
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
    const found = await status();
    if (number !== this.rounds) return;
    if (!this.box.isConnected) return this.close(); // a page that does not say so
    this.show(found);
    this.timer = setTimeout(() => void this.round(number), PERIOD_MS);
  }

  show(found) {
    this.box.classList.toggle("zimage-stale", !found);
    const minutes = Math.floor((found?.uptime_seconds ?? 0) / 60);
    state.update(found && { reasons: found.reasons, mode: found.mode, minutes });
    if (!found) return Object.values(this.curves).forEach((curve) => curve.pause());
    queue.update(found.queue);
    for (const [name, use] of Object.entries(found.memory)) {
      const curve = this.curves[name];
      if (!curve.box.isConnected) this.memory.append(curve.box);
      curve.add(use);
    }
    disk.update(found.patches.disk?.percent ?? {});
    models.update(found.models_loaded);
    sandboxes.update(shown(found.sandboxes));
    parts.update(
      Object.fromEntries(
        Object.entries(found.patches).map(([name, { status, code, zh, en }]) => [name, { status, code, zh, en }]),
      ),
    );
    guardian.update(found.guardian);
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
      label: "Z-Image", // below the icon, where the whole title takes two lines
      tooltip: title,
      type: "custom",
      render: (parent) => panel.open(parent),
      destroy: () => panel.close(),
    });
  },
});
