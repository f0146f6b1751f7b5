// Photo -> caption: those that would be lost with the page, and those that were copied or downloaded (see events.js).
const memory = (window.captionMemory ??= { toLose: new Map(), taken: new Map() });

function takeAll() {
  for (const [photo, caption] of memory.toLose) memory.taken.set(photo, caption);
}

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
