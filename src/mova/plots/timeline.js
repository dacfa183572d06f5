const data = JSON.parse(document.getElementById("data").textContent);
const plot = document.getElementById("plot"), line = document.getElementById("line");
const outputs = [...plot.querySelectorAll("output")];
function clock(time) {
  const tenths = Math.round(10 * time), minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
  const head = hours ? hours + ":" + String(minutes % 60).padStart(2, "0") : minutes;
  return head + ":" + ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
}
function frameAt(time) {
  let low = 0, high = data.times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (data.times[middle] <= time) low = middle; else high = middle - 1;
  }
  return low;
}
plot.addEventListener("pointermove", (event) => {
  const box = plot.getBoundingClientRect();
  const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  const time = part * data.duration, frame = frameAt(time);
  const gap = data.gaps.some(([start, end]) => start <= time && time < end);
  line.style.left = 100 * part + "%";
  line.style.opacity = 1;
  line.firstElementChild.textContent = clock(time);
  outputs.forEach((output, row) => {
    const sure = data.posterior[row] ? ", " + Math.round(100 * data.posterior[row][frame]) + "%" : "";
    output.textContent = gap ? "" : "relevance " + data.relevance[row][frame].toFixed(2) + sure;
  });
});
plot.addEventListener("pointerleave", () => {
  line.style.opacity = 0;
  outputs.forEach((output) => { output.textContent = ""; });
});
