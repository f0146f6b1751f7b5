// Captions on the page that were neither copied nor downloaded: the browser asks before it forgets them (events.js).
const untaken = (window.untakenCaptions ??= new Set());

async function writeClipboard(text) {
  // Browsers have it only on this machine and over https.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("refused");
}

async function copyText(text, status, done) {
  try {
    await writeClipboard(text);
    status.textContent = done;
  } catch {
    status.textContent = "The browser did not allow it: select the text and copy it.";
    return false;
  }
  setTimeout(() => { status.textContent = ""; }, 4000);
  return true;
}
