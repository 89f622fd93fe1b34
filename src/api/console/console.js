// The console works without this. With it, times are in the viewer's zone, and what is marked data-live stays current without a reload.
"use strict";
(() => {
  const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const times = (root) => root.querySelectorAll("time[datetime]").forEach((time) => {
    const at = new Date(time.dateTime);
    if (isNaN(at)) return;
    if (!time.title) time.title = time.textContent;
    time.textContent = zone.format(at);
  });
  times(document);
  const where = document.getElementById("zone");
  if (where) {
    const offset = new Intl.DateTimeFormat("en", { timeZoneName: "shortOffset" }).formatToParts().find((part) => part.type === "timeZoneName");
    const name = zone.resolvedOptions().timeZone;
    where.textContent = `Times are in ${name}${name === "UTC" ? "" : ` (${offset.value.replace("GMT", "UTC")})`}.`;
  }
  // A search is folded on a phone only. Where there is room the style shows it, and this tells it to browsers that do not know how.
  const room = matchMedia("(min-width: 40.01rem)");
  const unfold = () => document.querySelectorAll("details.fold").forEach((fold) => { fold.open = room.matches; });
  unfold();
  room.addEventListener("change", unfold);

  const EVERY = 3000;
  let failures = 0;
  const busy = (part) => part.contains(document.activeElement) && document.activeElement !== document.body
    || part.querySelector("details[open]")
    || [...part.querySelectorAll("input")].some((input) => input.value !== input.defaultValue)
    || (getSelection()?.toString() && part.contains(getSelection().anchorNode));
  const refresh = async () => {
    if (!document.hidden && document.querySelector("[data-live]")) {
      try {
        const answer = await fetch(location.href, { headers: { "Bursar-Live": "1" }, credentials: "same-origin", redirect: "manual" });
        if (answer.type === "opaqueredirect" || answer.status === 401) return location.reload();
        if (answer.ok) {
          failures = 0;
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          document.querySelectorAll("[data-live]").forEach((part) => {
            const fresh = page.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
            if (!fresh || busy(part)) return;
            times(fresh);
            if (fresh.innerHTML !== part.innerHTML) part.innerHTML = fresh.innerHTML;
          });
        } else failures += 1;
      } catch { failures += 1; }
      const stale = document.getElementById("stale");
      if (stale) stale.hidden = failures < 2;
    }
    setTimeout(refresh, EVERY * Math.min(1 + failures, 10));
  };
  setTimeout(refresh, EVERY);
})();
