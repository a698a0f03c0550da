// Changes as they happen: server-sent events for the screen that is shown.

let source = null;
let topicsNow = "";
const listeners = new Map();

/**
 * Calls back for events of some topics until the screen ends. `handlers`: event name to what is done with its data;
 * `open` when events come from now on, also after the connection was lost.
 */
export function follow(signal, topics, handlers) {
  const key = Symbol("follower");
  listeners.set(key, { topics, handlers });
  signal.addEventListener("abort", () => {
    listeners.delete(key);
    connect();
  });
  connect();
}

function connect() {
  const topics = [...new Set([...listeners.values()].flatMap((l) => l.topics))].sort().join(",");
  if (topics === topicsNow && source?.readyState !== EventSource.CLOSED) return;
  source?.close();
  source = null;
  topicsNow = topics;
  if (!topics) return;
  source = new EventSource(`api/events?topics=${topics}`);
  // What happened before this can be read from now on without missing anything.
  source.addEventListener("open", () => {
    for (const { handlers } of [...listeners.values()]) handlers.open?.();
  });
  for (const name of ["status", "disk", "session", "session-end", "log", "ban", "account", "report"]) {
    source.addEventListener(name, (event) => {
      const data = JSON.parse(event.data);
      for (const { handlers } of [...listeners.values()]) handlers[name]?.(data);
    });
  }
}

/** Ends all, for example when nobody is logged in any more. */
export function unfollow() {
  source?.close();
  source = null;
  topicsNow = "";
}

/** Does something now and again until the screen ends; what goes wrong is left for the next time. */
export function every(signal, milliseconds, act) {
  const timer = setInterval(() => {
    if (!document.hidden) act().catch(() => {});
  }, milliseconds);
  signal.addEventListener("abort", () => clearInterval(timer));
}
