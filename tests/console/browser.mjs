// Drives the console in a real browser: what an operator does at three in the morning. Says one JSON object a line of what it saw.
import { chromium } from "playwright-core";

const { BASE: base, TOKEN: token, VIEWER: viewer, SHOTS: shots, CHROMIUM: executablePath } = process.env;
const say = (seen) => console.log(JSON.stringify(seen));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const patience = 60_000;

/** Somebody with a browser of their own; whatever the page complains of fails the test. */
async function visitor(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.on("pageerror", (error) => { throw error; });
  page.on("console", (line) => { if (line.type() === "error" && !line.text().includes("401")) throw new Error(line.text()); });
  return page;
}

async function signIn(page, text) {
  await page.goto(base + "/");
  await page.waitForSelector("input[name=token]:focus");
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
  await page.waitForSelector("header nav");
}

/** Presses Tab until what has the focus reads so. */
async function tabTo(page, text) {
  for (let n = 0; n < 200; n += 1) {
    await page.keyboard.press("Tab");
    const here = await page.evaluate(() => {
      const on = document.activeElement;
      return (on?.labels?.[0]?.firstChild?.textContent ?? on?.textContent ?? "").trim();
    });
    if (here.startsWith(text)) return;
  }
  throw new Error(`no way by keyboard to ${text}`);
}

const shot = (page, name) => page.screenshot({ path: `${shots}/${name}.png`, fullPage: false });

// By keyboard only: find a dead job among ten thousand, read why, try on dry ground, retry all that match, see them done.
const page = await visitor();
await signIn(page, token);
await page.waitForSelector("text=jobs are dead");
await shot(page, "overview");
await tabTo(page, "Jobs");
await page.keyboard.press("Enter");
await page.waitForURL("**/jobs");
await tabTo(page, "State");
await page.keyboard.type("dead");
await tabTo(page, "Words in the error");
await page.keyboard.type("price_new sells no tier");
await page.keyboard.press("Enter");
await page.waitForURL("**error=price_new*");
await page.waitForSelector("td.id a");
await shot(page, "jobs");
const list = page.url();
const first = await page.textContent("td.id a");
await tabTo(page, first);
await page.keyboard.press("Enter");
await page.waitForSelector("text=is safe");
say({ why: await page.textContent("dd strong"), risk: await page.textContent("dl") });
await shot(page, "job");
await page.goto(list);
await tabTo(page, "Retry all that match");
await page.keyboard.press("Enter");
await page.waitForSelector("text=jobs match");
say({ dry: (await page.textContent("main")).replace(/\s+/g, " ") });
await shot(page, "dry-run");
await tabTo(page, "Why");
await page.keyboard.type("the price is in the settings now");
await tabTo(page, "Retry all");
await page.keyboard.press("Enter");
await page.waitForURL("**/bulk/*");
await page.waitForSelector("text=Done.");
say({ bulk: (await page.textContent("main")).replace(/\s+/g, " ") });
// Without a reload: the job's own page turns to done by itself.
await page.goto(`${base}/jobs/${first}`);
await page.waitForSelector("dl .state.good");
say({ state: await page.textContent("dl .state") });

// Times are the viewer's.
const far = await visitor({ timezoneId: "Asia/Tokyo", locale: "en-GB" });
await signIn(far, viewer);
await far.goto(`${base}/jobs/${first}`);
const time = far.locator("time").first();
await far.waitForFunction(() => !document.querySelector("time").textContent.includes("UTC"));
say({ time: await time.textContent(), at: await time.getAttribute("datetime"), zone: await far.textContent("#zone") });
// A viewer can do none of it.
await far.goto(list.replace("price_new", "nothing"));
say({ viewerButtons: await far.locator("main form[method=post]").count() });

// On a phone, in the dark.
const phone = await visitor({ viewport: { width: 390, height: 844 }, colorScheme: "dark" });
await signIn(phone, token);
await shot(phone, "phone");
const pages = [...process.env.PAGES.split(" "), `/jobs/${first}`];
const wide = [];
for (const path of pages) {
  await phone.goto(base + path);
  wide.push(...await phone.evaluate((path) => [document.documentElement, ...document.querySelectorAll(".wide:has(.rows)")]
    .filter((part) => part.scrollWidth > part.clientWidth).map((part) => `${path}: ${part.tagName} is ${part.scrollWidth} px wide`), path));
}
say({ wide });
// How the first payout stands, how much it is and why: without scrolling, and the search is folded until it is wanted.
await phone.goto(base + "/payouts");
await shot(phone, "phone-payouts");
say({ hidden: await phone.evaluate(() => [...document.querySelector(".rows tbody tr").querySelectorAll(".is, .sum, .why:not(:empty)")].map((part) => part.getBoundingClientRect())
  .filter((box) => !(box.width > 0 && box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight))) });
if (await phone.locator("select[name=state]").isVisible()) throw new Error("the search is not folded");
await tabTo(phone, "Find");
await phone.keyboard.press("Enter");
await tabTo(phone, "State");
await phone.keyboard.type("paid");
await phone.keyboard.press("Enter");
await phone.locator("form.filter button").click();
await phone.waitForURL("**state=paid*");
say({ found: await phone.textContent(".fold summary") });

// Contrast of every text with its ground, in both schemes (WCAG AA: 4.5, or 3 for large text).
const poor = [];
for (const scheme of ["light", "dark"]) {
  const eye = await visitor({ colorScheme: scheme });
  await signIn(eye, token);
  for (const path of pages) {
    await eye.goto(base + path);
    poor.push(...await eye.evaluate(([scheme, path]) => {
      const channels = (text) => text.match(/[\d.]+/g).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
      const ground = (at) => { for (; at; at = at.parentElement) { const c = channels(getComputedStyle(at).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
      const found = new Set();
      for (const at of document.querySelectorAll("body *")) {
        if (![...at.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) || !at.getClientRects().length || at.closest("svg")) continue;
        const style = getComputedStyle(at), [a, b] = [light(channels(style.color)), light(ground(at))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(style.fontSize);
        if (ratio < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) found.add(`${scheme} ${path} ${at.tagName}.${at.className}: ${ratio.toFixed(2)}`);
      }
      return [...found];
    }, [scheme, path]));
  }
}
say({ poor });
await browser.close();
