import { ask } from "./api.js";
import { clock, el, icon, length, plural } from "./dom.js";
import { Rows } from "./rows.js";

const page = document.querySelector(".library");
const facts = page.querySelector(".facts");
const notice = page.querySelector(".notice");
const jobList = page.querySelector(".jobs");
const trouble = page.querySelector(".trouble");
const problems = new Rows(trouble, { path: "/library/problems", key: "problems", row: ({ name, cause }) => el("li", {}, name, el("span", { text: cause })) });
const roots = new Rows(page.querySelector(".roots"), { path: "/library/roots", key: "roots", row: rootRow });
const all = page.querySelector(".all");
const cards = all.querySelector(".cards");
const filter = all.querySelector("input");
const more = all.querySelector(".more");
const blank = page.querySelector(".blank");
const update = page.querySelector("#update");
const browse = page.querySelector("dialog.browse");
const sure = page.querySelector("dialog.sure");
const RUNNING = new Set(["queued", "running", "paused"]);
const STATES = { queued: "Waits for its turn", running: "Reading", paused: "Paused", cancelled: "Cancelled; finished files stay in the index", failed: "Failed" };
const RECENT = 3600;
/** How often and after how many milliseconds to ask again about a job that is just ending. */
const TIMES = 40;
const PAUSE = 250;

let next = null;
let known = new Map();
let speeds = new Map();

function say(title, text) {
  notice.className = "notice bad";
  notice.replaceChildren(el("strong", { text: title }), el("p", { text }));
  notice.hidden = false;
}

const attempt = async (title, work) => {
  try { notice.hidden = true; return await work(); } catch (error) { say(title, error.message); return null; }
};

function size(bytes) {
  if (bytes === null) return "";
  const units = ["B", "KB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return `${(bytes / 1000 ** step).toFixed(step > 1 ? 1 : 0)} ${units[step]}`;
}

function ago(seconds) {
  if (seconds < 60) return "just now";
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

async function overview() {
  const library = await attempt("The library cannot be read.", () => ask("/library"));
  if (!library) return;
  const empty = library.videos === 0 && !library.roots;
  blank.hidden = !empty || known.size > 0;
  all.hidden = library.videos === 0;
  update.hidden = !library.roots;
  const when = library.updated ? `updated ${ago((Date.now() - Date.parse(library.updated)) / 1000)}` : "";
  facts.textContent = empty ? "" : [plural(library.videos, "video"), length(library.duration), `${plural(library.frames, "frame")}`, size(library.bytes), library.model, when].filter(Boolean).join(" · ");
  trouble.querySelector("h2").textContent = `${plural(library.problems, "file")} with a problem`;
  await attempt("The library cannot be read.", () => Promise.all([problems.load(), roots.load()]));
}

function rootRow({ id, path, videos: count, present }) {
  const text = `Its ${plural(count, "video")} will no longer be found. The files themselves are not touched.`;
  return el("li", {},
    el("span", { class: present ? "path" : "path gone", text: present ? path : `${path} (cannot be found)` }),
    el("span", { class: "count", text: plural(count, "video") }),
    el("button", { type: "button", class: "quiet", text: "Forget…", "aria-label": `Forget ${path}`, on: { click: () => forget(`Forget ${path}?`, text, `/library/${id}`) } }));
}

async function videos(append = false) {
  const query = { limit: 48, name: filter.value, ...(append && next ? { cursor: next } : {}) };
  const found = await attempt("The videos cannot be listed.", () => ask(`/videos?${new URLSearchParams(query)}`));
  if (!found) return;
  next = found.next ?? null;
  const items = found.videos.map((video) => {
    const image = el("img", { src: `/api/v1/videos/${video.id}/thumbnail?${new URLSearchParams({ t: (video.duration / 3).toFixed(2), v: video.version })}`, alt: "", loading: "lazy", width: 320, height: 180 });
    const thumb = el("a", { class: "thumb", href: `/?video=${video.id}`, "aria-label": `Play ${video.name}` }, image, el("span", { class: "time", text: clock(video.duration) }));
    image.addEventListener("error", () => { image.remove(); thumb.classList.add("none"); });
    return el("li", { class: "card" }, thumb,
      el("span", { class: "name", text: video.name, title: video.name }), video.folder ? el("span", { class: "folder", text: video.folder, title: video.folder }) : null,
      el("div", { class: "acts" },
        el("a", { class: "secondary", href: `/align?video=${video.id}`, text: "Align", "aria-label": `Align a caption with ${video.name}` }),
        el("button", { type: "button", class: "secondary", text: "Forget", "aria-label": `Forget ${video.name}`, on: { click: () => forget(`Forget ${video.name}?`, "It will no longer be found. The file itself is not touched. If its folder is indexed again, it comes back.", `/videos/${video.id}`) } })));
  });
  if (append) cards.append(...items);
  else cards.replaceChildren(...items);
  more.hidden = !next;
  all.querySelector("h2").textContent = filter.value ? plural(found.total, "video") : "Videos";
  all.querySelector(".none").hidden = found.total > 0;
}

const refresh = () => Promise.all([overview(), videos()]);

function forget(title, text, path) {
  sure.querySelector("h2").textContent = title;
  sure.querySelector("p").textContent = text;
  sure.returnValue = "";
  sure.addEventListener("close", async () => {
    if (sure.returnValue !== "yes") return;
    if (await attempt("This was not forgotten.", () => ask(path, { method: "DELETE" }))) refresh();
  }, { once: true });
  sure.showModal();
}

// --- jobs ---

/** Time left, from the speed since this page saw the job. */
function left(job) {
  const start = speeds.get(job.id);
  if (job.state !== "running" || !job.total) return "";
  if (!start || job.done < start.done) { speeds.set(job.id, { done: job.done, at: Date.now() }); return ""; }
  const speed = (job.done - start.done) / ((Date.now() - start.at) / 1000);
  return speed > 0 && Date.now() - start.at > 4000 ? `about ${length((job.total - job.done) / speed)} left` : "";
}

function outcome(job) {
  const words = { indexed: "read", unchanged: "unchanged", moved: "moved or copied", removed: "removed", failed: "not readable" };
  const counts = Object.entries(words).filter(([key]) => job.counts[key]).map(([key, word]) => `${job.counts[key]} ${word}`);
  return counts.join(", ") || "nothing to do";
}

/** Ask; while a job is just ending, ask again. */
async function again(work, ending) {
  for (let times = 0; ; times += 1) {
    try {
      return await work();
    } catch (error) {
      if (!ending || error.status !== 409 || times >= TIMES) throw error;
      await new Promise((done) => { setTimeout(done, PAUSE); });
    }
  }
}

function jobCard(job) {
  const act = (label, past, path, method = "POST") => el("button", { type: "button", class: "quiet", text: label, on: { click: async (event) => {
    const button = event.target;
    button.disabled = true;
    await attempt(`This job cannot be ${past}.`, () => again(() => ask(`/jobs/${job.id}${path}`, { method }), method === "DELETE"));
    button.disabled = false;
  } } });
  const running = RUNNING.has(job.state);
  const buttons = running
    ? [job.state === "paused" ? act("Resume", "resumed", "/resume") : act("Pause", "paused", "/pause"), act("Cancel", "cancelled", "/cancel")]
    : [act("Dismiss", "dismissed", "", "DELETE")];
  const line = running
    ? [job.state === "running" && !job.total ? "Looking for videos and loading the model" : STATES[job.state], job.file, job.total ? `${length(job.done)} of ${length(job.total)} of video` : "", left(job)].filter(Boolean).join(" · ")
    : job.state === "failed" ? job.message : job.state === "cancelled" ? STATES.cancelled : null;
  return el("article", { class: `job ${job.state}`, "aria-label": job.kind === "add" ? `Add ${job.name}` : "Look for changes" },
    el("div", {}, el("p", { class: "title", text: job.kind === "add" ? job.name : "Look for changes in all folders" }),
      line === null ? el("p", { class: "line" }, el("span", { class: "state", text: "Done" }), `: ${outcome(job)}`) : el("p", { class: "line", text: line })),
    el("div", { class: "buttons" }, ...buttons),
    running ? el("progress", { max: 1, ...(job.total || job.state === "queued" ? { value: job.total ? job.done / job.total : 0 } : {}), "aria-label": "Progress" }) : null,
    job.failed.length ? el("details", { class: "wrong" }, el("summary", { text: `${plural(job.counts.failed ?? job.failed.length, "file")} could not be read` }), el("ul", {}, ...job.failed.map(({ name, cause }) => el("li", {}, name, el("span", { text: cause }))), (job.counts.failed ?? 0) > job.failed.length ? el("li", { text: "The others are in the list of files with a problem." }) : null)) : null);
}

function showJobs(jobs) {
  const visible = jobs.filter((job) => RUNNING.has(job.state) || Date.now() / 1000 - job.ended < RECENT);
  const open = new Set([...jobList.querySelectorAll("details[open]")].map((node) => node.closest(".job").dataset.id));
  const focused = document.activeElement?.closest?.(".job") ? [document.activeElement.closest(".job").dataset.id, document.activeElement.textContent] : null;
  jobList.hidden = !visible.length;
  jobList.replaceChildren(...visible.map((job) => {
    const card = jobCard(job);
    card.dataset.id = job.id;
    if (open.has(job.id)) card.querySelector("details").open = true;
    return card;
  }));
  if (focused) [...jobList.querySelectorAll(`[data-id="${focused[0]}"] button`)].find((button) => button.textContent === focused[1])?.focus();
  const ended = visible.some((job) => !RUNNING.has(job.state) && RUNNING.has(known.get(job.id)));
  known = new Map(visible.map((job) => [job.id, job.state]));
  if (ended) refresh();
  blank.hidden = blank.hidden || visible.length > 0;
}

function listen() {
  const stream = new EventSource("/api/v1/jobs/events");
  stream.addEventListener("message", (event) => showJobs(JSON.parse(event.data)));
  stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 3000); });
}

// --- choose a folder ---

let trail = [];
const folders = new Rows(browse.querySelector(".inside"), { path: "/folders", key: "folders", limit: 200, row: (inner) => el("li", {}, el("button", { type: "button", on: { click: () => enter(inner) } }, folderIcon(), inner.name)) });

/** Show the folders in a folder, page by page. */
async function enter(folder) {
  const place = folder ? trail.findIndex((other) => other.id === folder.id) : -1;
  trail = folder === null ? [] : place >= 0 ? trail.slice(0, place + 1) : [...trail, folder];
  const here = trail;
  const about = browse.querySelector("footer .small");
  browse.querySelector("#this").disabled = !folder;
  const crumbs = [el("button", { type: "button", text: "All", on: { click: () => enter(null) } }), ...trail.flatMap((step) => ["/", el("button", { type: "button", text: step.name, on: { click: () => enter(step) } })])];
  browse.querySelector(".crumbs").replaceChildren(...crumbs);
  try {
    const found = await folders.load(folder ? { inside: folder.id } : {});
    if (!found || here !== trail) return;
    if (!found.total) folders.say(folder ? "No folders in here." : "No folder is offered. Start the service with --folder.");
    about.textContent = folder ? `${found.videos ? plural(found.videos, "video") : "No videos"} directly in it; folders inside are read, too` : "Choose a folder";
  } catch (error) {
    if (here !== trail) return;
    folders.say(error.message);
    about.textContent = "";
  }
  folders.root.scrollTop = 0;
}

function folderIcon() {
  const drawing = icon("M2.5 5.5a1 1 0 0 1 1-1h4l2 2h7a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1h-13a1 1 0 0 1-1-1z");
  drawing.setAttribute("class", "icon-folder");
  return drawing;
}

page.querySelector("#add").addEventListener("click", () => { browse.showModal(); enter(null); });
browse.querySelector("#this").addEventListener("click", async () => {
  browse.close();
  await attempt("The folder was not added.", () => ask("/jobs", { method: "POST", body: { folder: trail.at(-1).id } }));
});
update.addEventListener("click", () => attempt("The folders cannot be read again.", () => ask("/jobs", { method: "POST", body: {} })));
more.addEventListener("click", () => videos(true));
let typed = 0;
filter.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => videos(), 150); });

refresh();
listen();
