// What can be done with a caption: copy it, copy it as an HTML attribute, word it oneself, hear it, take one's words back.
export default function ({ data, parentElement, setTriggerValue }) {
  const [copy, copyAttribute, edit, read, reset] = parentElement.querySelectorAll(".actions button");
  const actions = parentElement.querySelector(".actions");
  const status = parentElement.querySelector("[role=status]");
  const editor = parentElement.querySelector("form");
  const area = editor.querySelector("textarea");
  const speech = window.speechSynthesis;

  const take = async (text, done) => {
    if (await copyText(text, status, done)) memory.taken.set(data.id, data.caption);
  };
  copy.onclick = () => take(data.caption, "Caption copied.");
  copyAttribute.onclick = () => take(data.attribute, "Attribute copied.");
  read.hidden = !speech;
  read.onclick = () => {
    speech.cancel();
    const utterance = new SpeechSynthesisUtterance(data.caption);
    utterance.lang = "en";
    speech.speak(utterance);
  };
  reset.hidden = !data.own;
  reset.onclick = () => {
    setTriggerValue("taken_back", true);
    edit.focus();
  };

  const showEditor = (shown) => {
    actions.hidden = shown;
    editor.hidden = !shown;
    (shown ? area : edit).focus();
  };
  area.setAttribute("aria-label", `Caption of ${data.name}`);
  edit.onclick = () => {
    area.value = data.caption;
    showEditor(true);
  };
  editor.onsubmit = (event) => {
    event.preventDefault();
    setTriggerValue("edited", area.value);
    showEditor(false);
  };
  editor.onreset = () => showEditor(false);
  area.onkeydown = (event) => {
    // A caption is one line.
    if (event.key === "Enter") editor.requestSubmit();
    else if (event.key === "Escape") editor.reset();
    else return;
    event.preventDefault();
  };
  return () => speech?.cancel();
}
