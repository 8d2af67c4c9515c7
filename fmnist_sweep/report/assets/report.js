"use strict";
(() => {
  const charts = [...document.querySelectorAll("script[data-chart]")];
  const dark = JSON.parse(document.getElementById("dark").textContent);
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const config = { displayModeBar: false, doubleClick: false, scrollZoom: false, showTips: false };

  const draw = (inTheDark) => {
    const recolor = (_, value) => (typeof value === "string" && Object.hasOwn(dark, value) ? dark[value] : value);
    for (const chart of charts) {
      const figure = JSON.parse(chart.textContent, inTheDark ? recolor : undefined);
      Plotly.react(chart.dataset.chart, figure.data, figure.layout, config);
    }
  };

  draw(prefersDark.matches);
  const fit = ({ target, contentRect }) => {
    if (Math.round(contentRect.width) !== target._fullLayout.width) Plotly.relayout(target, { autosize: true });
  };
  const fitted = new ResizeObserver((entries) => entries.forEach(fit));
  for (const chart of charts) fitted.observe(document.getElementById(chart.dataset.chart));
  prefersDark.addEventListener("change", (event) => draw(event.matches));
  addEventListener("beforeprint", () => prefersDark.matches && draw(false));
  addEventListener("afterprint", () => prefersDark.matches && draw(true));
})();
