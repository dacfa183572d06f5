document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-at]");
  const player = link && link.closest("article").querySelector("video");
  if (!player || player.error || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.classList.contains("time")) event.preventDefault();
  player.currentTime = Number(link.dataset.at);
  player.play().catch(() => {});
});
