"use strict";

async function look() {
  const answer = await fetch("/snapshot");
  const snapshot = await answer.json();
  if (snapshot.verdict) document.getElementById("verdict").textContent = snapshot.verdict.text;
  document.getElementById("snapshot").textContent = JSON.stringify(snapshot, null, 2);
}

look();
setInterval(look, 1000);
