import { ask, save } from "./api.js";
import { clock, el, plural, typing } from "./dom.js";
import { Lane } from "./lanes.js";
import { Player } from "./player.js";
import { Rows } from "./rows.js";

const page = document.querySelector(".align");
const write = page.querySelector(".write");
const form = write.querySelector("form");
const chooser = page.querySelector(".chooser");
const caption = page.querySelector("#caption");
const order = page.querySelector("#order");
const file = page.querySelector("#file");
const notice = page.querySelector(".notice");
const work = page.querySelector(".work");
const rows = page.querySelector(".rows");
const bar = page.querySelector(".correct");
const videos = page.querySelector("dialog.videos");
const filter = videos.querySelector("input");
const formats = page.querySelector(".formats");
const download = page.querySelector("#download");
const ORDERS = { ordered: "in the order of the text", partly: "partly in the order of the text", free: "in no particular order" };
const FADE = 4000;

let video = null;
let result = null;
let lanes = [];
let player = null;

const picture = (entry, height = 180) => `/api/v1/videos/${entry.id}/thumbnail?${new URLSearchParams({ t: (entry.duration / 3).toFixed(2), v: entry.version, height })}`;

function choose(entry) {
  video = entry;
  const image = chooser.querySelector("img");
  image.src = picture(entry);
  image.hidden = false;
  chooser.querySelector("#chosen").textContent = `${entry.name} · ${clock(entry.duration)}`;
  history.replaceState(null, "", `/align?video=${entry.id}`);
}

const choices = new Rows(videos.querySelector(".inside"), {
  path: "/videos",
  key: "videos",
  row: (entry) => el("li", {}, el("button", {
    type: "button",
    on: { click: () => { choose(entry); videos.close(); caption.focus(); } },
  }, el("span", { class: "picture" }, el("img", { src: picture(entry), alt: "", loading: "lazy" }), el("span", { text: clock(entry.duration) })), el("span", { text: entry.name, title: [entry.folder, entry.name].filter(Boolean).join("/") }))),
});

async function list() {
  try {
    const found = await choices.load({ name: filter.value });
    if (found?.total === 0) choices.say(filter.value ? "No video has this in its name." : "Nothing is indexed yet. Add a folder in the library.");
  } catch (error) {
    choices.say(error.message);
  }
}

function say(title, text, bad = true) {
  notice.className = bad ? "notice bad" : "notice";
  notice.replaceChildren(el("strong", { text: title }), el("p", { text }));
  notice.hidden = false;
}

async function align() {
  notice.hidden = true;
  if (!video) { say("Which video?", "Choose one first.", false); chooser.focus(); return; }
  if (!caption.value.trim()) { say("The caption is empty.", "Write at least one sentence.", false); caption.focus(); return; }
  const button = form.querySelector(".primary");
  button.disabled = true;
  button.textContent = "Aligning…";
  try {
    result = await ask(`/videos/${video.id}/align`, { method: "POST", body: { text: caption.value, order: order.value } });
    show();
  } catch (error) {
    say("The caption could not be aligned.", error.message);
  } finally {
    button.disabled = false;
    button.textContent = "Align";
  }
}

function show() {
  page.dataset.state = "result";
  write.hidden = true;
  work.hidden = false;
  player ??= new Player(page.querySelector(".stage"), { onTime: (time) => lanes.forEach((lane) => lane.move(time)) });
  player.open(video, [], picture(video, 360));
  const seek = (time, { until = null, still = false } = {}) => {
    if (still) player.video.pause();
    player.seek(time, until);
    if (until !== null) player.play();
    lanes.forEach((lane) => lane.move(time));
  };
  lanes = result.sentences.map((row, place) => new Lane(place + 1, row, result, { video, onSeek: seek, onChange: changed, time: () => player.time }));
  const shown = result.sentences.filter((row) => row.spans.length).length;
  page.querySelector(".head-row h2").textContent = `${plural(lanes.length, "sentence")}, ${shown === lanes.length ? "all shown" : `${shown} shown`}`;
  page.querySelector(".order").textContent = result.order && lanes.length > 1 ? `The video shows them ${ORDERS[result.order]}.` : "";
  rows.replaceChildren(...lanes.map((lane) => lane.root), uncovered(result.uncovered));
  player.strip.heat(covered());
  lanes.forEach((lane) => lane.move(0));
  changed();
  scrollTo({ top: 0 });
}

/** The strip under the player: for each part, the most probable sentence. */
function covered() {
  const values = result.times.map((_, bin) => Math.max(0, ...result.sentences.map((row) => row.posterior[bin])));
  return { times: result.times, values, low: 0, high: 1 };
}

function uncovered(stretches) {
  const gaps = stretches.map((gap) => el("button", { type: "button", class: "gap", title: `${clock(gap.start, true)} – ${clock(gap.end, true)}`, "aria-label": `Not described: ${clock(gap.start, true)} to ${clock(gap.end, true)}`, style: { left: `${(100 * gap.start) / result.duration}%`, width: `${(100 * (gap.end - gap.start)) / result.duration}%` }, on: { click: () => player.seek(gap.start) } }));
  const seconds = stretches.reduce((sum, gap) => sum + gap.end - gap.start, 0);
  const share = Math.round((100 * seconds) / result.duration);
  return el("article", { class: "sentence uncovered", "aria-label": "Not described" },
    el("div", { class: "said" }, el("span", { class: "number" }), el("p", { class: "text", text: stretches.length ? `No sentence describes ${share} % of the video` : "Every part of the video is described" })),
    stretches.length ? el("div", { class: "spans" }, ...stretches.slice(0, 12).map((gap) => el("button", { type: "button", class: "chip", text: `${clock(gap.start, true)} – ${clock(gap.end, true)}`, on: { click: () => player.seek(gap.start) } }))) : null,
    el("div", { class: "lane-wrap" }, el("div", { class: "track" }, ...gaps)));
}

/** What no span covers, after corrections. */
function gaps() {
  let at = 0;
  const open = [];
  for (const [start, end] of lanes.flatMap((lane) => lane.pairs()).sort((a, b) => a[0] - b[0])) {
    if (start > at + 0.005) open.push({ start: at, end: start });
    at = Math.max(at, end);
  }
  if (at < result.duration - 0.005) open.push({ start: at, end: result.duration });
  return open;
}

function changed() {
  const count = lanes.filter((lane) => lane.changed).length;
  bar.hidden = count === 0;
  bar.querySelector("span").textContent = `${plural(count, "sentence")} corrected`;
  for (const button of bar.querySelectorAll("button")) button.hidden = false;
  rows.querySelector(".uncovered")?.replaceWith(uncovered(count ? gaps() : result.uncovered));
}

const spans = () => (lanes.some((lane) => lane.changed) ? lanes.map((lane) => lane.pairs()) : null);

async function keep() {
  try {
    const saved = await ask(`/alignments/${result.id}/corrections`, { method: "POST", body: { spans: lanes.map((lane) => lane.pairs()) } });
    bar.querySelector("span").textContent = `Saved. ${saved.manifest} has ${plural(saved.rows, "row")}.`;
    for (const button of bar.querySelectorAll("button")) button.hidden = true;
    setTimeout(() => { if (bar.querySelector("button").hidden) bar.hidden = true; }, FADE);
  } catch (error) {
    say("The correction was not saved.", error.message);
  }
}

async function take(format, button) {
  button.disabled = true;
  try {
    await save(`/alignments/${result.id}/export`, { format, spans: spans() }, `timeline.${format}`);
    menu(false);
  } catch (error) {
    say("The file could not be made.", error.message);
  } finally {
    button.disabled = false;
  }
}

function menu(open) {
  formats.hidden = !open;
  download.setAttribute("aria-expanded", String(open));
}

chooser.addEventListener("click", () => { videos.showModal(); list(); });
let typed = 0;
filter.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(list, 150); });
form.addEventListener("submit", (event) => { event.preventDefault(); align(); });
caption.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); align(); } });
page.querySelector("#open").addEventListener("click", () => file.click());
file.addEventListener("change", () => { const [chosen] = file.files; file.value = ""; read(chosen); });
async function read(chosen) {
  if (!chosen) return;
  try {
    caption.value = (await ask("/captions", { method: "POST", body: { name: chosen.name, content: await chosen.text() } })).text;
    notice.hidden = true;
    caption.focus();
  } catch (error) {
    say("This file cannot be read as a caption.", error.message);
  }
}
for (const name of ["dragenter", "dragover"]) write.addEventListener(name, (event) => { if (event.dataTransfer?.types.includes("Files")) { event.preventDefault(); caption.classList.add("over"); } });
write.addEventListener("dragleave", (event) => { if (!write.contains(event.relatedTarget)) caption.classList.remove("over"); });
write.addEventListener("drop", (event) => {
  caption.classList.remove("over");
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  read(event.dataTransfer.files[0]);
});
page.querySelector("#edit").addEventListener("click", () => { page.dataset.state = "write"; player.video.pause(); work.hidden = true; write.hidden = false; notice.hidden = true; caption.focus(); });
page.querySelector("#save").addEventListener("click", keep);
page.querySelector("#undo").addEventListener("click", () => { lanes.forEach((lane) => lane.reset()); changed(); });
download.addEventListener("click", () => menu(formats.hidden));
formats.addEventListener("click", (event) => { const button = event.target.closest("button"); if (button) take(button.dataset.format, button); });
document.addEventListener("click", (event) => { if (!event.target.closest(".menu")) menu(false); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !formats.hidden) { menu(false); download.focus(); }
  if (typing(event) || work.hidden) return;
  if (event.key === " " && !event.target.closest("button, a, video, [role=slider]")) { event.preventDefault(); player.toggle(); }
});

const wanted = new URLSearchParams(location.search).get("video");
if (wanted) ask(`/videos/${encodeURIComponent(wanted)}`).then(choose).catch((error) => say("This video is not here.", error.message));
