// Chooses the colour scheme before anything is drawn, so that the page does not flash.
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off: the system's scheme holds.
}
document.documentElement.classList.add("has-js");
