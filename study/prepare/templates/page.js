// Sorts and filters each contact sheet; without it they are in order of their names.
for (const form of document.querySelectorAll('form.sorting')) {
  const sheet = form.nextElementSibling;
  const figures = [...sheet.querySelectorAll('figure')];
  const orders = {
    who: () => 0,
    flag: (a, b) => b.classList.contains('flag') - a.classList.contains('flag'),
    lesion: (a, b) => b.dataset.lesion - a.dataset.lesion,
    brain: (a, b) => a.dataset.brain - b.dataset.brain,
  };
  const show = () => {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (figure) => words.every((word) => figure.textContent.toLowerCase().includes(word));
    const sorted = [...figures].sort(orders[form.order.value]);
    for (const figure of sorted) figure.hidden = !fits(figure);
    sheet.append(...sorted);
    const shown = figures.filter((figure) => !figure.hidden).length;
    form.querySelector('output').textContent = `${shown} of ${figures.length} shown`;
  };
  form.addEventListener('input', show);
  form.addEventListener('submit', (event) => event.preventDefault());
  form.hidden = false;
  show();
}
