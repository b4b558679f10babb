// While a run is at work the page brings itself up to date. Everything works without this script.
"use strict";
const seconds = Number(document.body.dataset.refresh);
const busy = () =>
  document.visibilityState !== "visible" ||
  document.querySelector("main details[open], main :is(input, select, textarea, button):focus") !== null;

async function refresh() {
  if (busy()) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok || busy()) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    document.querySelector("footer").replaceWith(fresh.querySelector("footer"));
    if (!fresh.body.dataset.refresh) clearInterval(timer);
  } catch {
    // The service is away for a moment; the next try may reach it.
  }
}
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  const words = button.textContent;
  button.addEventListener("click", async () => {
    const field = document.getElementById(button.dataset.copy);
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      // Pages that came without https may not use the clipboard; what is selected can still be copied.
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = words; }, 2000);
  });
}
const timer = seconds > 0 ? setInterval(refresh, 1000 * seconds) : undefined;
