// The names of the parts of the hardening and the reasons why one is not active, in both languages.
import { message, say } from "./shared.js";

const NAMES = {
  worker: ["工作线程", "Worker thread"],
  results: ["节点结果", "Node results"],
  memory: ["内存归还", "Memory"],
  swap: ["模型切换", "Model switching"],
  residency: ["空闲卸载", "Idle unloading"],
  tokenizer: ["分词器", "Tokenizer"],
  leftovers: ["残留文件", "Leftover files"],
  sockets: ["消息发送", "Messages"],
  reconnect: ["断线重连", "Reconnection"],
  origins: ["来源检查", "Origins"],
  malformed: ["错误请求", "Malformed requests"],
  paths: ["文件路径", "File paths"],
  pictures: ["图片大小", "Picture sizes"],
  history: ["历史发送", "History"],
  guarded: ["守护进程", "Guardian"],
  queue: ["持久队列", "Durable queue"],
  disk: ["磁盘保护", "Disk guard"],
  deadline: ["采样时限", "Deadlines"],
  logs: ["运行日志", "Logs"],
  fuse: ["请求检查", "Requests"],
  interrupt: ["中断处理", "Interrupts"],
};
const REASONS = {
  worker: ["工作线程没有运行", "the worker thread is not running"],
  disk: ["磁盘已满", "the disk is full"],
  queue: ["任务队列无法写入磁盘", "the queue cannot be written to disk"],
  interrupt: ["被中断的任务仍在运行", "an interrupted prompt is still running"],
  ending: ["服务器正在停止", "the server is stopping"],
};

export function nameOf(part) {
  return NAMES[part] ? say(...NAMES[part]) : part;
}

export function reasonOf(reason) {
  return REASONS[reason] ? say(...REASONS[reason]) : reason;
}

// Why a part is not active: the server's message, or the meaning of its status.
export function whyNot(part, { status, ...entry }) {
  if (entry.code) return message(entry);
  if (part === "guarded") {
    return say("此服务器没有守护进程。", "This server runs without a guardian.");
  }
  if (status === "off") return say("已通过 ZIMAGE_OFF 关闭。", "Switched off by ZIMAGE_OFF.");
  return say("其他节点包随后改动了同一个挂接点。", "Another pack has changed the same hook point since.");
}
