// The panel's section about packs in sandboxes: the state of each, reasons for failures, and buttons.
import { Section } from "./sections.js";
import { ask, element, message, say } from "./shared.js";

const MODES = {
  auto: ["自动", "auto"],
  strict: ["严格", "strict"],
  off: ["关闭", "off"],
};
const STATUS = {
  running: ["运行中", "running"],
  resting: ["未运行", "not running"],
  quarantined: ["已隔离", "quarantined"],
  refused: ["未加载", "not loaded"],
};
const CONFINED = {
  landlock: ["文件", "files"],
  seccomp: ["系统调用与网络", "system calls, network"],
  capabilities: ["特权", "privileges"],
  no_new_privs: ["提权", "gaining privileges"],
  limits: ["资源", "resources"],
  tasks: ["进程数", "number of processes"],
  environment: ["环境变量", "environment"],
  bubblewrap: ["隐藏其他文件", "hiding other files"],
  threads: ["线程", "threads"],
};
const failures = new Map(); // text of the error of the last button, by pack

function label(names, key) {
  return names[key] ? say(...names[key]) : key;
}

function size(bytes) {
  const mib = bytes / 2 ** 20;
  return mib < 1000 ? `${Math.round(mib)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
}

// Returns a button that sends an action for a pack: lift, restart or stop.
function button(pack, action, text, title) {
  const control = element("button", "zimage-button", text);
  Object.assign(control, { type: "button", title });
  control.dataset.action = action;
  control.addEventListener("click", async () => {
    control.disabled = true;
    const answer = await ask(`/zimage/sandbox/${action}`, { pack });
    control.disabled = false;
    if (!answer) failures.set(pack, say("服务器无响应。", "The server does not respond."));
    else if (answer.error) failures.set(pack, message(answer.error));
    else failures.delete(pack);
  });
  return control;
}

function buttons(name, { status }) {
  const box = element("span", "zimage-buttons");
  const add = (action, text, title) => box.append(button(name, action, text, title));
  if (status === "quarantined") {
    add("lift", say("解除隔离", "Lift"),
      say("解除隔离并启动工作进程", "Lift the quarantine and start the worker"));
  }
  if (status === "resting") {
    add("restart", say("启动", "Start"),
      say("立即启动工作进程，而不是等到首次使用时", "Start the worker now instead of at its first use"));
  }
  if (status === "running") {
    add("restart", say("重启", "Restart"),
      say("重启工作进程；正在运行的节点会失败", "Restart the worker; a running node fails"));
    add("stop", say("停止", "Stop"),
      say("停止工作进程；下次使用时再启动", "Stop the worker; it starts again at its next use"));
  }
  return box;
}

function facts({ status, memory_bytes, nodes, starts }) {
  const texts = [label(STATUS, status), say(`${nodes} 个节点`, nodes === 1 ? "1 node" : `${nodes} nodes`)];
  if (status === "running") texts.push(size(memory_bytes));
  if (starts > 1) texts.push(say(`启动 ${starts} 次`, `started ${starts} times`));
  return texts.join(" · ");
}

// "5 minutes" is CRASH_SECONDS of sandbox/host/crash_history.py.
function ended({ status, crashes, last_end, last_end_zh: zh }) {
  if (status === "quarantined") {
    return say(
      `5 分钟内意外退出 ${crashes} 次，最近一次：${zh}`,
      `ended unexpectedly ${crashes} times in 5 minutes, last: ${last_end}`,
    );
  }
  return say(`上次意外退出：${zh}`, `last unexpected end: ${last_end}`);
}

function reasons(name, pack, findings) {
  const texts = findings.filter((finding) => finding.pack === name).map(message);
  if (pack.last_end) texts.push(ended(pack));
  if (failures.has(name)) texts.push(failures.get(name));
  return [...new Set(texts)].map((text) => element("p", "zimage-why", text));
}

// The limits that do not work on this machine; hovering shows the kernel's reason.
function gapsOf({ not_confined: gaps }) {
  const names = Object.keys(gaps);
  if (!names.length) return [];
  const list = names.map((name) => label(CONFINED, name)).join(say("、", ", "));
  const text = element("p", "zimage-why", say(`未生效的限制：${list}`, `limits not in force: ${list}`));
  text.title = names.map((name) => `${name}: ${gaps[name].reason}`).join("\n");
  return [text];
}

function row(name, pack, findings) {
  const kind = pack.status === "running" ? "good" : pack.status;
  const box = element("div", `zimage-part zimage-dot zimage-${kind}`);
  box.dataset.pack = name;
  const head = element("div", "zimage-line");
  head.append(element("b", "", name), buttons(name, pack));
  box.append(head, element("p", "zimage-faint", facts(pack)));
  box.append(...reasons(name, pack, findings), ...gapsOf(pack));
  return box;
}

export const sandboxes = new Section("sandboxes", () => say("沙箱", "Sandboxes"), (data) => {
  const { mode, packs, trusted, blocked, findings, restart_for: waiting } = data;
  const names = Object.keys(packs);
  if (mode === "off" && !names.length) return [];
  const modeName = label(MODES, mode);
  const count = say(`${names.length} 个节点包`, names.length === 1 ? "1 pack" : `${names.length} packs`);
  const summary = say(`模式：${modeName}，${count}`, `mode: ${modeName}, ${count}`);
  const others = findings.filter((finding) => !(finding.pack in packs)).map(message);
  const addList = (zh, en, entries) => {
    if (entries.length) others.push(say(`${zh}：${entries.join("、")}`, `${en}: ${entries.join(", ")}`));
  };
  addList("在 ComfyUI 进程内运行", "in ComfyUI's process", trusted);
  addList("已禁止", "blocked", blocked);
  addList("重启 ComfyUI 后生效", "after a restart of ComfyUI", waiting);
  return [
    element("p", "zimage-faint", summary),
    ...names.map((name) => row(name, packs[name], findings)),
    ...others.map((text) => element("p", "zimage-why zimage-aside", text)),
  ];
});

// Returns the data that the section shows. Memory is rounded, so that the section is not redrawn at
// each small change and buttons stay under the pointer.
export function dataToShow(current) {
  const step = 4 * 2 ** 20;
  const packs = Object.entries(current?.packs ?? {}).map(([name, pack]) => [
    name,
    { ...pack, pid: null, memory_bytes: Math.round(pack.memory_bytes / step) * step },
  ]);
  return { mode: "off", trusted: [], blocked: [], findings: [], restart_for: [], ...current,
    packs: Object.fromEntries(packs), failures: [...failures] };
}
