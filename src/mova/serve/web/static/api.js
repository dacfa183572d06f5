const ROOT = "/api/v1";

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
    throw new ApiError(0, "The service does not answer. Is “mova serve” still running?");
  }
  if (answer.status === 401) location.assign("/login");
  const text = await answer.text();
  let document = null;
  try { document = text ? JSON.parse(text) : null; } catch { /* not a document: an error below */ }
  if (!answer.ok || (text && document === null)) throw new ApiError(answer.status, sentence(document?.error?.message ?? `The service answers with status ${answer.status}.`));
  return document;
}

/** Ask for a file, and save it under the name that the answer gives. */
export async function save(path, body, fallback) {
  const answer = await fetch(ROOT + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) throw new ApiError(answer.status, sentence((await answer.json()).error.message));
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
