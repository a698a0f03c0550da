// Requests to the admin API. Addresses are relative: a proxy may have put the page below a path.

/** A request that failed. */
export class Refused extends Error {
  constructor(status, message, answer = null) {
    super(message);
    this.status = status;
    /** The whole answer, if it is JSON. */
    this.answer = answer;
  }
}

let onLogin = () => {};

/** Where the API is, and how requests are authorized: on the admin page by its cookie. */
let base = "api/";
let authorization = {};

/** Has requests authorized by the token of a link. Its page is one level below the API. */
export function useToken(token) {
  base = "../api/";
  authorization = { Authorization: `Bearer ${token}` };
}

/** Sets the handler for answers with status 401. */
export function whenLoginIsNeeded(act) {
  onLogin = act;
}

/** Requests for which the server reads the history of a session; it refuses a second one meanwhile. */
const READS_HISTORY = /\/(people|times|everybody|generations|undo|remove|cut|restore)$/;
let lastReading = Promise.resolve();

/** Sends a request; those that read a history one after the other. */
function request(method, path, body, file) {
  if (!READS_HISTORY.test(path)) return send(method, path, body, file);
  const turn = lastReading.then(() => send(method, path, body, file));
  lastReading = turn.catch(() => {});
  return turn;
}

/** JSON without characters that a header cannot hold. */
const ascii = (value) => JSON.stringify(value)
  .replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

async function send(method, path, body, file) {
  const options = { method, headers: { "X-Requested-With": "XMLHttpRequest", ...authorization } };
  if (file) {
    options.headers["Content-Type"] = /\.ora$/i.test(file.name) ? "image/openraster" : "image/png";
    options.headers["X-Session"] = ascii(body);
    options.body = file;
  } else if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(base + path, options);
  } catch {
    throw new Refused(0, "the server cannot be reached");
  }
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    answer = null;
  }
  if (response.status === 401) onLogin();
  if (!response.ok) throw new Refused(response.status, answer?.message ?? `the server answered with status ${response.status}`, answer);
  return answer;
}

/** Has the browser save what a path answers. Unlike a link, it says why when there is nothing. */
export async function download(path, name) {
  const response = await fetch(base + path, { headers: { "X-Requested-With": "XMLHttpRequest", ...authorization } });
  if (!response.ok) {
    const answer = await response.json().catch(() => null);
    throw new Refused(response.status, answer?.message ?? `the server answered with status ${response.status}`, answer);
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

const query = (parameters) => {
  const given = Object.entries(parameters ?? {}).filter(([, value]) => value !== "" && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

/** A part of a path. */
export const part = encodeURIComponent;
export const get = (path, parameters) => request("GET", path + query(parameters));
export const post = (path, body = {}) => request("POST", path, body);
export const put = (path, body = {}) => request("PUT", path, body);
/** Posts a picture, with the members of the request in a header. */
export const upload = (path, body, file) => request("POST", path, body, file);
export const remove = (path, parameters) => request("DELETE", path + query(parameters));

/** The answer, or null on 404. */
export async function getIfThere(path, parameters) {
  try {
    return await get(path, parameters);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}
