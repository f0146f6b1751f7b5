// What can be done with a caption: copy it, copy it as an HTML attribute, hear it.
export default function ({ data, parentElement }) {
  const [copy, copyAttribute, read] = parentElement.querySelectorAll("button");
  const status = parentElement.querySelector("[role=status]");
  const speech = window.speechSynthesis;

  async function copyText(text, what) {
    try {
      await writeClipboard(text);
      status.textContent = `${what} copied.`;
    } catch {
      status.textContent = "The browser did not allow it: select the caption and copy it.";
    }
    setTimeout(() => { status.textContent = ""; }, 4000);
  }

  copy.onclick = () => copyText(data.caption, "Caption");
  copyAttribute.onclick = () => copyText(data.attribute, "Attribute");
  read.hidden = !speech;
  read.onclick = () => {
    speech.cancel();
    const utterance = new SpeechSynthesisUtterance(data.caption);
    utterance.lang = "en";
    speech.speak(utterance);
  };
  return () => speech?.cancel();
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
