const ROOT = "/api/v1";
const LOST = "The service does not answer. Is “mova serve” still running?";

/** An error with the status of the answer, and a message for people. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Ask the service; return the document it answers with. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  let answer;
  try {
    answer = await fetch(ROOT + path, {
      method,
      signal,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, LOST);
  }
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw await problem(answer);
  return answer.status === 204 ? null : answer.json();
}

/** Ask whether a file can be had, without reading it; throws as `ask` does. */
export async function probe(path) {
  const stop = new AbortController();
  const answer = await fetch(ROOT + path, { signal: stop.signal, headers: { Range: "bytes=0-0" } }).catch(() => { throw new ApiError(0, LOST); });
  if (answer.ok) stop.abort();
  else throw await problem(answer);
}

async function problem(answer) {
  const document = await answer.json().catch(() => null);
  return new ApiError(answer.status, sentence(document?.error?.message ?? `The service answers with status ${answer.status}.`));
}

/** Ask for a file, and save it under the name that the answer gives. */
export async function save(path, body, fallback) {
  const answer = await fetch(ROOT + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).catch(() => { throw new ApiError(0, LOST); });
  if (!answer.ok) throw await problem(answer);
  const name = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") ?? "")?.[1];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name ? decodeURIComponent(name) : fallback;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Begin with a capital letter and end with a full stop. */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?!”)]$/.test(begun) ? begun : `${begun}.`;
}

export const address = (path, values) => `${ROOT}${path}?${new URLSearchParams(values)}`;
