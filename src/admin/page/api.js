// Requests to the admin API. Addresses are relative: a proxy may have put the page below a path.

/** A request that failed. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
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

async function request(method, path, body) {
  const options = { method, headers: { "X-Requested-With": "XMLHttpRequest", ...authorization } };
  if (body !== undefined) {
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
  if (!response.ok) throw new Refused(response.status, answer?.message ?? `the server answered with status ${response.status}`);
  return answer;
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
