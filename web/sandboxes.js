// The panel's section about packs in sandboxes: how each is, why one is not there, and two buttons.
import { Section } from "./sections.js";
import { ask, element, message, say } from "./shared.js";

const MODES = {
  auto: ["自动", "auto"],
  strict: ["严格", "strict"],
  off: ["关闭", "off"],
};
const STATUS = {
  running: ["运行中", "running"],
  resting: ["休眠", "resting"],
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
  bubblewrap: ["看不到其余文件", "other files out of sight"],
  threads: ["线程", "threads"],
};
const failures = new Map(); // what the server has said to a button, by pack

function of(names, key) {
  return names[key] ? say(...names[key]) : key;
}

function size(bytes) {
  const mib = bytes / 2 ** 20;
  return mib < 1000 ? `${Math.round(mib)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
}

function button(pack, deed, text, about) {
  const made = element("button", "zimage-button", text);
  Object.assign(made, { type: "button", title: about });
  made.dataset.deed = deed;
  made.addEventListener("click", async () => {
    made.disabled = true;
    const answer = await ask(`/zimage/sandbox/${deed}`, { pack });
    made.disabled = false;
    const lost = { code: "ZI-SANDBOX", zh: "服务器没有应答。", en: "The server did not answer." };
    const error = answer ? answer.error : lost;
    if (error) failures.set(pack, error);
    else failures.delete(pack);
  });
  return made;
}

function buttons(name, { status }) {
  const row = element("span", "zimage-buttons");
  if (status === "quarantined") {
    row.append(button(name, "lift", say("解除隔离", "Lift"), say("解除隔离并重新启动它的进程", "Lift the quarantine and start its process")));
  }
  if (status === "resting") {
    row.append(button(name, "restart", say("启动", "Start"), say("现在启动它的进程，而不是等到用到时", "Start its process now, not when it is needed")));
  }
  if (status === "running") {
    row.append(
      button(name, "restart", say("重启", "Restart"), say("结束它的进程并重新启动；正在运行的节点会失败", "End its process and start another; a node of it that runs fails")),
      button(name, "stop", say("停止", "Stop"), say("结束它的进程；下次用到时再启动", "End its process; it starts again when it is needed")),
    );
  }
  return row;
}

function facts({ status, memory_bytes, nodes, starts }) {
  const found = [of(STATUS, status), say(`${nodes} 个节点`, nodes === 1 ? "1 node" : `${nodes} nodes`)];
  if (status === "running") found.push(size(memory_bytes));
  if (starts > 1) found.push(say(`启动 ${starts} 次`, `started ${starts} times`));
  return found.join(" · ");
}

function ended({ status, crashes, last_end, last_end_zh: zh }) {
  if (status === "quarantined") {
    return say(`5 分钟内意外结束 ${crashes} 次，最后一次：${zh}`, `ended unexpectedly ${crashes} times in 5 minutes, last: ${last_end}`);
  }
  return say(`上次意外结束：${zh}`, `last unexpected end: ${last_end}`);
}

function whys(name, about, findings) {
  const found = findings.filter((one) => one.pack === name).map(message);
  if (about.last_end) found.push(ended(about));
  if (failures.has(name)) found.push(message(failures.get(name)));
  return [...new Set(found)].map((one) => element("p", "zimage-why", one));
}

// What this machine does not confine; why is the kernel's to say, in its words, on hovering.
function open({ not_confined: gaps }) {
  const names = Object.keys(gaps);
  if (!names.length) return [];
  const list = names.map((one) => of(CONFINED, one)).join(say("、", ", "));
  const made = element("p", "zimage-why", say(`没有生效的限制：${list}`, `limits not in force: ${list}`));
  made.title = names.map((one) => `${one}: ${gaps[one].reason}`).join("\n");
  return [made];
}

function row(name, about, findings) {
  const kind = about.status === "running" ? "good" : about.status;
  const made = element("div", `zimage-part zimage-dot zimage-${kind}`);
  made.dataset.pack = name;
  const head = element("div", "zimage-line");
  head.append(element("b", "", name), buttons(name, about));
  made.append(head, element("p", "zimage-faint", facts(about)));
  made.append(...whys(name, about, findings), ...open(about));
  return made;
}

export const sandboxes = new Section("sandboxes", () => say("沙箱", "Sandboxes"), (found) => {
  const { mode, packs, trusted, blocked, findings, restart_for: waiting } = found;
  const names = Object.keys(packs);
  if (mode === "off" && !names.length) return [];
  const list = (some) => some.join(say("、", ", "));
  const counted = say(`模式：${of(MODES, mode)}，${names.length} 个扩展包`, `mode: ${of(MODES, mode)}, ${names.length === 1 ? "1 pack" : `${names.length} packs`}`);
  const others = findings.filter((one) => !(one.pack in packs)).map(message);
  if (trusted.length) others.push(say(`在 ComfyUI 进程内运行：${list(trusted)}`, `in ComfyUI's process: ${list(trusted)}`));
  if (blocked.length) others.push(say(`已禁止：${list(blocked)}`, `blocked: ${list(blocked)}`));
  if (waiting.length) others.push(say(`重启 ComfyUI 后生效：${list(waiting)}`, `after a restart of ComfyUI: ${list(waiting)}`));
  return [
    element("p", "zimage-faint", counted),
    ...names.map((name) => row(name, packs[name], findings)),
    ...others.map((one) => element("p", "zimage-why zimage-aside", one)),
  ];
});

// What decides how the section looks: memory in steps, so that buttons stay under the pointer.
export function shown(found) {
  const step = 4 * 2 ** 20;
  const packs = Object.entries(found?.packs ?? {}).map(([name, about]) => [
    name,
    { ...about, pid: null, memory_bytes: Math.round(about.memory_bytes / step) * step },
  ]);
  return { mode: "off", trusted: [], blocked: [], findings: [], restart_for: [], ...found,
    packs: Object.fromEntries(packs), failures: [...failures] };
}
