// Says beside a slider what it is set to.
"use strict";
document.addEventListener("input", (event) => {
  const output = event.target.id && document.querySelector(`output[for="${event.target.id}"]`);
  if (output) output.value = event.target.value;
});
