// What the terminal must know before it starts: where its socket is, and letters that can be measured.
"use strict";

const SIZE = 16;
const terminal = document.getElementById("terminal");
const again = document.getElementById("again");

const socket = new URL("ws", location.href);
socket.protocol = location.protocol === "https:" ? "wss:" : "ws:";
terminal.dataset.sessionWebsocketUrl = socket.href;

const wanted = Number.parseInt(new URLSearchParams(location.search).get("fontsize"), 10);
terminal.dataset.fontSize = wanted >= 6 && wanted <= 72 ? wanted : SIZE;

const focus = () => document.querySelector(".xterm-helper-textarea")?.focus();
const begin = window.onload;
window.onload = async (event) => {
  await Promise.allSettled(["", "bold ", "italic "].map((style) => document.fonts.load(`${style}${SIZE}px "Roboto Mono"`)));
  begin(event);
  focus();
};
window.addEventListener("focus", focus);

// When the session ends, Enter starts another one.
new MutationObserver(() => document.body.classList.contains("-closed") && again.focus()).observe(document.body, {
  attributeFilter: ["class"],
});
again.addEventListener("click", () => location.reload());
