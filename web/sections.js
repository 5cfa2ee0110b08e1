// The sections of the status panel. A section is redrawn only when its data has changed.
import { isChinese, element, say } from "./shared.js";
import { nameOf, reasonOf, whyNot } from "./parts.js";

// A heading and its rows; hidden without rows.
export class Section {
  constructor(className, title, render) {
    Object.assign(this, { title, render, shown: "" });
    this.box = element("section", `zimage-section zimage-${className}`);
  }

  update(data) {
    const key = JSON.stringify([isChinese(), data]);
    if (key === this.shown) return;
    this.shown = key;
    const rows = this.render(data);
    this.box.hidden = !rows.length;
    this.box.replaceChildren(...(this.title ? [element("h3", "", this.title())] : []), ...rows);
    const log = this.box.querySelector(".zimage-log");
    if (log) log.scrollTop = log.scrollHeight;
  }
}

function line(label, value, className = "") {
  const row = element("div", `zimage-line ${className}`);
  row.append(element("span", "", label), element("b", "", value));
  return row;
}

function since(minutes) {
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  if (days) return say(`${days} 天 ${hours} 小时`, `${days} d ${hours} h`);
  const rest = minutes % 60;
  return hours ? say(`${hours} 小时 ${rest} 分`, `${hours} h ${rest} min`) : say(`${rest} 分钟`, `${rest} min`);
}

function degraded(mode) {
  const limits = mode === "cpu" ? say("不加载其他节点包，也不使用 GPU", "without other packs and without the GPU") : say("不加载其他节点包", "without other packs");
  return say(`降级模式（${limits}）：服务器接连异常退出，稳定运行一段时间后自动恢复正常`, `Degraded mode (${limits}): the server has died several times in a row; it returns to normal after running stably for a while`);
}

// `status` is null if the server does not respond.
export const state = new Section("state", null, (status) => {
  const good = status && !status.reasons.length;
  const text = !status
    ? say("服务器无响应", "The server does not respond")
    : good
      ? say("就绪", "Ready")
      : say("无法运行任务", "Prompts cannot run");
  const head = element("div", `zimage-line zimage-dot zimage-${good ? "good" : "bad"}`);
  const up = status && say(`已运行 ${since(status.minutes)}`, `up ${since(status.minutes)}`);
  head.append(element("b", "", text), element("span", "zimage-faint", up ?? ""));
  const reasons = (status?.reasons ?? []).map(reasonOf);
  if (status && status.mode !== "normal") reasons.push(degraded(status.mode));
  return [head, ...reasons.map((reason) => element("p", "zimage-why", reason))];
});

export const queue = new Section("queue", () => say("队列", "Queue"), (counts) => {
  const row = element("div", "zimage-figures");
  for (const [key, label] of [
    ["running", say("运行中", "running")],
    ["waiting", say("等待", "waiting")],
    ["history", say("历史", "history")],
  ]) {
    const figure = element("div", counts[key] && key !== "history" ? "zimage-busy" : "");
    figure.dataset.key = key;
    figure.append(element("b", "", String(counts[key])), element("span", "zimage-faint", label));
    row.append(figure);
  }
  return [row];
});

export const disk = new Section("disk", () => say("磁盘", "Disk"), (percents) => {
  const label = { output: say("输出", "output"), temp: say("临时", "temp"), state: say("队列与日志", "queue, logs") };
  const byUse = new Map(); // folders on the same disk share a line
  for (const [name, use] of Object.entries(percents)) {
    byUse.set(use, [...(byUse.get(use) ?? []), label[name] ?? name]);
  }
  return [...byUse].flatMap(([use, names]) => {
    const bar = element("div", `zimage-bar ${use > 90 ? "zimage-bad" : ""}`);
    bar.append(element("i"));
    bar.firstChild.style.width = `${Math.min(use, 100)}%`;
    return [line(names.join(say("、", ", ")), `${use.toFixed(1)} %`), bar];
  });
});

export const models = new Section("models", () => say("已加载的模型", "Loaded models"), (names) => {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const tags = [...counts].map(([name, count]) =>
    element("span", "zimage-chip", count > 1 ? `${name} × ${count}` : name),
  );
  const row = element("div", "zimage-chips");
  row.append(...(tags.length ? tags : [element("span", "zimage-faint", say("没有", "none"))]));
  return [row];
});

export const parts = new Section("parts", () => say("服务器加固", "Hardening"), (patches) => {
  const entries = Object.entries(patches);
  const active = entries.filter(([, entry]) => entry.status === "active");
  const others = entries.filter(([, entry]) => entry.status !== "active").map(([name, entry]) => {
    const row = element("div", `zimage-part zimage-dot zimage-${entry.status}`);
    row.dataset.part = name;
    row.append(element("b", "", nameOf(name)), element("p", "zimage-why", whyNot(name, entry)));
    return row;
  });
  const grid = element("div", "zimage-grid");
  for (const [name] of active) {
    const cell = element("span", "zimage-dot zimage-good", nameOf(name));
    cell.dataset.part = name;
    grid.append(cell);
  }
  const total = say(`${active.length} 项启用，共 ${entries.length} 项`, `${active.length} of ${entries.length} active`);
  return [element("p", "zimage-faint", total), ...others, grid];
});

const EVENT = /^\d{4}-(\d\d-\d\d \d\d:\d\d:\d\d),\d+ guardian:((?: \[\d+\])?) (.*)$/;

// Returns a line of the guardian's log, which has both languages, in the page's language.
function event(line) {
  const match = EVENT.exec(line);
  if (!match) return line;
  const [, time, pid, text] = match;
  const languages = text.split(" / ");
  return `${time}${pid} ${languages.length === 2 ? say(...languages) : text}`;
}

export const guardian = new Section("guardian", () => say("守护进程", "Guardian"), (lines) => {
  if (!lines.length) return [];
  const log = element("div", "zimage-log");
  log.append(...lines.map((line) => element("p", "", event(line))));
  return [log];
});
