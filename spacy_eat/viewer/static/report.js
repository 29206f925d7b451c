// Shows the mistakes of one kind, label or run. Without it, all are shown.
(() => {
  const form = document.querySelector(".filter");
  if (!form) return;
  const update = () => {
    const wanted = [...new FormData(form)].filter(([, value]) => value);
    let count = 0;
    for (const card of document.querySelectorAll(".case")) {
      let any = false;
      for (const mistake of card.querySelectorAll(".what li")) {
        const fits = wanted.every(([name, value]) => mistake.dataset[name] === value);
        mistake.hidden = !fits;
        any ||= fits;
        count += fits;
      }
      card.hidden = !any;
    }
    form.querySelector("output").textContent = `${count} shown`;
  };
  form.hidden = false;
  form.addEventListener("change", update);
  update();
})();
