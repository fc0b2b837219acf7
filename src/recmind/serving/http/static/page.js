// What templates and htmx leave over: the value beside a slider, and on a narrow screen the way down to the list.
"use strict";
document.addEventListener("input", (event) => {
  const output = event.target.id && document.querySelector(`output[for="${event.target.id}"]`);
  if (output) output.value = event.target.value;
});
document.addEventListener("htmx:afterSwap", (event) => {
  const how = event.detail.requestConfig && event.detail.requestConfig.triggeringEvent;
  const narrow = window.matchMedia("(max-width: 60rem)").matches;
  if (narrow && how && how.type === "submit" && event.target.id === "result") event.target.scrollIntoView();
});
